//! `[[issuers]]`.

use super::{filled, path};
use crate::config::raw::{RawIssuer, RawPerson, split};
use crate::config::source::Source;
use crate::config::text::TokenParty;
use crate::config::{IssuerConfig, KeySource};
use std::collections::BTreeSet;

/// Whom both halves believe: the control plane about anybody, the proxy about the users of its services.
pub(in crate::config) fn issuers(
    source: &mut Source<'_>,
    raw: Vec<RawIssuer>,
    people: &[RawPerson],
) -> Vec<IssuerConfig> {
    let people: BTreeSet<&str> =
        people.iter().filter_map(|person| Some(person.name.as_ref()?.get_ref().0.0.as_str())).collect();
    let mut issuers: Vec<IssuerConfig> = Vec::with_capacity(raw.len());
    let mut seen = BTreeSet::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let span = raw.issuer.as_ref().map(toml::Spanned::span);
        let Some(issuer) = issuer(source, index, raw, &people) else { continue };
        if !seen.insert(issuer.issuer.clone()) {
            source.at(&span.unwrap_or_default(), "is there already: an issuer has one entry");
        }
        issuers.push(issuer);
    }
    issuers
}

fn issuer(
    source: &mut Source<'_>,
    index: usize,
    raw: RawIssuer,
    people: &BTreeSet<&str>,
) -> Option<IssuerConfig> {
    let key = |name: &str| format!("issuers[{index}].{name}");
    if raw.issuer.is_none() {
        source.missing(&key("issuer"), "the `iss` of its tokens, for instance `https://idp.example`");
    }
    if raw.audience.is_none() {
        source.missing(&key("audience"), "the `aud` of tokens that are for us");
    }
    let keys = match (raw.jwks_url.map(split), path(source, raw.jwks_file)) {
        (Some((_, span)), Some(_)) => {
            source.at(&span, "choose one: `jwks_url` or `jwks_file`");
            None
        }
        (Some((url, span)), None) => {
            if !url.is_encrypted() && !url.is_loopback() {
                source.at(&span, "expected `https`: whoever changes the keys on the way can make tokens");
            }
            Some(KeySource::Url { url, ca: path(source, raw.ca) })
        }
        (None, Some(file)) => Some(KeySource::File(file)),
        (None, None) => {
            source.missing(&key("jwks_url"), "where its public keys are; or `jwks_file`");
            None
        }
    };
    let algorithms = match raw.algorithms {
        None => IssuerConfig::ALGORITHMS.into(),
        Some(list) => {
            let listed = filled(source, list, "no token could hold: name the algorithms of its keys");
            listed.into_iter().map(|(algorithm, _)| algorithm).collect()
        }
    };
    let mut known = std::collections::BTreeMap::new();
    for (user, person) in raw.people {
        let name = person.get_ref();
        if !people.contains(name.as_str()) {
            source
                .at(&person.span(), format!("`{name}` is no person of `[[people]]`: add an entry for them"));
        }
        known.insert(user, person.into_inner());
    }
    let TokenParty(issuer) = split(raw.issuer?).0;
    let TokenParty(audience) = split(raw.audience?).0;
    Some(IssuerConfig {
        issuer,
        audience,
        keys: keys?,
        algorithms,
        person_claim: raw.person_claim.unwrap_or_else(|| IssuerConfig::PERSON_CLAIM.to_owned()),
        people: known,
    })
}
