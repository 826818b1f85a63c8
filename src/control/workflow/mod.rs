//! From asking to the end: the decisions on access requests, approvals, plans, tasks and reviews. Part of
//! [`crate::control::state::decide()`]: pure, over the same state, with the same draft of events.
//!
//! `request -> consider (policies, terms) -> approve -> issue`, and `task`, `review`, `people` beside it. Whatever was verified
//! outside (tokens, tickets, addresses) comes in with the command.

mod approve;
pub mod command;
mod consider;
mod controls;
mod issue;
mod part;
mod people;
mod plan;
mod progress;
mod recheck;
mod refusal;
mod request;
mod task;
#[cfg(test)]
mod tests;

pub use command::{AccessCommand, NewApproval, NewDelegation, NewExtension, NewRequest, Wanted};
pub use consider::in_emergency;
pub(in crate::control) use consider::too_risky;
pub(in crate::control) use part::is_own;
pub(in crate::control) use plan::max_uses;
pub use progress::{Progress, StageProgress, may_decide, may_see, progress};
pub(in crate::control) use recheck::{Direct, forbidden};
pub use recheck::{Disallowed, recheck};
pub use refusal::AccessRefusal;

use crate::control::state::decide::{Context, Draft};
use crate::control::state::{Outcome, Refusal};
use crate::model::event::{Actor, EventBody};
use crate::model::{IdempotencyKey, SpiffeId};

/// Decides on a command of the workflow.
pub(in crate::control) fn decide(
    draft: &mut Draft<'_>,
    command: &AccessCommand,
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    match command {
        AccessCommand::Once(key, command) => once(draft, key, command, context),
        AccessCommand::Request(new) => request::ask(draft, new, context),
        AccessCommand::Extend(new) => part::extend(draft, new, context),
        AccessCommand::Delegate(new) => part::delegate(draft, new, context),
        AccessCommand::Approve(new) => approve::approve(draft, new, context),
        AccessCommand::Deny { request, reason } => approve::deny(draft, *request, reason, context),
        AccessCommand::Cancel { request, reason } => approve::cancel(draft, *request, reason, context),
        AccessCommand::Advance { request, ticket_open, ticket_silent, source } => {
            let (ticket_open, ticket_silent) = (*ticket_open, *ticket_silent);
            let now = plan::Now { ticket_open, ticket_silent, source: *source };
            plan::advance(draft, *request, now, context)
        }
        AccessCommand::EndTask { task, outcome, reason } => {
            task::end(draft, task, (*outcome, reason), context)
        }
        AccessCommand::Join { task, principal, reason } => {
            task::join(draft, task, (principal, reason), context)
        }
        AccessCommand::SetAttributes { principal, attributes } => {
            people::set_attributes(draft, principal, attributes, context)
        }
        AccessCommand::LiftCooldowns { principal, reason } => {
            people::lift_cooldowns(draft, (principal, reason), context)
        }
        AccessCommand::CloseReview { review, findings, justified } => {
            people::close_review(draft, *review, (findings, *justified), context)
        }
        AccessCommand::PoliciesLoaded { policy, policies, disallowed } => {
            people::policies_loaded(draft, (policy, policies), disallowed, context)
        }
        AccessCommand::Sweep => task::sweep(draft, context),
    }
}

/// A key that is known is answered by the request of then, as it is now.
fn once(
    draft: &mut Draft<'_>,
    key: &IdempotencyKey,
    command: &AccessCommand,
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    let known = draft.state.keyed(caller(draft)?, &key.key);
    // A request that was forgotten meanwhile answers nothing: then it is asked anew.
    if let Some((fingerprint, id)) = known.filter(|(_, id)| draft.state.request(*id).is_some()) {
        return match fingerprint == key.fingerprint {
            true => Ok(Outcome::Request { id, existing: true }),
            false => refuse(AccessRefusal::KeyReused),
        };
    }
    controls::number_lately(draft.state, caller(draft)?, context)?;
    let outcome = decide(draft, command, context)?;
    if let Outcome::Request { id, .. } = &outcome {
        draft.push(EventBody::RequestKeyed { request: *id, key: key.clone() });
    }
    Ok(outcome)
}

/// Who asks. The control plane itself asks for nothing.
fn caller<'a>(draft: &Draft<'a>) -> Result<&'a SpiffeId, Refusal> {
    match draft.actor {
        Actor::Identity(id) => Ok(id),
        Actor::System => Err(Refusal::NotFound { what: "command" }),
    }
}

fn refuse<T>(refusal: AccessRefusal) -> Result<T, Refusal> {
    Err(refusal.into())
}
