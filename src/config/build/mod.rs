//! From the mirror to typed values. Each function notes everything that is wrong and goes on; what it cannot do without makes
//! it return `None` after noting why.

mod access;
mod issuers;
mod control;
mod export;
mod proxy;
mod recording;
mod retention;
mod service;
mod tickets;
mod webhooks;
mod token;
mod user_token;
mod witness;

pub(super) use access::{Known, names, owned_by, profiles};
pub(super) use control::control;
pub(super) use issuers::issuers;
pub(super) use proxy::proxy;

use crate::config::raw::{RawIdentityFiles, RawTrust, split};
use crate::config::source::Source;
use crate::config::text::{FromText, Parsed, Text, TrustDomain};
use crate::config::{IdentityFiles, TrustFiles, WebhookUrl};
use crate::model::Ttl;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

/// The files of `TABLE.identity`, or those that the caller brings along.
fn identity(
    source: &mut Source<'_>,
    table: &str,
    raw: Option<RawIdentityFiles>,
    base: Option<IdentityFiles>,
) -> Option<IdentityFiles> {
    let key = format!("{table}.identity");
    let raw = match (raw, base) {
        (None, Some(base)) if !source.lost(&key) => return Some(base),
        (raw, _) => raw.unwrap_or_default(),
    };
    let certificate = required(
        source,
        &format!("{key}.certificate"),
        "the PEM file of its certificate chain",
        raw.certificate,
    );
    let private = required(source, &format!("{key}.key"), "the PEM file of its private key", raw.key);
    Some(IdentityFiles { certificate: source.resolve(&certificate?), key: source.resolve(&private?) })
}

/// The files of `TABLE.trust`, or those that the caller brings along.
fn trust(
    source: &mut Source<'_>,
    table: &str,
    raw: Option<RawTrust>,
    base: Option<TrustFiles>,
) -> Option<TrustFiles> {
    let key = format!("{table}.trust");
    let raw = match (raw, base) {
        (None, Some(base)) if !source.lost(&key) => return Some(base),
        (raw, _) => raw.unwrap_or_default(),
    };
    let Some(bundles) = raw.bundles else {
        source.missing(&format!("{key}.bundles"), "for instance `{ \"jitgate.local\" = \"ca.pem\" }`");
        return None;
    };
    if bundles.get_ref().is_empty() {
        source.empty_list(
            &bundles.span(),
            "nobody would be trusted: name at least one trust domain and its CA file",
        );
    }
    let mut files = std::collections::BTreeMap::new();
    for (domain, file) in bundles.into_inner() {
        let (path, place) = split(file);
        match TrustDomain::from_text(&domain) {
            Ok(TrustDomain(domain)) => {
                files.insert(domain, source.resolve(&path));
            }
            Err(error) => source.at(&place, format!("`{domain}`: {error}")),
        }
    }
    let crls = raw.crls.into_iter().map(|file| source.resolve(&split(file).0)).collect();
    Some(TrustFiles { bundles: files, crls })
}

/// A value that there is no default for.
fn required<T>(source: &mut Source<'_>, key: &str, what: &str, raw: Option<Text<T>>) -> Option<T> {
    if raw.is_none() {
        source.missing(key, what);
    }
    raw.map(|text| split(text).0)
}

/// The elements of a list that must not be empty; an empty one is noted with what it would mean.
fn filled<T>(source: &mut Source<'_>, list: Spanned<Vec<Text<T>>>, if_empty: &str) -> Vec<(T, Range<usize>)> {
    let span = list.span();
    let items: Vec<_> = list.into_inner().into_iter().map(split).collect();
    if items.is_empty() {
        source.empty_list(&span, if_empty);
    }
    items
}

/// Notes a URL whose receiver would be sent something in the clear over a network.
fn encrypted(source: &mut Source<'_>, url: &WebhookUrl, span: &Range<usize>) {
    if !url.is_encrypted() && !url.is_loopback() {
        source.at(span, "expected `https`: in the clear only to this machine (127.0.0.1, [::1], localhost)");
    }
}

fn path(source: &Source<'_>, raw: Option<Text<PathBuf>>) -> Option<PathBuf> {
    raw.map(|text| source.resolve(&split(text).0))
}

fn duration(raw: Option<Text<Ttl>>, default: Duration) -> Duration {
    raw.map_or(default, |text| {
        let Parsed(ttl) = text.into_inner();
        ttl.get()
    })
}

fn value<T>(raw: Option<Text<T>>) -> Option<T> {
    raw.map(|text| split(text).0)
}
