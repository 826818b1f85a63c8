//! From what a case says to what policies are asked.

use super::raw::{RawGiven, RawKnown, RawUser, RawWho};
use crate::config::{Source, Text, split};
use crate::control::policy::{History, PolicyAction, Question};
use crate::model::{
    AccessRequest, AccessRequestId, Attributes, GrantId, GroupName, Permission, Plan, PrincipalProfile,
    RequestKind, Scope, ServiceName, ServiceProfile, Step, Time, User,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// What policies are asked, with everything that the question borrows.
#[derive(Debug)]
pub(super) struct Given {
    action: PolicyAction,
    request: AccessRequest,
    requester: PrincipalProfile,
    principal: PrincipalProfile,
    services: BTreeMap<ServiceName, ServiceProfile>,
    history: History,
    now: Time,
}

impl Given {
    /// The facts of a case; what is missing or contradicts itself is noted at `place`, and nothing is returned.
    pub(super) fn of(
        source: &mut Source<'_>,
        raw: RawGiven,
        (case, place): (&str, &Range<usize>),
    ) -> Option<Self> {
        let who = |who: &Option<RawWho>| who.as_ref().is_some_and(|who| who.id.is_some());
        for (there, key, what) in [
            (who(&raw.requester), "requester.id", "whose certificate it is, a SPIFFE ID"),
            (raw.principal.is_none() || who(&raw.principal), "principal.id", "who is to get the access"),
            (raw.time.is_some(), "time", "when it is, for instance `2026-11-25T10:00:00Z`"),
            (raw.scope.is_some(), "scope", "what is asked for, for instance `[\"orders:GET:/v1/orders/*\"]`"),
        ] {
            let reported =
                ["", case].map(|of| format!("{of}.given.{key}").trim_start_matches('.').to_owned());
            if !there && !reported.iter().any(|key| source.lost(key)) {
                source.at(place, format!("`given.{key}` is missing: {what}"));
            }
        }
        let requester = profile(raw.requester?)?;
        let principal = match raw.principal {
            Some(who) => profile(who)?,
            None => requester.clone(),
        };
        let now = split(raw.time?).0;
        let scope = scope(source, raw.scope?)?;
        let services = services(source, raw.services, place)?;
        let action = raw.action.unwrap_or(PolicyAction::Request);
        let kind = kind(source, (action, raw.plan_step), place)?;
        let plan = raw.plan_steps.map(|steps| {
            let step = Step { scope: scope.clone(), max_uses: None, reassess: false };
            Plan { steps: vec![step; usize::from(steps)] }
        });
        let request = AccessRequest {
            id: AccessRequestId::from_bits(0),
            requester: requester.id.clone(),
            principal: principal.id.clone(),
            task: raw.task.map(|task| split(task).0).or_else(|| "TEST-1".parse().ok())?,
            scope,
            role: raw.role.map(|role| split(role).0),
            ttl: raw.ttl.map(|ttl| split(ttl).0).or_else(|| "15m".parse().ok())?,
            not_before: raw.not_before.map(|time| split(time).0),
            reason: raw.reason.unwrap_or_else(|| "a test of the policies".to_owned()),
            ticket_open: raw.ticket.as_ref().map(|ticket| ticket.open),
            ticket: raw.ticket.map(|ticket| ticket.name),
            on_behalf_of: raw.on_behalf_of.map(|raw| user(raw, now)),
            authenticated: raw.authenticated.map(|raw| user(raw, now)),
            emergency: raw.emergency.unwrap_or(false),
            plan,
            envelope: None,
            task_deadline: None,
            task_idle_timeout: None,
            kind,
            source: raw.source.map(|address| split(address).0),
            requested_at: now,
            expires_at: now.plus(Duration::from_secs(3600)),
        };
        let history = raw.history.unwrap_or_default();
        Some(Self { action, request, requester, principal, services, history, now })
    }

    /// The question.
    pub(super) fn question(&self) -> Question<'_> {
        Question {
            action: self.action,
            request: &self.request,
            requester: &self.requester,
            principal: &self.principal,
            services: &self.services,
            history: &self.history,
            now: self.now,
        }
    }
}

fn kind(
    source: &mut Source<'_>,
    (action, step): (PolicyAction, Option<u8>),
    place: &Range<usize>,
) -> Option<RequestKind> {
    let grant = GrantId::from_bits(0);
    match (action, step) {
        (PolicyAction::Request | PolicyAction::Grant, None) => Some(RequestKind::Access),
        (PolicyAction::Extend, None) => Some(RequestKind::Extension { of: grant }),
        (PolicyAction::Delegate, None) => Some(RequestKind::Delegation { of: grant }),
        (PolicyAction::Request, Some(number)) => {
            Some(RequestKind::Step { of: AccessRequestId::from_bits(1), number: u32::from(number) })
        }
        (PolicyAction::Extend | PolicyAction::Delegate | PolicyAction::Grant, Some(_)) => {
            source.at(place, "`given.plan_step` goes with the action `request` only");
            None
        }
    }
}

fn scope(source: &mut Source<'_>, raw: toml::Spanned<Vec<Text<Scope>>>) -> Option<Scope> {
    let place = raw.span();
    let texts = raw.into_inner().into_iter().map(|text| split(text).0);
    let permissions: Vec<Permission> = texts.flat_map(|scope| scope.permissions().to_vec()).collect();
    match Scope::new(permissions) {
        Ok(scope) => Some(scope),
        Err(error) => {
            source.empty_list(&place, &error.to_string());
            None
        }
    }
}

fn services(
    source: &mut Source<'_>,
    raw: BTreeMap<ServiceName, RawKnown>,
    place: &Range<usize>,
) -> Option<BTreeMap<ServiceName, ServiceProfile>> {
    let mut known = BTreeMap::new();
    for (name, raw) in raw {
        let Some(owner) = raw.owner else {
            source.at(
                place,
                format!("`given.services.{name}.owner` is missing: for instance `group:payments`"),
            );
            return None;
        };
        let profile = ServiceProfile {
            owner: split(owner).0,
            sensitivity: raw.sensitivity.unwrap_or_default(),
            environment: raw.environment,
            labels: raw.labels.unwrap_or_default(),
            tools: raw.tools.unwrap_or_default(),
            requestable: true,
        };
        known.insert(name, profile);
    }
    Some(known)
}

fn profile(raw: RawWho) -> Option<PrincipalProfile> {
    Some(PrincipalProfile {
        id: split(raw.id?).0,
        kind: raw.kind,
        person: raw.person,
        attributes: Attributes {
            risk: raw.risk,
            compliant: raw.compliant,
            groups: groups(raw.groups.unwrap_or_default()).collect(),
            labels: raw.labels.unwrap_or_default(),
        },
    })
}

fn user(raw: RawUser, now: Time) -> User {
    User {
        issuer: raw.issuer,
        subject: raw.subject,
        person: raw.person,
        groups: groups(raw.groups).collect(),
        acr: raw.acr,
        amr: raw.amr,
        auth_time: raw.age.map(|age| now.minus(split(age).0.get())),
    }
}

fn groups(raw: Vec<Text<GroupName>>) -> impl Iterator<Item = GroupName> {
    raw.into_iter().map(|group| split(group).0)
}
