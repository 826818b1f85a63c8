//! A grant: one principal, one task, explicit permissions, a short half-open window. Immutable: narrowing or extending makes
//! another grant (law 8).

use crate::model::scope::Scope;
use crate::model::strict::{Object, present};
use crate::model::{AccessRequestId, GrantId, Recording, Revision, SpiffeId, TaskId, Time, UserId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub use crate::model::scope::conditions::{Conditions, TimeWindow};
pub use crate::model::scope::limits::{Limits, Rate};

/// A grant as it was decided. It is live at `now` when `not_before <= now < expires_at` and it has not been ended.
///
/// JSON form: the contract's `id principal task scope not_before expires_at revision` and, where set, `conditions` and
/// `limits`, `recording` and `lineage`; an unknown member, `null` and an empty window are refused (law 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object<RawGrant>")]
pub struct Grant {
    /// Its identifier.
    pub id: GrantId,
    /// The one workload that it is for.
    pub principal: SpiffeId,
    /// The unit of work that it is for.
    pub task: TaskId,
    /// What it permits; never empty.
    pub scope: Scope,
    /// First point in time at which it permits.
    pub not_before: Time,
    /// First point in time at which it no longer permits.
    pub expires_at: Time,
    /// What must hold at each request.
    #[serde(skip_serializing_if = "Conditions::is_unconditional")]
    pub conditions: Conditions,
    /// How much it permits.
    #[serde(skip_serializing_if = "Limits::is_unlimited")]
    pub limits: Limits,
    /// How much of each request is recorded.
    #[serde(skip_serializing_if = "Recording::is_metadata")]
    pub recording: Recording,
    /// What it comes from; none of an operator's direct grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Arc<Lineage>>,
    /// Revision of the event that issued it.
    pub revision: Revision,
}

/// What a grant comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The access request that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<AccessRequestId>,
    /// The grant that it is a part of; it ends with that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<GrantId>,
    /// The grant that it goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<GrantId>,
    /// Scopes that it was narrowed from: each of these must permit as well, so that nothing rests on a comparison of scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Scope>,
    /// The human whom it was given for: where a service demands to know its user, only this one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<UserId>,
}

impl Lineage {
    /// The most scopes that a grant may have been narrowed from: how deep delegation goes.
    pub const MAX_WITHIN: usize = 8;
    /// The most permissions that these scopes may have together. A grant beyond either permits nothing at any proxy.
    pub const MAX_WITHIN_PERMISSIONS: usize = 10_000;

    /// Whether proxies take so many scopes and permissions.
    #[must_use]
    pub fn is_bounded(within: &[Scope]) -> bool {
        let permissions: usize = within.iter().map(|scope| scope.permissions().len()).sum();
        within.len() <= Self::MAX_WITHIN && permissions <= Self::MAX_WITHIN_PERMISSIONS
    }
}

/// A window in which no request could ever be permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`expires_at` must be later than `not_before`")]
pub struct EmptyWindow;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrant {
    id: GrantId,
    principal: SpiffeId,
    task: TaskId,
    scope: Scope,
    not_before: Time,
    expires_at: Time,
    #[serde(default, deserialize_with = "present")]
    conditions: Option<Conditions>,
    #[serde(default, deserialize_with = "present")]
    limits: Option<Limits>,
    #[serde(default, deserialize_with = "present")]
    recording: Option<Recording>,
    #[serde(default, deserialize_with = "present")]
    lineage: Option<Arc<Lineage>>,
    revision: Revision,
}

impl TryFrom<Object<RawGrant>> for Grant {
    type Error = EmptyWindow;

    fn try_from(Object(raw): Object<RawGrant>) -> Result<Self, EmptyWindow> {
        if raw.not_before >= raw.expires_at {
            return Err(EmptyWindow);
        }
        Ok(Self {
            id: raw.id,
            principal: raw.principal,
            task: raw.task,
            scope: raw.scope,
            not_before: raw.not_before,
            expires_at: raw.expires_at,
            conditions: raw.conditions.unwrap_or_default(),
            limits: raw.limits.unwrap_or_default(),
            recording: raw.recording.unwrap_or_default(),
            lineage: raw.lineage,
            revision: raw.revision,
        })
    }
}

impl Grant {
    /// The scopes that it was narrowed from; each of these must permit as well.
    #[must_use]
    pub fn within(&self) -> &[Scope] {
        self.lineage.as_ref().map_or(&[], |lineage| &lineage.within)
    }

    /// The human whom it was given for.
    #[must_use]
    pub fn on_behalf_of(&self) -> Option<&UserId> {
        self.lineage.as_ref()?.on_behalf_of.as_ref()
    }

    /// Whether `now` lies in the half-open window `[not_before, expires_at)`.
    #[must_use]
    pub fn covers(&self, now: Time) -> bool {
        self.not_before <= now && now < self.expires_at
    }

    /// The JSON form by RFC 8785: byte for byte the same for equal grants.
    ///
    /// # Errors
    /// When a number is beyond what JSON holds exactly, which no revision reaches.
    pub fn canonical_json(&self) -> Result<String, serde_json::Error> {
        serde_json_canonicalizer::to_string(self)
    }
}

/// Why a grant ended. Closed: each is a value of `jitgate_streams_cut_total{cause}` and of the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EndCause {
    /// Its window closed.
    Expired = 1,
    /// Somebody revoked it.
    Revoked = 2,
    /// Its task was reported done.
    TaskDone = 3,
    /// Its task was reported failed.
    TaskFailed = 4,
    /// It was not used for its idle timeout.
    Idle = 5,
    /// A limit over its whole life (bytes) was used up.
    Limit = 6,
    /// A snapshot no longer listed it, a restored log began a new epoch, or a later step of its plan was opened.
    Superseded = 7,
}

impl EndCause {
    /// Every cause, for metrics that name each once.
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::Revoked,
        Self::TaskDone,
        Self::TaskFailed,
        Self::Idle,
        Self::Limit,
        Self::Superseded,
    ];

    /// The name used in metrics, audit lines and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::TaskDone => "task_done",
            Self::TaskFailed => "task_failed",
            Self::Idle => "idle",
            Self::Limit => "limit",
            Self::Superseded => "superseded",
        }
    }

    /// From the discriminant, for the wire.
    #[must_use]
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u8 == value)
    }
}
