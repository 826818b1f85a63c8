//! `[[webhooks]]`.

use super::{duration, filled, path, required};
use crate::config::raw::{RawWebhook, RawWebhookFormat, split};
use crate::config::source::Source;
use crate::config::text::EventName;
use crate::config::{WebhookConfig, WebhookEvent, WebhookFormat};
use std::collections::BTreeSet;

pub(super) fn webhooks(source: &mut Source<'_>, raw: Vec<RawWebhook>) -> Vec<WebhookConfig> {
    let mut names = BTreeSet::new();
    let mut all = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        if let Some(name) = &raw.name
            && !names.insert(name.get_ref().0.clone())
        {
            source.at(&name.span(), "is there already: each webhook has a name of its own");
        }
        all.extend(webhook(source, index, raw));
    }
    all
}

fn webhook(source: &mut Source<'_>, index: usize, raw: RawWebhook) -> Option<WebhookConfig> {
    let key = |name: &str| format!("webhooks[{index}].{name}");
    let format = match raw.format.unwrap_or(RawWebhookFormat::Standard) {
        RawWebhookFormat::Standard => WebhookFormat::Standard,
        RawWebhookFormat::Chat => WebhookFormat::Chat,
    };
    let name = required(source, &key("name"), "what it is called, for instance `approvals`", raw.name);
    let url = match raw.url.map(split) {
        Some((url, span)) => {
            if !url.is_encrypted() && !url.is_loopback() && raw.insecure != Some(true) {
                source.at(&span, "expected `https`; or say `insecure = true` if everybody on the way may read and change what is sent");
            }
            Some(url)
        }
        None => {
            source.missing(&key("url"), "where it is, for instance `https://hooks.example/jitgate`");
            None
        }
    };
    if format == WebhookFormat::Standard && raw.secret_file.is_none() {
        source.missing(&key("secret_file"), "the file with the secrets that messages are signed with");
    }
    let events = match raw.events {
        Some(list) => filled(source, list, "it would be told of nothing: name an event, or write `[\"*\"]`"),
        None => {
            source.missing(&key("events"), "for instance `[\"request.pending\"]`, or `[\"*\"]`");
            return None;
        }
    };
    let events = events.into_iter().flat_map(|(event, _)| match event {
        EventName::Every => WebhookEvent::ALL.to_vec(),
        EventName::One(event) => vec![event],
    });
    Some(WebhookConfig {
        name: name?,
        url: url?,
        secret_file: path(source, raw.secret_file),
        events: events.collect(),
        format,
        ca: path(source, raw.ca),
        timeout: duration(raw.timeout, WebhookConfig::TIMEOUT),
    })
}
