//! `[control.requests]`, `[[principals]]`, `[[roles]]`, and what `[[service]]` says about a service beside where it is.

use super::{duration, filled, path, value};
use crate::config::raw::{
    RawIdentity, RawPerson, RawPolicy, RawPrincipal, RawRequests, RawRole, RawService, RawTickets,
    RawWebhook, split,
};
use crate::config::source::Source;
use crate::config::text::{Parsed, Text, Wait, ZoneName};
use crate::config::{
    ControlBase, IssuerConfig, PolicyConfig, PrincipalEntry, RequestRules, Role, RoleTemplate,
};
use crate::model::{
    Attributes, Owner, PrincipalKind, RoleName, Scope, ServiceName, ServiceProfile, SpiffeId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use toml::Spanned;

/// Everybody and everything that the file names, beside `[control]` itself.
pub(in crate::config) struct Known {
    pub(in crate::config) identities: Vec<RawIdentity>,
    pub(in crate::config) people: Vec<RawPerson>,
    pub(in crate::config) principals: Vec<RawPrincipal>,
    pub(in crate::config) roles: Vec<RawRole>,
    pub(in crate::config) webhooks: Vec<RawWebhook>,
    pub(in crate::config) tickets: Option<RawTickets>,
    pub(in crate::config) issuers: Vec<IssuerConfig>,
    pub(in crate::config) services: BTreeMap<ServiceName, ServiceProfile>,
}

/// A service of which only its owner is known.
pub(in crate::config) fn owned_by(owner: Owner) -> ServiceProfile {
    ServiceProfile {
        owner,
        sensitivity: crate::model::Sensitivity::default(),
        environment: None,
        labels: BTreeMap::new(),
        tools: BTreeMap::new(),
        requestable: true,
    }
}

/// What the file says about services. Where there is a control plane, each has somebody who answers for it.
pub(in crate::config) fn profiles(
    source: &mut Source<'_>,
    raw: &[Spanned<RawService>],
    people: &[RawPerson],
    base: Option<&ControlBase>,
) -> BTreeMap<ServiceName, ServiceProfile> {
    let mut profiles = BTreeMap::new();
    for (index, raw) in raw.iter().enumerate() {
        let raw = raw.get_ref();
        let owner = owner(source, index, (raw.owner.as_ref(), people), base);
        let (Some(owner), Some(named)) = (owner, &raw.name) else { continue };
        let Parsed(name) = named.get_ref();
        let profile = ServiceProfile {
            sensitivity: raw.sensitivity.unwrap_or_default(),
            environment: raw.environment.clone(),
            labels: raw.labels.clone(),
            tools: raw.tools.clone(),
            requestable: raw.requestable.unwrap_or(true),
            ..owned_by(owner)
        };
        profiles.insert(name.clone(), profile);
    }
    profiles
}

fn owner(
    source: &mut Source<'_>,
    index: usize,
    (stated, people): (Option<&Text<Owner>>, &[RawPerson]),
    base: Option<&ControlBase>,
) -> Option<Owner> {
    let Some(stated) = stated else {
        let default = base.map(|base| Owner::Identity(base.owner.clone()));
        if default.is_none() {
            source.missing(
                &format!("service[{index}].owner"),
                "who answers for it, for instance `person:Ada` or `group:payments`",
            );
        }
        return default;
    };
    let Parsed(owner) = stated.get_ref();
    if let Owner::Person(wanted) = owner
        && !people.iter().filter_map(|person| person.name.as_ref()).any(|name| name.get_ref().0.0 == *wanted)
    {
        source.at(&stated.span(), "no person of this name is in `[[people]]`: nobody could answer for it");
    }
    Some(owner.clone())
}

/// Names of services where no proxy is built, which would look at them.
pub(in crate::config) fn names(source: &mut Source<'_>, raw: &[Spanned<RawService>]) {
    let mut seen = BTreeSet::new();
    for (index, raw) in raw.iter().enumerate() {
        match &raw.get_ref().name {
            None => source.missing(&format!("service[{index}].name"), SERVICE_NAME),
            Some(name) => {
                if !seen.insert(name.get_ref().0.clone()) {
                    source
                        .at(&name.span(), "is there already: put all that is known about it into one entry");
                }
            }
        }
    }
}

/// What the name of a service is for.
pub(super) const SERVICE_NAME: &str = "the name that scopes use, for instance `orders`";

pub(super) fn policy(source: &Source<'_>, raw: RawPolicy) -> PolicyConfig {
    let zone = value(raw.zone).map(|ZoneName(name)| name);
    PolicyConfig { folder: path(source, raw.folder), zone: zone.unwrap_or(PolicyConfig::default().zone) }
}

/// Nothing that was refused or ended is remembered for longer.
const LONGEST_COOLDOWN: Duration = Duration::from_secs(24 * 3600);
/// Nor how much access somebody had.
const LONGEST_WINDOW: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn requests(source: &mut Source<'_>, raw: RawRequests) -> RequestRules {
    let default = RequestRules::default();
    let mut wait = |raw: Option<Text<Wait>>, default: Duration| match raw.map(split) {
        None => default,
        Some((Wait(length), span)) => {
            if length > LONGEST_COOLDOWN {
                source.at(&span, "expected at most `1d`");
            }
            length
        }
    };
    let cooldown_after_denial = wait(raw.cooldown_after_denial, default.cooldown_after_denial);
    let cooldown_after_revocation = wait(raw.cooldown_after_revocation, default.cooldown_after_revocation);
    let cooldown_after_expiry = wait(raw.cooldown_after_expiry, default.cooldown_after_expiry);
    if let Some(window) = &raw.privileged_window
        && window.get_ref().0.get() > LONGEST_WINDOW
    {
        source.at(&window.span(), "expected at most `30d`");
    }
    RequestRules {
        pending_timeout: duration(raw.pending_timeout, default.pending_timeout),
        max_pending: raw.max_pending.map_or(default.max_pending, usize::from),
        max_per_hour: raw.max_per_hour.map_or(default.max_per_hour, u32::from),
        cooldown_after_denial,
        cooldown_after_revocation,
        cooldown_after_expiry,
        privileged_cap: duration(raw.privileged_cap, default.privileged_cap),
        privileged_window: duration(raw.privileged_window, default.privileged_window),
        max_open_reviews: raw.max_open_reviews.map_or(default.max_open_reviews, usize::from),
        review_within: duration(raw.review_within, default.review_within),
        task_idle_timeout: value(raw.task_idle_timeout).map(crate::model::Ttl::get),
    }
}

pub(super) fn principals(
    source: &mut Source<'_>,
    raw: Vec<RawPrincipal>,
    roles: &BTreeMap<SpiffeId, BTreeSet<Role>>,
) -> BTreeMap<SpiffeId, PrincipalEntry> {
    let mut principals = BTreeMap::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let Some((id, span)) = raw.id.map(split) else {
            source.missing(&format!("principals[{index}].id"), "the SPIFFE ID that this is known about");
            continue;
        };
        if raw.kind == Some(PrincipalKind::Workload)
            && let Some(role) = roles.get(&id).and_then(|roles| roles.iter().find(|role| role.decides()))
        {
            source.at(
                &span,
                format!("a workload cannot hold the role `{}`: take the role away, or give it to a human's identity", role.as_str()),
            );
        }
        let attributes = Attributes {
            risk: raw.risk,
            compliant: raw.compliant,
            groups: raw.groups.into_iter().map(|group| split(group).0).collect(),
            labels: raw.labels,
        };
        if principals.insert(id, PrincipalEntry { kind: raw.kind, attributes }).is_some() {
            source.at(&span, "is listed twice: put all that is known about it into one entry");
        }
    }
    principals
}

pub(super) fn templates(source: &mut Source<'_>, raw: Vec<RawRole>) -> BTreeMap<RoleName, RoleTemplate> {
    let mut templates = BTreeMap::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let name = raw.name.map(split);
        if name.is_none() {
            source.missing(
                &format!("roles[{index}].name"),
                "what requests call it, for instance `orders-reader`",
            );
        }
        let Some(list) = raw.scope else {
            source.missing(&format!("roles[{index}].scope"), "for instance `[\"orders:GET:/v1/orders/*\"]`");
            continue;
        };
        let span = list.span();
        let scopes =
            filled(source, list, "a role that permits nothing cannot be asked for: name a permission");
        let permissions = scopes.iter().flat_map(|(scope, _)| scope.permissions().iter().cloned()).collect();
        let Some((name, place)) = name else { continue };
        match Scope::new(permissions) {
            Ok(scope) => {
                if templates.insert(name, RoleTemplate { scope, max_ttl: value(raw.max_ttl) }).is_some() {
                    source.at(&place, "is there already: choose another name");
                }
            }
            // An empty list was noted above.
            Err(crate::model::scope::ScopeError::Empty) => {}
            Err(error) => source.at(&span, error.to_string()),
        }
    }
    templates
}
