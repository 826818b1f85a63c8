//! The events of the control plane's log. The log is the single source of truth; every other state is a view of it.
//!
//! Stored as JSON. An event of an unknown kind, or with an unknown member, stops the reader: a control plane must not run on a
//! history that it does not understand.

use crate::model::{EndCause, Grant, GrantId, ProxyName, RevocationId, ServiceName, SpiffeId, TaskId, Time};
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
    /// Grants were issued by one decision of an operator. A bulk call makes several such events in one append.
    GrantsIssued {
        /// The grants; `revision` inside each is the revision of this event.
        grants: Vec<Arc<Grant>>,
        /// Why, in the operator's words.
        reason: String,
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
    /// A longer lease than ever before is handed out from now on.
    LeaseRaised {
        /// Milliseconds.
        lease_ms: u64,
    },
}

/// Which grants a revocation is for. `all` is written out; nothing is ever implied by an empty value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Selector {
    /// One grant.
    Grant(GrantId),
    /// All grants of a task.
    Task(TaskId),
    /// All grants of a principal.
    Principal(SpiffeId),
    /// All grants with a permission at a service.
    Service(ServiceName),
    /// Every grant.
    All(Everything),
}

/// The literal `true` of `{"all": true}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "bool", into = "bool")]
pub struct Everything;

impl TryFrom<bool> for Everything {
    type Error = &'static str;
    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Ok(Self) } else { Err("`all` must be `true`") }
    }
}

impl From<Everything> for bool {
    fn from(_: Everything) -> Self {
        true
    }
}
