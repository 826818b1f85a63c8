//! What is known about those who ask and about what they ask for: facts for policies, from the configuration and from operators,
//! never from a request.

use crate::model::decision::Risk;
use crate::model::strict::unique;
use crate::model::{GroupName, SpiffeId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is known about a principal beside its identity. Two of these are merged with [`Attributes::merged`]: the configuration's,
/// and what somebody with the role `security` set at run time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// How risky it is held to be now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// Whether its device or workload meets its rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compliant: Option<bool>,
    /// The groups that it is in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupName>,
    /// Anything else, text by name.
    #[serde(default, deserialize_with = "unique", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Attributes {
    /// These, with those of `later` over them: a later risk, compliance or label counts, groups add up.
    #[must_use]
    pub fn merged(&self, later: &Self) -> Self {
        let mut merged = self.clone();
        merged.risk = later.risk.or(merged.risk);
        merged.compliant = later.compliant.or(merged.compliant);
        merged.groups.extend(later.groups.iter().cloned());
        merged.labels.extend(later.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
        merged
    }
}

/// What an identity stands for. A workload cannot hold a role that decides over people's access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A human's own certificate.
    Human,
    /// An agent, a job, a service.
    Workload,
}

impl PrincipalKind {
    /// The name in the configuration and in policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Workload => "workload",
        }
    }
}

/// A principal as policies see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalProfile {
    /// Who.
    pub id: SpiffeId,
    /// What it stands for; absent: nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<PrincipalKind>,
    /// The person that it belongs to, by the name in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// What else is known; where it is a human's own, the groups of its person are among `groups`.
    #[serde(default)]
    pub attributes: Attributes,
}

/// Who answers for a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Owner {
    /// A person of the configuration: any of its identities.
    Person(String),
    /// Everybody of a group.
    Group(GroupName),
    /// One identity.
    Identity(SpiffeId),
}

/// How much harm misuse of a service or a tool does. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    /// Public or trivial.
    Low,
    /// Internal.
    #[default]
    Medium,
    /// Personal data, money, production.
    High,
    /// Secrets, keys, the means to everything else.
    Critical,
}

impl Sensitivity {
    /// The name in the configuration and in policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// A service as policies and approvers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceProfile {
    /// Who answers for it.
    pub owner: Owner,
    /// How much harm its misuse does.
    #[serde(default)]
    pub sensitivity: Sensitivity,
    /// For instance `production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Anything else, text by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its tools (MCP) whose sensitivity differs from the service's, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, Sensitivity>,
    /// Whether access to it can be asked for; if not, it looks like a service that does not exist.
    #[serde(default = "yes")]
    pub requestable: bool,
}

fn yes() -> bool {
    true
}
