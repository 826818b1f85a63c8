//! An access request as it was asked: what policies decide on, what approvers see, and what the hash that they approve is over.

use crate::model::grant::Limits;
use crate::model::scope::sha256;
use crate::model::strict::{Object, present};
use crate::model::{AccessRequestId, GrantId, GroupName, RoleName, Scope, SpiffeId, TaskId, Time, Ttl};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::num::NonZeroU64;

/// Most bytes of a justification.
pub const MAX_JUSTIFICATION: usize = 4096;
/// Most bytes of a ticket's name.
pub const MAX_TICKET: usize = 256;
/// Most steps of a plan.
pub const MAX_STEPS: usize = 32;
/// Most entries of an envelope.
pub const MAX_ENTRIES: usize = 32;

/// An access request. Immutable; where it stands is a view of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRequest {
    /// Its identifier.
    pub id: AccessRequestId,
    /// Who asked: the identity of the connection.
    pub requester: SpiffeId,
    /// For whom; the requester itself, unless a broker or a delegating principal asked.
    pub principal: SpiffeId,
    /// The unit of work that it is for.
    pub task: TaskId,
    /// What is asked for. Of a plan or an envelope: everything that its parts name.
    pub scope: Scope,
    /// The named scope template that `scope` was expanded from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// How long, from approval or from `not_before`.
    pub ttl: Ttl,
    /// From when; absent: from approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// The justification, in the requester's words: a claim.
    pub reason: String,
    /// The ticket that it names: a claim, unless `ticket_open` says that it was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Whether the ticket system said that the ticket is open; absent: not asked, or no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket_open: Option<bool>,
    /// The human behind an agent, from a token that was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<User>,
    /// How the requester proved themselves beside the certificate, from a token that was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<User>,
    /// Break-glass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    /// Ordered steps, each opened when the one before is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Several scopes with limits of their own: one decision, one grant for each, all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
    /// When the task ends, whatever happens. Of a task that is open already: the same or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_deadline: Option<Time>,
    /// The task ends without traffic or sign of life for this long. Of a task that is open already: the same or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_idle_timeout: Option<Ttl>,
    /// Where it comes from.
    pub kind: RequestKind,
    /// The address of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// When it was asked, control time.
    pub requested_at: Time,
    /// When it expires if nobody has decided.
    pub expires_at: Time,
}

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RequestKind {
    /// Access that nobody has yet.
    Access,
    /// More time for a grant: a new grant that names the old one.
    Extension {
        /// The grant that is to go on.
        of: GrantId,
    },
    /// A part of a grant for another principal, which ends with it.
    Delegation {
        /// The grant of which a part is handed on.
        of: GrantId,
    },
    /// The next step of a plan.
    Step {
        /// The request whose plan it is.
        of: AccessRequestId,
        /// Which step, from 0.
        number: u32,
    },
}

/// Ordered steps of one task, asked for at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan {
    /// From 1 to [`MAX_STEPS`].
    pub steps: Vec<Step>,
}

/// One step of a plan. `null` is refused: without `max_uses` a step may be used as often as its time allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Object<RawStep>")]
pub struct Step {
    /// What it may do.
    pub scope: Scope,
    /// How often; absent: as often as its time allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<NonZeroU64>,
    /// Decided anew, with the facts of then, before it opens.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reassess: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    scope: Scope,
    #[serde(default, deserialize_with = "present")]
    max_uses: Option<NonZeroU64>,
    #[serde(default)]
    reassess: bool,
}

impl From<Object<RawStep>> for Step {
    fn from(Object(raw): Object<RawStep>) -> Self {
        Self { scope: raw.scope, max_uses: raw.max_uses, reassess: raw.reassess }
    }
}

/// What one task may do, and how much of each: asked for and decided on at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Envelope {
    /// From 1 to [`MAX_ENTRIES`], no two with the same scope.
    pub entries: Vec<Entry>,
}

/// One entry of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Object<RawEntry>")]
pub struct Entry {
    /// What it may do.
    pub scope: Scope,
    /// How much of it; absent: as much as its time allows.
    #[serde(skip_serializing_if = "Limits::is_unlimited")]
    pub limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    scope: Scope,
    #[serde(default)]
    limits: Limits,
}

impl From<Object<RawEntry>> for Entry {
    fn from(Object(raw): Object<RawEntry>) -> Self {
        Self { scope: raw.scope, limits: raw.limits }
    }
}

/// Which human: a subject (`sub`) means something together with its issuer (`iss`) only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserId {
    /// The issuer.
    pub issuer: String,
    /// The subject at that issuer.
    pub subject: String,
}

/// A human, as a verified token of a configured issuer names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The issuer (`iss`).
    pub issuer: String,
    /// The subject at that issuer (`sub`).
    pub subject: String,
    /// The name of the person in the configuration that this subject belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The groups of that person in the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupName>,
    /// Authentication context class (`acr`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// Authentication methods (`amr`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// When the user last authenticated (`auth_time`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Time>,
}

impl User {
    /// Which human it is.
    #[must_use]
    pub fn id(&self) -> UserId {
        UserId { issuer: self.issuer.clone(), subject: self.subject.clone() }
    }
}

impl AccessRequest {
    /// SHA-256 over the canonical form (RFC 8785), lower-case hexadecimal: what an approver approves; and the bytes of that form.
    ///
    /// # Errors
    /// When a number is beyond what JSON holds exactly, which no request reaches.
    pub fn sealed(&self) -> Result<(String, usize), serde_json::Error> {
        let canonical = serde_json_canonicalizer::to_vec(self)?;
        let hash = sha256(&canonical).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((hash, canonical.len()))
    }
}
