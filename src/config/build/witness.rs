//! `[[proxy.audit.witness]]` and `[[control.witness]]`.

use super::{duration, encrypted, path, required};
use crate::config::raw::{RawWitness, split};
use crate::config::source::Source;
use crate::config::{ReceiverTls, WebhookUrl, WitnessConfig};
use crate::tlog::WitnessKey;
use std::collections::BTreeSet;
use std::ops::Range;

/// `table` is the key of the list.
pub(super) fn witnesses(source: &mut Source<'_>, table: &str, raw: Vec<RawWitness>) -> Vec<WitnessConfig> {
    if let Some(over) = raw.get(WitnessConfig::MOST) {
        let many = format!("a log has at most {} witnesses: remove some", WitnessConfig::MOST);
        match &over.name {
            Some(name) => source.at(&name.span(), many),
            None => source.whole(table, many),
        }
    }
    let mut names = BTreeSet::new();
    let mut keys: Vec<WitnessKey> = Vec::new();
    let mut all = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        if let Some(name) = &raw.name
            && !names.insert(name.get_ref().0.clone())
        {
            source.at(&name.span(), "is there already: each witness has a name of its own");
        }
        if let Some(key) = &raw.key {
            if keys.iter().any(|known| known.is_same_key(&key.get_ref().0)) {
                source.at(&key.span(), "is there already: two witnesses with one key are one witness");
            }
            keys.push(key.get_ref().0.clone());
        }
        all.extend(witness(source, &format!("{table}[{index}]"), raw));
    }
    all
}

fn witness(source: &mut Source<'_>, table: &str, raw: RawWitness) -> Option<WitnessConfig> {
    let key = |name: &str| format!("{table}.{name}");
    let name = required(source, &key("name"), "what it is called, for instance `city-archive`", raw.name);
    let url = match raw.url.map(split) {
        Some((url, span)) => prefix(source, &url, &span),
        None => {
            source.missing(&key("url"), "its submission prefix, for instance `https://witness.example/w1`");
            None
        }
    };
    let verifier =
        required(source, &key("key"), "its verifier key, `NAME+HASH+BASE64`, from whoever runs it", raw.key);
    Some(WitnessConfig {
        name: name?,
        url: url?,
        key: verifier?,
        tls: ReceiverTls { ca: path(source, raw.ca), client: None },
        timeout: duration(raw.timeout, WitnessConfig::TIMEOUT),
    })
}

/// `/add-checkpoint` can be put behind it.
fn prefix(source: &mut Source<'_>, url: &WebhookUrl, span: &Range<usize>) -> Option<WebhookUrl> {
    encrypted(source, url, span);
    let text = url.as_str().trim_end_matches('/');
    if text.contains('?') || text.ends_with("/add-checkpoint") {
        source.at(span, "expected the submission prefix alone, without query and without `/add-checkpoint`");
    }
    text.parse().ok()
}
