//! What can be asked of the workflow.

use crate::control::workflow::Disallowed;
use crate::model::event::TaskOutcome;
use crate::model::{
    AccessRequestId, Attributes, Envelope, GrantId, IdempotencyKey, Plan, ReviewId, RoleName, Scope,
    SpiffeId, TaskId, Time, Ttl, User,
};
use std::net::IpAddr;

/// A new access request, as its requester says it; what was verified outside the state machine is named so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    /// For whom; absent: for the requester.
    pub principal: Option<SpiffeId>,
    /// For which task.
    pub task: TaskId,
    /// What is asked for.
    pub wanted: Wanted,
    /// How long.
    pub ttl: Ttl,
    /// From when; absent: from approval.
    pub not_before: Option<Time>,
    /// The justification.
    pub reason: String,
    /// The ticket that it names.
    pub ticket: Option<String>,
    /// Whether the ticket system said that it is open (verified).
    pub ticket_open: Option<bool>,
    /// The human behind it (verified).
    pub on_behalf_of: Option<User>,
    /// How the requester proved themselves (verified).
    pub authenticated: Option<User>,
    /// Break-glass.
    pub emergency: bool,
    /// When the task ends.
    pub task_deadline: Option<Time>,
    /// Without traffic and sign of life for this long the task ends.
    pub task_idle_timeout: Option<Ttl>,
    /// The address of the connection (verified).
    pub source: Option<IpAddr>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Permissions.
    Scope(Scope),
    /// A named scope template of the configuration.
    Role(RoleName),
    /// Ordered steps.
    Plan(Plan),
    /// Several scopes with limits of their own, all at once.
    Envelope(Envelope),
}

/// More time for a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExtension {
    /// Which grant.
    pub grant: GrantId,
    /// How much longer.
    pub ttl: Ttl,
    /// The new justification.
    pub reason: String,
    /// The ticket that it names.
    pub ticket: Option<String>,
    /// Whether the ticket system said that it is open (verified).
    pub ticket_open: Option<bool>,
    /// How the requester proved themselves (verified).
    pub authenticated: Option<User>,
    /// The address of the connection (verified).
    pub source: Option<IpAddr>,
}

/// A part of a grant for another principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelegation {
    /// Of which grant.
    pub grant: GrantId,
    /// For whom.
    pub principal: SpiffeId,
    /// What; the grant's own scope must permit as well.
    pub scope: Scope,
    /// How long; absent: as long as the grant.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: String,
    /// The address of the connection (verified).
    pub source: Option<IpAddr>,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApproval {
    /// Of which request.
    pub request: AccessRequestId,
    /// The hash of what the approver saw, if they say so.
    pub hash: Option<String>,
    /// A narrower scope.
    pub scope: Option<Scope>,
    /// A shorter time.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: String,
    /// Whether the ticket system says that the ticket of the request is open now (verified).
    pub ticket_open: Option<bool>,
    /// It was open when it was asked about, and the ticket system says nothing now.
    pub ticket_silent: bool,
    /// How the approver proved themselves (verified).
    pub authenticated: Option<User>,
}

/// What can be asked of the workflow.
#[derive(Debug, Clone)]
pub enum AccessCommand {
    /// Do it once under this key, however often it is sent: something that makes a request.
    Once(IdempotencyKey, Box<AccessCommand>),
    /// Ask for access.
    Request(Box<NewRequest>),
    /// Ask for more time.
    Extend(Box<NewExtension>),
    /// Hand a part of a grant on.
    Delegate(Box<NewDelegation>),
    /// Approve, or approve less.
    Approve(Box<NewApproval>),
    /// Refuse.
    Deny {
        /// Which request.
        request: AccessRequestId,
        /// Why.
        reason: String,
    },
    /// Withdraw.
    Cancel {
        /// Which request.
        request: AccessRequestId,
        /// Why.
        reason: String,
    },
    /// Leave the step of a plan that is open and open the next.
    Advance {
        /// The request whose plan it is.
        request: AccessRequestId,
        /// Whether the ticket system says that its ticket is open now (verified).
        ticket_open: Option<bool>,
        /// It was open when it was asked about, and the ticket system says nothing now.
        ticket_silent: bool,
        /// The address of the connection (verified).
        source: Option<IpAddr>,
    },
    /// End a task and everything granted for it.
    EndTask {
        /// Which.
        task: TaskId,
        /// How; only the control plane itself says `Deadline` and `Idle`.
        outcome: TaskOutcome,
        /// Why.
        reason: String,
    },
    /// Let another principal ask for access under a task.
    Join {
        /// Which.
        task: TaskId,
        /// Who.
        principal: SpiffeId,
        /// Why.
        reason: String,
    },
    /// Replace what is known about a principal.
    SetAttributes {
        /// Whose.
        principal: SpiffeId,
        /// All of it.
        attributes: Attributes,
    },
    /// Let somebody ask again before their cool-down is over.
    LiftCooldowns {
        /// Whose.
        principal: SpiffeId,
        /// Why.
        reason: String,
    },
    /// Close a review.
    CloseReview {
        /// Which.
        review: ReviewId,
        /// What happened.
        findings: String,
        /// Whether the access was right.
        justified: bool,
    },
    /// Another policy set decides from now on; what it no longer allows ends. Whoever asks for it has had all grants looked at.
    PoliciesLoaded {
        /// Identifies it.
        policy: String,
        /// The ids of its policies.
        policies: Vec<String>,
        /// The grants that it does not allow.
        disallowed: Vec<Disallowed>,
    },
    /// Log what is due by time alone: pending requests that lapse, tasks past their deadline. The control plane's own command.
    Sweep,
}
