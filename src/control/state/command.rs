//! What can be asked of the state machine, and what it answers.

use crate::config::{ControlConfig, RequestRules};
use crate::control::authz::{Need, Roles};
use crate::control::directory::Directory;
use crate::control::policy::PolicySet;
use crate::control::workflow::{AccessCommand, AccessRefusal};
use crate::model::event::Selector;
use crate::model::grant::{Conditions, Limits};
use crate::model::{
    AccessRequestId, AuditHealth, EndCause, Grant, GrantId, ProxyName, Recording, Revision, RevocationId,
    Scope, SpiffeId, TaskId, Time, TrailHead, Ttl,
};
use crate::tlog::Hash;
use std::sync::Arc;
use std::time::Duration;

/// Most grants in one command.
pub const MAX_BULK: usize = 100_000;
/// Most bytes of a reason.
pub const MAX_REASON: usize = 4096;

/// What a control plane holds everybody to.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The longest window of a grant.
    pub max_ttl: Duration,
    /// Most grants that are not ended at any time.
    pub max_grants: usize,
    /// Who may do what.
    pub roles: Roles,
    /// What access requests are held to.
    pub requests: RequestRules,
    /// Who is who, and what is what.
    pub directory: Directory,
    /// What decides on access requests.
    pub policies: PolicySet,
    /// The zone of hours and weekdays.
    pub zone: jiff::tz::TimeZone,
}

impl Rules {
    /// Rules with the default bound on the number of grants.
    #[must_use]
    pub fn new(max_ttl: Duration, roles: Roles) -> Self {
        Self {
            max_ttl,
            max_grants: 2_000_000,
            roles,
            requests: RequestRules::default(),
            directory: Directory::default(),
            policies: PolicySet::builtin(),
            zone: jiff::tz::TimeZone::UTC,
        }
    }

    /// Rules from a configuration, with these policies.
    #[must_use]
    pub fn from_config(config: &ControlConfig, policies: PolicySet) -> Self {
        Self {
            requests: config.requests.clone(),
            directory: Directory::from_config(config),
            zone: policies.zone().clone(),
            policies,
            ..Self::new(config.max_ttl.get(), Roles::from_config(config))
        }
    }
}

/// A grant to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantSpec {
    /// For whom.
    pub principal: SpiffeId,
    /// For which task.
    pub task: TaskId,
    /// What it permits.
    pub scope: Scope,
    /// How long, from `not_before`.
    pub ttl: Ttl,
    /// From when; absent: from now.
    pub not_before: Option<Time>,
    /// What must hold at each request.
    pub conditions: Conditions,
    /// How much it permits.
    pub limits: Limits,
    /// How much of each request is recorded.
    pub recording: Recording,
    /// Why.
    pub reason: Arc<str>,
}

/// What can be asked.
#[derive(Debug, Clone)]
pub enum Command {
    /// Issue grants, all or none. At most [`MAX_BULK`].
    Grant(Arc<[GrantSpec]>),
    /// End what a selector matches.
    Revoke {
        /// Which.
        selector: Selector,
        /// Why; never empty.
        reason: String,
    },
    /// End every grant, because the store came back from a backup and some of them may have been revoked since. The control
    /// plane's own command.
    BeginEpoch,
    /// End grants for a cause of the control plane's own (idle, limit). Grants that are over already are passed over.
    End {
        /// Which.
        grants: Vec<GrantId>,
        /// Why.
        cause: EndCause,
    },
    /// Log the end of grants whose window has closed.
    Expire,
    /// A proxy says hello; to be submitted before it is told anything.
    Join {
        /// Under which name.
        proxy: ProxyName,
    },
    /// A proxy confirms that nothing runs any more under what was ended up to and including a revision. Costs an event only if it
    /// confirms a revocation.
    Acknowledge {
        /// Which.
        proxy: ProxyName,
        /// Up to where.
        revision: Revision,
        /// How many streams it cut for it.
        streams_cut: u64,
    },
    /// A proxy says how its audit trail is. Costs an event only at a change, and not more often than every five seconds.
    ReportAudit {
        /// Which.
        proxy: ProxyName,
        /// How it is.
        health: AuditHealth,
    },
    /// A proxy says that an external witness has signed for other lines than its audit trail has. Costs an event once for each trail.
    ReportDispute {
        /// Which.
        proxy: ProxyName,
    },
    /// A proxy hands over a checkpoint of its audit trail. Its signature was verified, and that it is of this proxy. Costs an event only
    /// if it is the first, or contradicts the one before; and of one trail that only once in five minutes.
    KeepCheckpoint {
        /// Which.
        proxy: ProxyName,
        /// What it signed.
        head: TrailHead,
        /// The size of the one before, as the proxy remembers it.
        since: u64,
        /// That this one goes on from there.
        proof: Arc<[Hash]>,
    },
    /// Log the checkpoints that are kept beside the log for five minutes already. The control plane's own command.
    RecordTrails,
    /// A proxy wants uses of a grant with `max_uses` set aside.
    ReserveUses {
        /// Which.
        proxy: ProxyName,
        /// Of which grant.
        grant: GrantId,
        /// How many at most.
        want: u64,
    },
    /// Log how much grants were used. The control plane's own command.
    NoteUses(Vec<UseToLog>),
    /// From now on leases of this length are handed out.
    RaiseLease {
        /// The length.
        lease: Duration,
    },
    /// Something about access requests, tasks, reviews or people.
    Access(AccessCommand),
}

