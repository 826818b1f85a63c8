//! The events of the control plane's log. The log is the single source of truth; every other state is a view of it.
//!
//! Stored as JSON. An event of an unknown kind, or with an unknown member, stops the reader: a control plane must not run on a
//! history that it does not understand.

mod selector;

pub use selector::{Everything, Selector};

use crate::model::{
    AccessRequest, AccessRequestId, Attributes, AuditHealth, EndCause, Evaluation, Grant, GrantId,
    IdempotencyKey, ProxyName, ReviewId, RevocationId, Scope, SpiffeId, TaskId, Time, TrailFault, TrailHead,
    Ttl, User,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One entry of the log, without its position: what happened, when (control time), and who caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Control time; never lower than that of the event before.
    pub time: Time,
    /// Who caused it.
    pub actor: Actor,
    /// What happened.
    pub body: EventBody,
}

/// Who caused an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Actor {
    /// The control plane itself (expiry, housekeeping).
    System,
    /// An authenticated caller.
    Identity(SpiffeId),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EventBody {
    /// Grants were issued by one decision: of an operator, or on an access request (then each grant's `lineage` names it). A bulk
    /// call makes several such events in one append.
    GrantsIssued {
        /// The grants; `revision` inside each is the revision of this event.
        grants: Vec<Arc<Grant>>,
        /// Why: the operator's words, or the justification of the request.
        reason: String,
    },
    /// Somebody asked for access.
    AccessRequested {
        /// What was asked.
        request: Arc<AccessRequest>,
    },
    /// The policies were asked about a request: when it was made, when a step of its plan was to open, or when they were replaced.
    AccessEvaluated {
        /// Which request.
        request: AccessRequestId,
        /// What they said.
        evaluation: Arc<Evaluation>,
    },
    /// Whoever asked named a key, so that asking again under it is answered by the same request.
    RequestKeyed {
        /// Which request.
        request: AccessRequestId,
        /// The key and what it stands for.
        key: IdempotencyKey,
    },
    /// Somebody approved a request, or a part of it.
    AccessApproved {
        /// Which request.
        request: AccessRequestId,
        /// The hash of the request that they saw ([`crate::model::AccessRequest::sealed`]).
        hash: String,
        /// The stage that the approval counts for, from 0.
        stage: u32,
        /// A narrower scope, if they approved less.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<Scope>,
        /// A shorter time, if they approved less.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<Ttl>,
        /// Why, in their words.
        reason: String,
        /// How they proved themselves beside their certificate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authenticated: Option<User>,
    },
    /// A request was refused: by an approver, or by the policies (then the control plane itself is the actor).
    AccessDenied {
        /// Which request.
        request: AccessRequestId,
        /// Why.
        reason: String,
    },
    /// A request was withdrawn.
    AccessCancelled {
        /// Which request.
        request: AccessRequestId,
        /// Why, in the words of whoever withdrew it.
        reason: String,
    },
    /// Nobody decided on a request in time.
    AccessLapsed {
        /// Which request.
        request: AccessRequestId,
    },
    /// What was asked for was there already: one live grant for each principal, task, scope and user.
    AccessSatisfied {
        /// Which request.
        request: AccessRequestId,
        /// The grant that answers it.
        grant: GrantId,
    },
    /// The next step of a plan was opened.
    StepOpened {
        /// The request whose plan it is.
        request: AccessRequestId,
        /// Which step, from 0.
        number: u32,
        /// The request of its own that decides on it, where it is decided anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<AccessRequestId>,
    },
    /// Another principal may ask for access under a task.
    TaskJoined {
        /// Which task.
        task: TaskId,
        /// Who joins.
        principal: SpiffeId,
        /// Why.
        reason: String,
    },
    /// A task is over; its grants end by events of their own in the same append.
    TaskEnded {
        /// Which task.
        task: TaskId,
        /// How.
        outcome: TaskOutcome,
        /// Why, in the words of whoever ended it.
        reason: String,
    },
    /// What is known about a principal was replaced.
    AttributesSet {
        /// Whose.
        principal: SpiffeId,
        /// All of it.
        attributes: Arc<Attributes>,
    },
    /// A cool-down was lifted before its time.
    CooldownLifted {
        /// Whose.
        principal: SpiffeId,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Somebody else must look at what was done under a grant.
    ReviewOpened {
        /// Its identifier.
        review: ReviewId,
        /// The request that was granted.
        request: AccessRequestId,
        /// The grant.
        grant: GrantId,
        /// When it is due.
        due: Time,
    },
    /// A review was closed by a second person.
    ReviewClosed {
        /// Which.
        review: ReviewId,
        /// What happened, in the reviewer's words.
        findings: String,
        /// Whether the access was right.
        justified: bool,
    },
    /// Another set of policies decides from now on.
    PoliciesLoaded {
        /// Identifies it: as in [`Evaluation::policy`].
        policy: String,
        /// The ids of its policies, sorted.
        policies: Vec<String>,
    },
    /// What proxies counted under a grant, in all.
    GrantUsed {
        /// Which grant.
        grant: GrantId,
        /// Which proxy counted.
        proxy: ProxyName,
        /// Which process of it: totals begin anew with each.
        instance: u64,
        /// Requests that it has admitted.
        requests: u64,
        /// Body bytes that it has passed on, both directions.
        bytes: u64,
    },
    /// Grants were revoked.
    GrantsRevoked {
        /// The revocation's identifier.
        revocation: RevocationId,
        /// What was asked for.
        selector: Selector,
        /// The grants that it matched and that were live or still to come.
        grants: Vec<GrantId>,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Grants ended by themselves: expired, idle, used up.
    GrantsEnded {
        /// Which.
        grants: Vec<GrantId>,
        /// Why.
        cause: EndCause,
    },
    /// Uses of a grant were set aside for a proxy; they count as spent from now on.
    UsesReserved {
        /// The grant.
        grant: GrantId,
        /// For whom.
        proxy: ProxyName,
        /// How many.
        uses: u64,
    },
    /// A proxy was seen for the first time.
    ProxyJoined {
        /// Its name.
        proxy: ProxyName,
        /// Its identity.
        identity: SpiffeId,
    },
    /// A proxy confirmed that nothing runs any more under what was ended up to a revision.
    Acknowledged {
        /// Which proxy.
        proxy: ProxyName,
        /// Up to and including this revision.
        revision: crate::model::Revision,
        /// How many streams it cut for it.
        streams_cut: u64,
    },
    /// A proxy's audit trail is in another state than it last said.
    AuditReported {
        /// Which proxy.
        proxy: ProxyName,
        /// How its trail is now.
        health: AuditHealth,
    },
    /// A proxy handed over a checkpoint of its audit trail that goes on from the one before. Of those of some minutes the last, which
    /// vouches for what each of them did.
    TrailRecorded {
        /// Which proxy.
        proxy: ProxyName,
        /// How far its trail has come.
        head: TrailHead,
    },
    /// A proxy handed over a checkpoint that contradicts the one before: lines were changed or taken away, or another trail was
    /// begun. It counts from now on; this stays.
    TrailDisputed {
        /// Which proxy.
        proxy: ProxyName,
        /// What it says now.
        head: TrailHead,
        /// What is wrong.
        fault: TrailFault,
    },
    /// An external witness of a proxy's audit trail has signed for other lines than that has. Once for each trail; this stays.
    WitnessDisputed {
        /// Which proxy.
        proxy: ProxyName,
    },
    /// A longer lease than ever before is handed out from now on.
    LeaseRaised {
        /// Milliseconds.
        lease_ms: u64,
    },
}

impl EventBody {
    /// The name of its kind, as in JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::GrantsIssued { .. } => "grants_issued",
            Self::AccessRequested { .. } => "access_requested",
            Self::AccessEvaluated { .. } => "access_evaluated",
            Self::AccessApproved { .. } => "access_approved",
            Self::AccessDenied { .. } => "access_denied",
            Self::AccessCancelled { .. } => "access_cancelled",
            Self::AccessLapsed { .. } => "access_lapsed",
            Self::AccessSatisfied { .. } => "access_satisfied",
            Self::RequestKeyed { .. } => "request_keyed",
            Self::StepOpened { .. } => "step_opened",
            Self::TaskJoined { .. } => "task_joined",
            Self::TaskEnded { .. } => "task_ended",
            Self::AttributesSet { .. } => "attributes_set",
            Self::CooldownLifted { .. } => "cooldown_lifted",
            Self::ReviewOpened { .. } => "review_opened",
            Self::ReviewClosed { .. } => "review_closed",
            Self::PoliciesLoaded { .. } => "policies_loaded",
            Self::GrantUsed { .. } => "grant_used",
            Self::GrantsRevoked { .. } => "grants_revoked",
            Self::GrantsEnded { .. } => "grants_ended",
            Self::UsesReserved { .. } => "uses_reserved",
            Self::ProxyJoined { .. } => "proxy_joined",
            Self::Acknowledged { .. } => "acknowledged",
            Self::AuditReported { .. } => "audit_reported",
            Self::TrailRecorded { .. } => "trail_recorded",
            Self::TrailDisputed { .. } => "trail_disputed",
            Self::WitnessDisputed { .. } => "witness_disputed",
            Self::LeaseRaised { .. } => "lease_raised",
        }
    }

    /// Whether a proxy that has not heard of it might permit too much. A lease counts only once all of these are applied; what only
    /// adds, or is no business of a proxy's, may come later. Whoever adds a kind decides it here; when in doubt: `true`.
    #[must_use]
    pub fn takes_away(&self) -> bool {
        match self {
            Self::GrantsRevoked { .. } | Self::GrantsEnded { .. } => true,
            Self::GrantsIssued { .. }
            | Self::AccessRequested { .. }
            | Self::AccessEvaluated { .. }
            | Self::RequestKeyed { .. }
            | Self::AccessApproved { .. }
            | Self::AccessDenied { .. }
            | Self::AccessCancelled { .. }
            | Self::AccessLapsed { .. }
            | Self::AccessSatisfied { .. }
            | Self::StepOpened { .. }
            | Self::TaskJoined { .. }
            | Self::TaskEnded { .. }
            | Self::AttributesSet { .. }
            | Self::CooldownLifted { .. }
            | Self::ReviewOpened { .. }
            | Self::ReviewClosed { .. }
            | Self::PoliciesLoaded { .. }
            | Self::GrantUsed { .. }
            | Self::UsesReserved { .. }
            | Self::ProxyJoined { .. }
            | Self::Acknowledged { .. }
            | Self::AuditReported { .. }
            | Self::TrailRecorded { .. }
            | Self::TrailDisputed { .. }
            | Self::WitnessDisputed { .. }
            | Self::LeaseRaised { .. } => false,
        }
    }

    /// The grants that it issues.
    #[must_use]
    pub fn issued(&self) -> &[Arc<Grant>] {
        if let Self::GrantsIssued { grants, .. } = self { grants } else { &[] }
    }

    /// The grants that it ends, and why.
    #[must_use]
    pub fn ended(&self) -> Option<(&[GrantId], EndCause)> {
        if let Self::GrantsRevoked { grants, .. } = self {
            Some((grants, EndCause::Revoked))
        } else if let Self::GrantsEnded { grants, cause } = self {
            Some((grants, *cause))
        } else {
            None
        }
    }
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutcome {
    /// Its owner reported it done.
    Done,
    /// Its owner reported it failed.
    Failed,
    /// Its deadline passed.
    Deadline,
    /// No traffic and no sign of life for its idle time.
    Idle,
}

impl TaskOutcome {
    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Deadline => "deadline",
            Self::Idle => "idle",
        }
    }
}
