//! The mirror of a file of table tests: one struct a table, one field a key, nothing decided. Every value knows its place.

use crate::config::{FromText, Text, ZoneName};
use crate::control::policy::{History, PolicyAction};
use crate::model::{
    GroupName, Owner, PrincipalKind, Risk, RoleName, Scope, Sensitivity, ServiceName, SpiffeId, TaskId, Time,
    Ttl,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use toml::Spanned;

impl FromText for Time {
    const EXPECTED: &'static str = "a time such as `2026-11-25T10:00:00Z`";
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {}", Self::EXPECTED))
    }
}

impl FromText for IpAddr {
    const EXPECTED: &'static str = "an address such as `203.0.113.7`";
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {}", Self::EXPECTED))
    }
}

impl FromText for TaskId {
    const EXPECTED: &'static str = "a task such as `INC-1`";
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {}", Self::EXPECTED))
    }
}

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTests {
    /// Instead of the zone that the policies are loaded with.
    pub(super) zone: Option<Text<ZoneName>>,
    /// What every case starts from.
    #[serde(default)]
    pub(super) given: RawGiven,
    #[serde(default)]
    pub(super) case: Vec<Spanned<RawCase>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCase {
    pub(super) name: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) given: RawGiven,
    /// What of it is not there.
    #[serde(default)]
    pub(super) without: Vec<Spanned<String>>,
    pub(super) expect: Option<RawExpect>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGiven {
    pub(super) action: Option<PolicyAction>,
    pub(super) requester: Option<RawWho>,
    pub(super) principal: Option<RawWho>,
    #[serde(default)]
    pub(super) services: BTreeMap<ServiceName, RawKnown>,
    pub(super) scope: Option<Spanned<Vec<Text<Scope>>>>,
    pub(super) time: Option<Text<Time>>,
    pub(super) source: Option<Text<IpAddr>>,
    pub(super) task: Option<Text<TaskId>>,
    pub(super) reason: Option<String>,
    pub(super) ticket: Option<RawTicket>,
    pub(super) ttl: Option<Text<Ttl>>,
    pub(super) not_before: Option<Text<Time>>,
    pub(super) role: Option<Text<RoleName>>,
    pub(super) emergency: Option<bool>,
    /// How many steps the plan has.
    pub(super) plan_steps: Option<u8>,
    /// The step that is to be opened, from 0.
    pub(super) plan_step: Option<u8>,
    pub(super) on_behalf_of: Option<RawUser>,
    pub(super) authenticated: Option<RawUser>,
    pub(super) history: Option<History>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWho {
    pub(super) id: Option<Text<SpiffeId>>,
    pub(super) kind: Option<PrincipalKind>,
    pub(super) person: Option<String>,
    pub(super) risk: Option<Risk>,
    pub(super) compliant: Option<bool>,
    pub(super) groups: Option<Vec<Text<GroupName>>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKnown {
    pub(super) owner: Option<Text<Owner>>,
    pub(super) sensitivity: Option<Sensitivity>,
    pub(super) environment: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) tools: Option<BTreeMap<String, Sensitivity>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTicket {
    pub(super) name: String,
    pub(super) open: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUser {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) person: Option<String>,
    #[serde(default)]
    pub(super) groups: Vec<Text<GroupName>>,
    pub(super) acr: Option<String>,
    #[serde(default)]
    pub(super) amr: Vec<String>,
    /// How long ago they authenticated.
    pub(super) age: Option<Text<Ttl>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExpect {
    pub(super) outcome: Option<Spanned<Outcome>>,
    pub(super) policies: Option<Vec<String>>,
    pub(super) terms: Option<Spanned<BTreeMap<String, Spanned<toml::Value>>>>,
    pub(super) because: Option<Spanned<String>>,
}

/// What is decided, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// At once.
    Granted,
    /// People have to approve.
    Approval,
    /// Refused.
    Denied,
}

impl Outcome {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Approval => "approval",
            Self::Denied => "denied",
        }
    }
}

impl RawGiven {
    /// This, with what a case says over it: principals and services member by member, everything else as a whole.
    pub(super) fn with(&self, case: Self) -> Self {
        let file = self.clone();
        let mut services = file.services;
        for (name, known) in case.services {
            let under = services.remove(&name).unwrap_or_default();
            services.insert(name, under.with(known));
        }
        let who = |file: Option<RawWho>, case: Option<RawWho>| match (file, case) {
            (Some(file), Some(case)) => Some(file.with(case)),
            (file, case) => case.or(file),
        };
        Self {
            action: case.action.or(file.action),
            requester: who(file.requester, case.requester),
            principal: who(file.principal, case.principal),
            services,
            scope: case.scope.or(file.scope),
            time: case.time.or(file.time),
            source: case.source.or(file.source),
            task: case.task.or(file.task),
            reason: case.reason.or(file.reason),
            ticket: case.ticket.or(file.ticket),
            ttl: case.ttl.or(file.ttl),
            not_before: case.not_before.or(file.not_before),
            role: case.role.or(file.role),
            emergency: case.emergency.or(file.emergency),
            plan_steps: case.plan_steps.or(file.plan_steps),
            plan_step: case.plan_step.or(file.plan_step),
            on_behalf_of: case.on_behalf_of.or(file.on_behalf_of),
            authenticated: case.authenticated.or(file.authenticated),
            history: case.history.or(file.history),
        }
    }

    /// Takes a fact out; false if there is none of this name, or it is not there.
    pub(super) fn take_out(&mut self, name: &str) -> bool {
        match name.split('.').collect::<Vec<_>>().as_slice() {
            ["source"] => self.source.take().is_some(),
            ["ticket"] => self.ticket.take().is_some(),
            ["role"] => self.role.take().is_some(),
            ["on_behalf_of"] => self.on_behalf_of.take().is_some(),
            ["authenticated"] => self.authenticated.take().is_some(),
            ["requester", fact] => self.requester.as_mut().is_some_and(|who| who.take_out(fact)),
            ["principal", fact] => self.principal.as_mut().is_some_and(|who| who.take_out(fact)),
            ["principal"] => self.principal.take().is_some(),
            ["services", name] => {
                name.parse::<ServiceName>().is_ok_and(|name| self.services.remove(&name).is_some())
            }
            ["services", name, "environment"] => name
                .parse::<ServiceName>()
                .ok()
                .and_then(|name| self.services.get_mut(&name)?.environment.take())
                .is_some(),
            _ => false,
        }
    }
}

impl RawWho {
    fn with(self, over: Self) -> Self {
        Self {
            id: over.id.or(self.id),
            kind: over.kind.or(self.kind),
            person: over.person.or(self.person),
            risk: over.risk.or(self.risk),
            compliant: over.compliant.or(self.compliant),
            groups: over.groups.or(self.groups),
            labels: over.labels.or(self.labels),
        }
    }

    fn take_out(&mut self, fact: &str) -> bool {
        match fact {
            "kind" => self.kind.take().is_some(),
            "person" => self.person.take().is_some(),
            "risk" => self.risk.take().is_some(),
            "compliant" => self.compliant.take().is_some(),
            "groups" => self.groups.take().is_some(),
            "labels" => self.labels.take().is_some(),
            _ => false,
        }
    }
}

impl RawKnown {
    fn with(self, over: Self) -> Self {
        Self {
            owner: over.owner.or(self.owner),
            sensitivity: over.sensitivity.or(self.sensitivity),
            environment: over.environment.or(self.environment),
            labels: over.labels.or(self.labels),
            tools: over.tools.or(self.tools),
        }
    }
}