/// What one process of a proxy has counted under one grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseToLog {
    /// Which grant.
    pub grant: GrantId,
    /// Which process.
    pub process: crate::control::state::Process,
    /// Requests admitted.
    pub requests: u64,
    /// Body bytes, both directions.
    pub bytes: u64,
}

/// A grant that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The grant.
    pub grant: Arc<Grant>,
    /// Whether it existed already: one live grant per principal, task, scope and user.
    pub existing: bool,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// In the order of the command.
    Granted(Vec<Issued>),
    /// A revocation was accepted.
    Revoked {
        /// Its identifier.
        revocation: RevocationId,
        /// The revision to wait for.
        revision: Revision,
    },
    /// Grants ended.
    Ended(Vec<GrantId>),
    /// The proxy may subscribe.
    Joined,
    /// Taken note of.
    Acknowledged,
    /// Uses that were set aside, durably; 0 if none are left or the grant is over.
    Reserved {
        /// How many.
        uses: u64,
    },
    /// The lease may be handed out.
    LeaseRaised,
    /// A request was made, decided on or moved on.
    Request {
        /// Which.
        id: AccessRequestId,
        /// Whether it, or the grant that answers it, was there already.
        existing: bool,
    },
    /// It is so from now on.
    Done,
}

/// Why a command is refused. Nothing was done, except where [`Refusal::Unknown`] says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The caller has no role that is enough.
    #[error("needs the role {}", or(need.roles()))]
    Role {
        /// What it would need.
        need: Need,
    },
    /// A direct grant to oneself or to another identity of the same person.
    #[error("a direct grant is never to oneself or to another identity of the same person: `{principal}`")]
    SelfGrant {
        /// Whom it was for.
        principal: SpiffeId,
    },
    /// No grants at all.
    #[error("no grants given")]
    Empty,
    /// More than [`MAX_BULK`].
    #[error("{given} grants given, at most {MAX_BULK} fit one call")]
    TooMany {
        /// How many.
        given: usize,
    },
    /// A missing or overlong reason.
    #[error("`reason` is mandatory and has at most {MAX_REASON} bytes")]
    Reason,
    /// Longer than the cap.
    #[error("`ttl` {ttl} is above the cap {max}")]
    TtlAboveCap {
        /// What was asked.
        ttl: Ttl,
        /// The cap.
        max: Ttl,
    },
    /// A start too far in the past or in the future.
    #[error("`not_before` {not_before} is in the past or more than 30 days ahead")]
    Start {
        /// What was asked.
        not_before: Time,
    },
    /// The grant that there is already would answer a call that demands more of a recording than it has.
    #[error("grant `{grant}` for the same exists and records less: revoke it first")]
    RecordsLess {
        /// Which.
        grant: GrantId,
    },
    /// A refusal of one of several grants.
    #[error("grant number {number} of the call")]
    Entry {
        /// Which, from 1.
        number: usize,
        /// Why.
        #[source]
        refusal: Box<Refusal>,
    },
    /// No such thing.
    #[error("no such {what}")]
    NotFound {
        /// Of what kind.
        what: &'static str,
    },
    /// The name belongs to another identity.
    #[error("the proxy name `{proxy}` belongs to another identity")]
    NameTaken {
        /// The name.
        proxy: ProxyName,
    },
    /// An acknowledgement of what has not happened yet.
    #[error("revision {revision} does not exist yet")]
    Future {
        /// Which.
        revision: Revision,
    },
    /// The bound on grants is reached.
    #[error("there are {max} grants already: end some first")]
    Full {
        /// The bound.
        max: usize,
    },
    /// The workflow refuses.
    #[error(transparent)]
    Access(Box<AccessRefusal>),
    /// Too many commands are waiting.
    #[error("the control plane is busy: try again")]
    Busy,
    /// The log could not be written: whether the command took effect is unknown.
    #[error("the event log cannot be written: whether this took effect is unknown")]
    Unknown,
    /// The control plane is stopping.
    #[error("the control plane is stopping")]
    Stopping,
}

impl From<AccessRefusal> for Refusal {
    fn from(refusal: AccessRefusal) -> Self {
        Self::Access(Box::new(refusal))
    }
}

fn or(roles: &[crate::config::Role]) -> String {
    roles.iter().map(|role| format!("`{}`", role.as_str())).collect::<Vec<_>>().join(" or ")
}
