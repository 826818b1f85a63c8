//! Why the workflow refuses, in words that say what to do.

use crate::config::Role;
use crate::model::{AccessRequestId, ReviewId, RoleName, SpiffeId, StepUp, TaskId, Time, Ttl};
use std::time::Duration;

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
        "`{permission}` asks for everything that a service has: name the actions, the paths or the tools that the task needs"
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
    /// The deadline is over, or is before the start.
    #[error(
        "the deadline of the task is over before this would begin: give a later `task_deadline`, or use another task"
    )]
    Deadline,
    /// Too many are pending.
    #[error("{pending} requests of this requester are pending already: wait for decisions, or cancel some")]
    TooManyPending {
        /// How many.
        pending: usize,
    },
    /// The same key, but something else.
    #[error("this `Idempotency-Key` was used for another request: take a new key")]
    KeyReused,
    /// Too often.
    #[error("{max} requests of this requester within an hour: wait, or have `max_per_hour` raised")]
    TooOften {
        /// How many are too many.
        max: u32,
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
    /// The policies forbid an operator's direct grant.
    #[error("the policies forbid it: {because}")]
    Forbidden {
        /// Why.
        because: String,
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
    /// The ticket was open when it was asked about, and nobody says whether it still is.
    #[error("the ticket system does not say whether the ticket is still open: try again later")]
    TicketsSilent,
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
    /// The principal's risk is above what the grant tolerates, or not known.
    #[error("{because}: somebody with the role `security` says what it is")]
    Risk {
        /// Which, and how high.
        because: String,
    },
}
