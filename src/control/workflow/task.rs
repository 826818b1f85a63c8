//! Tasks: who may take part, and their end, which ends everything that was granted for them.

use crate::control::authz::Need;
use crate::control::state::decide::{Context, Draft, check_reason};
use crate::control::state::{MAX_REASON, Outcome, Refusal, RequestState, Task};
use crate::control::workflow::refusal::AccessRefusal;
use crate::control::workflow::refuse;
use crate::model::event::{Actor, EventBody, TaskOutcome};
use crate::model::{EndCause, SpiffeId, TaskId};

/// Due requests and tasks that one sweep looks at; the reconciler comes again.
const AT_ONCE: usize = 1_000;
/// Others that take part in one task: whoever owns one needs no role to fill the log with them.
const MAX_MEMBERS: usize = 256;

/// Ends a task: its owner, a broker or `security`; the control plane itself for deadline and idleness.
pub(super) fn end(
    draft: &mut Draft<'_>,
    task: &TaskId,
    (outcome, reason): (TaskOutcome, &str),
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    match (draft.actor, outcome) {
        (Actor::System, TaskOutcome::Deadline | TaskOutcome::Idle)
        | (Actor::Identity(_), TaskOutcome::Done | TaskOutcome::Failed) => {}
        (Actor::System, TaskOutcome::Done | TaskOutcome::Failed)
        | (Actor::Identity(_), TaskOutcome::Deadline | TaskOutcome::Idle) => {
            return Err(Refusal::NotFound { what: "command" });
        }
    }
    if reason.len() > MAX_REASON {
        return Err(Refusal::Reason);
    }
    let known = steered(draft, task, context)?;
    if known.ended.is_some() {
        return refuse(AccessRefusal::TaskEnded { task: task.clone() });
    }
    push_end(draft, task, (outcome, reason), context);
    Ok(Outcome::Done)
}

fn push_end(
    draft: &mut Draft<'_>,
    task: &TaskId,
    (outcome, reason): (TaskOutcome, &str),
    context: &Context<'_>,
) {
    let cause = match outcome {
        TaskOutcome::Done => EndCause::TaskDone,
        TaskOutcome::Failed => EndCause::TaskFailed,
        TaskOutcome::Deadline => EndCause::Expired,
        TaskOutcome::Idle => EndCause::Idle,
    };
    let grants = draft.state.select(&crate::model::event::Selector::Task(task.clone()), context.now);
    let grants = draft.state.with_dependants(grants);
    let pending: Vec<_> = draft
        .state
        .requests_of(task)
        .filter(|record| record.state == RequestState::Pending)
        .map(|record| record.request.id)
        .collect();
    for request in pending {
        draft.push(EventBody::AccessCancelled {
            request,
            reason: format!("the task is {}", outcome.as_str()),
        });
    }
    for part in grants.chunks(crate::control::state::decide::CHUNK) {
        draft.push(EventBody::GrantsEnded { grants: part.to_vec(), cause });
    }
    draft.push(EventBody::TaskEnded { task: task.clone(), outcome, reason: reason.to_owned() });
}

/// Lets another principal ask for access under the task.
pub(super) fn join(
    draft: &mut Draft<'_>,
    task: &TaskId,
    (principal, reason): (&SpiffeId, &str),
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let known = steered(draft, task, context)?;
    check_reason(reason)?;
    if known.ended.is_some() {
        return refuse(AccessRefusal::TaskEnded { task: task.clone() });
    }
    if !known.has(principal) {
        if known.members.len() >= MAX_MEMBERS {
            return refuse(AccessRefusal::Invalid("256 others take part in the task already: use another"));
        }
        draft.push(EventBody::TaskJoined {
            task: task.clone(),
            principal: principal.clone(),
            reason: reason.to_owned(),
        });
    }
    Ok(Outcome::Done)
}

/// The task, if the caller steers it. To others it does not exist, unless they take part or read everything (law 11).
fn steered<'a>(draft: &Draft<'a>, task: &TaskId, context: &Context<'_>) -> Result<&'a Task, Refusal> {
    let Some(known) = draft.state.task(task) else { return Err(Refusal::NotFound { what: "task" }) };
    let id = match draft.actor {
        Actor::System => return Ok(known),
        Actor::Identity(id) => id,
    };
    let roles = &context.rules.roles;
    if known.owner == *id || roles.may(id, Need::Steer) {
        return Ok(known);
    }
    match known.has(id) || roles.may(id, Need::Read) {
        true => Err(Refusal::Role { need: Need::Steer }),
        false => Err(Refusal::NotFound { what: "task" }),
    }
}

/// Logs what is due by time: requests that lapse and tasks past their deadline.
pub(super) fn sweep(draft: &mut Draft<'_>, context: &Context<'_>) -> Result<Outcome, Refusal> {
    match draft.actor {
        Actor::System => {}
        Actor::Identity(_) => return Err(Refusal::NotFound { what: "command" }),
    }
    let overdue: Vec<TaskId> = draft.state.past_deadline(context.now).take(AT_ONCE).cloned().collect();
    for task in &overdue {
        push_end(draft, task, (TaskOutcome::Deadline, "its deadline has passed"), context);
    }
    let lapsed = draft.state.pending().take_while(|(at, _)| *at <= context.now).take(AT_ONCE);
    let in_time = |id: &crate::model::AccessRequestId| {
        // Those of an overdue task are cancelled above.
        draft.state.request(*id).is_some_and(|record| !overdue.contains(&record.request.task))
    };
    let lapsed: Vec<_> = lapsed.map(|(_, id)| id).filter(in_time).collect();
    for request in lapsed {
        draft.push(EventBody::AccessLapsed { request });
    }
    Ok(Outcome::Done)
}
