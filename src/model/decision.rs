//! What a policy says about an access request: the evaluation that is logged with it, and the terms that it sets.
//!
//! Written to the event log as JSON; an unknown member or value stops the reader (law 1).

use crate::model::{GroupName, SpiffeId, Ttl};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::num::{NonZeroU8, NonZeroU64};

/// One evaluation of a policy set: what it was asked, what it answered, and which policies made it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Identifies the policy set: `sha256:` and 64 hexadecimal digits over its files.
    pub policy: String,
    /// Everything that the policies could see, by name: requester, resources, context. A JSON object.
    pub facts: serde_json::Value,
    /// The ids of the policies that determined the outcome, sorted.
    pub determining: Vec<String>,
    /// The outcome.
    pub outcome: PolicyOutcome,
}

/// What a policy set says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PolicyOutcome {
    /// Not allowed: no permit, a forbid, or an evaluation error.
    Denied {
        /// Why, for the requester; lowercase fragments. Never empty.
        because: Vec<String>,
    },
    /// Allowed on these terms; at once if they name no stage.
    Permitted(Box<Terms>),
}

impl PolicyOutcome {
    /// The terms, unless it is denied.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        match self {
            Self::Denied { .. } => None,
            Self::Permitted(terms) => Some(terms),
        }
    }
}

/// On which terms access may be granted. The default is: at once, and nothing beyond what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    /// Who must approve, stage after stage; none: nobody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// The longest window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<Ttl>,
    /// The longest that extensions may make of it, from the first grant's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total: Option<Ttl>,
    /// The requester must have proved themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester_step_up: Option<StepUp>,
    /// Each approver must have proved themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver_step_up: Option<StepUp>,
    /// How much is recorded.
    #[serde(skip_serializing_if = "Recording::is_metadata")]
    pub recording: Recording,
    /// The longest time without use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Ttl>,
    /// The most uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<NonZeroU64>,
    /// The most bytes of the arguments of one call (MCP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument_bytes: Option<NonZeroU64>,
    /// The most bytes of the answer to one call (MCP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<NonZeroU64>,
    /// The grant counts only from the address that the request came from.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pin_source: bool,
    /// Somebody else must review afterwards what was done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub review: bool,
    /// The grant ends when the principal's risk rises above this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_risk: Option<Risk>,
}

/// One stage of approval: so many different people out of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// How many.
    pub approvals: NonZeroU8,
    /// Who may; any one of these is enough for each. Never empty.
    pub from: BTreeSet<ApproverRule>,
}

/// Who may approve.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ApproverRule {
    /// Whoever has the role `approver`.
    Approvers,
    /// The owner of each service in the scope (a person, a group or an identity).
    Owner,
    /// Somebody of a group that the requester's or principal's is in as well.
    Peers,
    /// Somebody of this group.
    Group(GroupName),
    /// This identity.
    Identity(SpiffeId),
}

impl std::fmt::Display for ApproverRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Approvers => f.write_str("role:approver"),
            Self::Owner => f.write_str("owner"),
            Self::Peers => f.write_str("peers"),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::Identity(id) => write!(f, "identity:{id}"),
        }
    }
}

/// How somebody must have proved themselves, beside their certificate (RFC 9470).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepUp {
    /// One of these authentication context classes (`acr`); empty: any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub acr: BTreeSet<String>,
    /// All of these authentication methods (`amr`); empty: any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub amr: BTreeSet<String>,
    /// Seconds since `auth_time`, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
}

/// How much of each request is recorded. Ordered: the greater is the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recording {
    /// The audit line.
    #[default]
    Metadata,
    /// The arguments of tool calls as well.
    Arguments,
    /// Bodies as well.
    Full,
}

impl Recording {
    /// Whether it is the default.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub fn is_metadata(&self) -> bool {
        *self == Self::Metadata
    }

    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Arguments => "arguments",
            Self::Full => "full",
        }
    }
}

/// How risky a principal is held to be now. Ordered: the greater is the riskier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Nothing known against it.
    Low,
    /// Something unusual.
    Medium,
    /// Do not trust it.
    High,
}

impl Risk {
    /// The name in JSON and in policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}
