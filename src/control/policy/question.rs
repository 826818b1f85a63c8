//! What a policy set is asked: a request, what is known about everybody and everything that it names, and the time.

use crate::model::{AccessRequest, PrincipalProfile, ServiceName, ServiceProfile, Time};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One question. Everything that policies can see comes from here.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// What is to be decided.
    pub action: PolicyAction,
    /// The request. What it says is a claim.
    pub request: &'a AccessRequest,
    /// Who asks.
    pub requester: &'a PrincipalProfile,
    /// Who gets the access.
    pub principal: &'a PrincipalProfile,
    /// Every service that is known. One that the request names and that is not here denies.
    pub services: &'a BTreeMap<ServiceName, ServiceProfile>,
    /// What our own log knows about the requester.
    pub history: &'a History,
    /// Control time.
    pub now: Time,
}

/// What is to be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyAction {
    /// Access that nobody has yet, or the next step of a plan.
    Request,
    /// More time for a grant.
    Extend,
    /// A part of a grant for another principal.
    Delegate,
    /// An operator's direct grant: only what forbids it counts, because its decision is the operator's.
    Grant,
}

impl PolicyAction {
    /// The name in policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Extend => "extend",
            Self::Delegate => "delegate",
            Self::Grant => "grant",
        }
    }
}

/// What our own log knows about the requester, at the time of the question.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// The services that it was ever granted access to.
    pub services: BTreeSet<ServiceName>,
    /// The tools of services that it was ever granted, each as `service/tool`.
    pub tools: BTreeSet<String>,
    /// The hours of the day (0 to 23, in the zone of the policies) in which it asked on at least three days of the last thirty.
    pub usual_hours: BTreeSet<u8>,
    /// Its requests that people or policies refused in the last hour.
    pub refusals_last_hour: u32,
    /// Minutes of access that it was granted in the rolling window.
    pub privileged_minutes: u64,
}
