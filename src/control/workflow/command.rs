//! What can be asked of the workflow, and why it refuses.

use crate::config::Role;
use crate::model::event::TaskOutcome;
use crate::model::{
    AccessRequestId, Attributes, GrantId, Plan, ReviewId, RoleName, Scope, ServiceName, SpiffeId, StepUp,
    TaskId, Time, Ttl, User,
};
use std::net::IpAddr;
use std::time::Duration;

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
    /// A token is wanted with the grant.
    pub token: bool,
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
    /// How the approver proved themselves (verified).
    pub authenticated: Option<User>,
}

/// What can be asked of the workflow.
#[derive(Debug, Clone)]
pub enum AccessCommand {
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
    /// Another policy set decides from now on; what it no longer allows ends. The control plane's own command.
    PoliciesLoaded {
        /// Identifies it.
        policy: String,
        /// The ids of its policies.
        policies: Vec<String>,
        /// The grants that it does not allow.
        disallowed: Vec<GrantId>,
    },
    /// Log what is due by time alone: pending requests that lapse, tasks past their deadline. The control plane's own command.
    Sweep,
}

/// Why the workflow refuses. Nothing was logged and nothing was granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessRefusal {
    /// Access to something in the scope cannot be asked for; unknown services and those that are not requestable look the same.
    #[error("access to `{what}` cannot be asked for here")]
    NotRequestable {
        /// The service, or the named scope.
        what: String,
    },
    /// Everything of a service.
    #[error(
        "`{permission}` asks for everything that a service has: name the actions or the paths that the task needs"
    )]
    TooWide {
        /// The permission.
        permission: String,
    },
    /// Longer than the named scope may be asked for.
    #[error("`ttl` {ttl} is above the cap {max} of the role `{role}`")]
    RoleTtl {
        /// What was asked.
        ttl: Ttl,
        /// The cap.
        max: Ttl,
        /// The role.
        role: RoleName,
    },
    /// For somebody else.
    #[error("asking for another principal needs the role `{}`", Role::Broker.as_str())]
    NotBroker,
    /// The task is somebody else's.
    #[error("the task `{task}` belongs to somebody else: its owner can let `{principal}` join")]
    ForeignTask {
        /// Which.
        task: TaskId,
        /// Who would have to join.
        principal: SpiffeId,
    },
    /// The task has ended.
    #[error("the task `{task}` has ended: its owner can take it up again, or use another")]
    TaskEnded {
        /// Which.
        task: TaskId,
    },
    /// The deadline or the idle timeout is not that of the open task.
    #[error(
        "the task `{task}` is open already with other terms: leave out `task_deadline` and `task_idle_timeout`"
    )]
    TaskTerms {
        /// Which.
        task: TaskId,
    },
    /// The deadline is over.
    #[error("`task_deadline` is over")]
    Deadline,
    /// Too many are pending.
    #[error("{pending} requests of this requester are pending already: wait for decisions, or cancel some")]
    TooManyPending {
        /// How many.
        pending: usize,
    },
    /// Asked again too early.
    #[error(
        "what overlaps with this was {cause} lately: ask again after {until}, or have an operator lift the cool-down"
    )]
    Cooldown {
        /// What happened.
        cause: &'static str,
        /// Until when.
        until: Time,
    },
    /// Emergencies of this person wait for a review.
    #[error("review `{review}` of an earlier emergency is open: a second person must close it first")]
    ReviewOpen {
        /// Which.
        review: ReviewId,
    },
    /// The policies want a proof that is not there.
    #[error(
        "the policies demand that {whom} authenticated freshly and strongly: send a bearer token of a configured issuer"
    )]
    StepUp {
        /// The requester or the approver.
        whom: &'static str,
        /// What it must say.
        needed: StepUp,
    },
    /// The token is another human's.
    #[error("the token belongs to another person than the certificate")]
    OtherPerson,
    /// Whoever approves must not be whoever benefits.
    #[error("approval is refused to requester, principal, beneficiary and every identity of the same person")]
    SelfApproval,
    /// Not one of those whom the policies name, or not now.
    #[error("the stage that is open needs {wanted}")]
    NotApprover {
        /// Whom.
        wanted: String,
    },
    /// The same person again.
    #[error("this person has approved already: another has to")]
    ApprovedAlready,
    /// Not what was seen.
    #[error("the request is another than the one that was seen (its hash is `{hash}`): look at it again")]
    Changed {
        /// What it is.
        hash: String,
    },
    /// Not pending.
    #[error("the request is {state} already")]
    Settled {
        /// Where it stands.
        state: &'static str,
    },
    /// Longer than what was asked for.
    #[error("`ttl` {ttl} is longer than the {asked} that were asked for: an approver only shortens")]
    Longer {
        /// What was given.
        ttl: Ttl,
        /// What was asked.
        asked: Ttl,
    },
    /// Not shown to be narrower.
    #[error(
        "this scope is not shown to be within what it narrows: name permissions that are each within one of its own"
    )]
    NotNarrower,
    /// The grant is not live.
    #[error("the grant is not live")]
    NotLive,
    /// No time is left.
    #[error("extensions have reached the longest total of {}s: ask anew", total.as_secs())]
    Total {
        /// The longest.
        total: Duration,
    },
    /// Limits cannot be shared.
    #[error(
        "a grant with limits on uses, bytes, rate or streams cannot be delegated: ask for access of its own"
    )]
    Limited,
    /// Handed on too often.
    #[error("a grant is narrowed or handed on {max} times at most: ask for access of its own")]
    TooDeep {
        /// The bound.
        max: usize,
    },
    /// Whoever approved must not benefit.
    #[error("`{principal}` approved the grant and cannot be its delegate")]
    ApproverBenefits {
        /// Who.
        principal: SpiffeId,
    },
    /// Nothing to open.
    #[error("the request has no plan, or its last step is open")]
    NoStep,
    /// The step that is open is not decided.
    #[error("the step is still being decided on by `{request}`")]
    StepPending {
        /// By which request.
        request: AccessRequestId,
    },
    /// To oneself.
    #[error("this is never decided by oneself or by another identity of the same person")]
    Oneself,
    /// Already closed.
    #[error("the review is closed already")]
    ReviewClosed,
    /// Too long or out of form.
    #[error("{0}")]
    Invalid(&'static str),
    /// A service of the scope has no entry; only where services were removed from the configuration since.
    #[error("the service `{service}` is no longer known")]
    Gone {
        /// Which.
        service: ServiceName,
    },
}
