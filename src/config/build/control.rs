//! `[control]`, `[[identities]]` and `[[people]]`.

use super::access::{self, Known};
use super::{duration, export, filled, identity, required, tickets, token, trust, value, webhooks, witness};
use crate::config::raw::{RawControl, RawIdentity, RawPerson, split};
use crate::config::source::Source;
use crate::config::text::PersonName;
use crate::config::{ControlBase, ControlConfig, Person, Role, Store};
use crate::model::SpiffeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const LEASE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

pub(in crate::config) fn control(
    source: &mut Source<'_>,
    raw: RawControl,
    known: Known,
    base: Option<ControlBase>,
) -> Option<ControlConfig> {
    let mut roles = base.as_ref().map(|base| base.roles.clone()).unwrap_or_default();
    identities(source, known.identities, &mut roles);
    let people = people(source, known.people);
    let principals = access::principals(source, known.principals, &roles);
    let templates = access::templates(source, known.roles);
    let tickets = known.tickets.and_then(|raw| tickets::tickets(source, raw));
    let webhooks = webhooks::webhooks(source, known.webhooks);
    let requests = access::requests(source, raw.requests);
    let tokens = token::tokens(source, raw.tokens);
    let exports = export::exports(source, "control.export", raw.export, None);
    let witnesses = witness::witnesses(source, "control.witness", raw.witness);
    let issuers = known.issuers;
    let policy = access::policy(source, raw.policy);
    let (base_identity, base_trust, base_store, base_listen) = match base {
        Some(base) => (Some(base.identity), Some(base.trust), Some(base.store), base.listen),
        None => (None, None, None, None),
    };
    let own_identity = identity(source, "control", raw.identity, base_identity);
    let trust = trust(source, "control", raw.trust, base_trust);
    let store = match (raw.store, base_store) {
        (None, Some(base)) => Some(base),
        (raw, _) => required(source, "control.store", "where the event log is, `sqlite:FILE`", raw)
            .map(|Store::Sqlite(file)| Store::Sqlite(source.resolve(&file))),
    };
    if let Some(lease) = &raw.lease
        && !LEASE.contains(&lease.get_ref().0.get())
    {
        source.at(
            &lease.span(),
            "expected `1s` to `60s`: a revocation takes at most this long to be true everywhere",
        );
    }
    let lease = duration(raw.lease, ControlConfig::LEASE);
    if let Some(drift) = &raw.clock_drift
        && drift.get_ref().0.get() >= lease
    {
        source.at(&drift.span(), "expected less than the lease");
    }
    Some(ControlConfig {
        listen: base_listen.or(value(raw.listen)).unwrap_or(ControlConfig::LISTEN),
        public_url: value(raw.public_url),
        admin_listen: value(raw.admin_listen),
        store: store?,
        lease,
        clock_drift: duration(raw.clock_drift, ControlConfig::CLOCK_DRIFT),
        max_ttl: value(raw.max_ttl).unwrap_or(crate::config::Ceilings::MAX_TTL),
        drain_timeout: duration(raw.drain_timeout, ControlConfig::DRAIN_TIMEOUT),
        identity: own_identity?,
        trust: trust?,
        roles,
        people: people.into(),
        requests,
        policy,
        principals,
        services: known.services,
        issuers: issuers.into(),
        tokens,
        templates,
        webhooks: webhooks.into(),
        tickets,
        exports: exports.into(),
        witnesses: witnesses.into(),
    })
}

fn identities(
    source: &mut Source<'_>,
    raw: Vec<RawIdentity>,
    roles: &mut BTreeMap<SpiffeId, BTreeSet<Role>>,
) {
    let mut seen = BTreeSet::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let id = raw.id.map(split);
        if id.is_none() {
            source.missing(&format!("identities[{index}].id"), "the SPIFFE ID that gets the roles");
        }
        let granted = match raw.roles {
            Some(list) => {
                filled(source, list, "without a role the entry does nothing: name one, or remove it")
            }
            None => {
                source.missing(&format!("identities[{index}].roles"), "for instance `[\"viewer\"]`");
                continue;
            }
        };
        let Some((id, span)) = id else { continue };
        if !seen.insert(id.clone()) {
            source.at(&span, "is listed twice: put all its roles into one entry");
        }
        // A file says what an identity may do, also where `up` has a default for it.
        roles.insert(id, granted.into_iter().map(|(role, _)| role).collect());
    }
}

fn people(source: &mut Source<'_>, raw: Vec<RawPerson>) -> Vec<Person> {
    let mut people = Vec::with_capacity(raw.len());
    let mut owned = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let name = raw.name.map(split);
        if name.is_none() {
            source.missing(&format!("people[{index}].name"), "what the person is called");
        }
        let listed = match raw.identities {
            Some(list) => filled(source, list, "a person has at least one identity"),
            None => {
                source.missing(&format!("people[{index}].identities"), "the SPIFFE IDs of this person");
                continue;
            }
        };
        for (id, span) in &listed {
            if !owned.insert(id.clone()) {
                source.at(span, "belongs to a person already: an identity is one human's");
            }
        }
        let Some((PersonName(name), span)) = name else { continue };
        if !names.insert(name.clone()) {
            source.at(&span, "is there already: list all identities of a person in one entry");
        }
        let identities = listed.into_iter().map(|(id, _)| id).collect();
        let groups = raw.groups.into_iter().map(|group| split(group).0).collect();
        people.push(Person { name, identities, groups });
    }
    people
}
