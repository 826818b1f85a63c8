//! Plans: one step after the other. Opening a step ends the one before; a step that is to be decided anew becomes a request of its
//! own, and everything ends with the plan.

use crate::control::state::decide::{Context, Draft};
use crate::control::state::{Found, Outcome, Refusal, RequestRecord, RequestState, State, Task};
use crate::control::workflow::refusal::AccessRefusal;
use crate::control::workflow::{approve, caller, consider, controls, issue, refuse};
use crate::model::event::EventBody;
use crate::model::{AccessRequest, AccessRequestId, EndCause, RequestKind, Step, Time, Ttl};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

/// What was verified when a step is opened. A step that is decided anew rests on this, not on what was so when the plan was
/// asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) ticket_open: Option<bool>,
    pub(super) ticket_silent: bool,
    pub(super) source: Option<IpAddr>,
}

/// Opens the next step.
pub(super) fn advance(
    draft: &mut Draft<'_>,
    id: AccessRequestId,
    now: Now,
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    let who = caller(draft)?.clone();
    let record = approve::visible(draft, id, &who, context)?;
    let request = Arc::clone(&record.request);
    if request.requester != who && request.principal != who {
        return Err(Refusal::NotFound { what: "request" });
    }
    if record.state != RequestState::Approved {
        return refuse(AccessRefusal::Settled { state: record.state.as_str() });
    }
    // A task that was ended and taken up again is another piece of work.
    let is_over = |task: &Task| task.ended.is_some() || task.opened_at > request.requested_at;
    if draft.state.task(&request.task).is_none_or(is_over) {
        return refuse(AccessRefusal::TaskEnded { task: request.task.clone() });
    }
    // What is booked begins when it was decided to, with its first step.
    let is_early = request.not_before.is_some_and(|start| context.now < start);
    if is_early || !goes_on(draft.state, record) {
        return refuse(AccessRefusal::NotLive);
    }
    let (number, step) = next(draft.state, record)?;
    let Some(end) = end(draft.state, id).filter(|end| context.now < *end) else {
        return refuse(AccessRefusal::NotLive);
    };
    leave(draft, record, context.now);
    // The plan was decided on by other policies: its terms no longer count for what comes.
    let other = record.evaluated.as_ref().is_none_or(|it| it.policy != context.rules.policies.hash());
    if step.reassess || other {
        if now.ticket_silent {
            return refuse(AccessRefusal::TicketsSilent);
        }
        return reassess(draft, (&request, number, step), (end, now), context);
    }
    let Some(terms) = record.terms() else { return refuse(AccessRefusal::NoStep) };
    controls::cooldown(
        draft.state,
        &AccessRequest { scope: step.scope.clone(), ..(*request).clone() },
        context,
    )?;
    draft.push(EventBody::StepOpened { request: id, number, asked: None });
    let grounds = issue::Grounds { request: &request, terms, approvals: &record.approvals };
    issue::issue_step(draft, &grounds, (&step.scope, step.max_uses, end), context)?;
    Ok(Outcome::Request { id, existing: false })
}

/// Whether a plan may go on: none of its grants was taken away. What ended one because of how it was used, or because somebody
/// said so, ended the plan; a step whose time ran out, or that was left, did not. A grant that is no longer known counts as taken.
fn goes_on(state: &State, record: &RequestRecord) -> bool {
    record.grants.iter().all(|id| match state.find(*id) {
        Some(Found::Live(_)) => true,
        Some(Found::Ended(ended)) => match ended.cause {
            EndCause::Superseded | EndCause::Expired => true,
            EndCause::Revoked
            | EndCause::TaskDone
            | EndCause::TaskFailed
            | EndCause::Idle
            | EndCause::Limit => false,
        },
        None => false,
    })
}

/// The step to open: the one after the last, or the last again if it was refused.
fn next<'a>(state: &State, record: &'a RequestRecord) -> Result<(u32, &'a Step), Refusal> {
    let steps = record.request.plan.as_ref().map(|plan| plan.steps.as_slice()).unwrap_or_default();
    let mut number = 0;
    if let Some(last) = record.steps.last() {
        number = last.number.saturating_add(1);
        if let (Some(asked), None) = (last.asked, last.grant) {
            match state.request(asked).map(|record| record.state) {
                Some(RequestState::Pending) => return refuse(AccessRefusal::StepPending { request: asked }),
                Some(RequestState::Denied | RequestState::Expired | RequestState::Cancelled) | None => {
                    number = last.number;
                }
                Some(RequestState::Approved) => {}
            }
        }
    }
    let at = usize::try_from(number).unwrap_or(usize::MAX);
    match steps.get(at) {
        Some(step) => Ok((number, step)),
        None => refuse(AccessRefusal::NoStep),
    }
}

/// When everything of a plan ends: its own length after its first step began, and with its task.
pub(super) fn end(state: &State, plan: AccessRequestId) -> Option<Time> {
    let record = state.request(plan)?;
    let settled = record.settled.as_ref()?.at;
    let began = record.request.not_before.unwrap_or(settled).max(settled);
    let shortest = record
        .approvals
        .iter()
        .filter_map(|approval| approval.ttl)
        .chain(record.terms()?.max_ttl)
        .chain([record.request.ttl])
        .map(Ttl::get)
        .min()?;
    let deadline = state.task(&record.request.task).and_then(|task| task.deadline);
    Some(deadline.map_or(began.plus(shortest), |deadline| deadline.min(began.plus(shortest))))
}

/// How often a step that is decided anew may be used: as the plan says. A plan that is forgotten has no end, so nothing of it opens.
pub(in crate::control) fn max_uses(state: &State, kind: &RequestKind) -> Option<NonZeroU64> {
    match kind {
        RequestKind::Step { of, number } => {
            let plan = state.request(*of)?.request.plan.as_ref()?;
            plan.steps.get(usize::try_from(*number).ok()?)?.max_uses
        }
        RequestKind::Access | RequestKind::Extension { .. } | RequestKind::Delegation { .. } => None,
    }
}

/// Ends what is live of the plan.
fn leave(draft: &mut Draft<'_>, record: &RequestRecord, now: Time) {
    let live = |id: &&crate::model::GrantId| {
        draft.state.live_grant(**id).is_some_and(|live| now < live.grant.expires_at)
    };
    let grants: Vec<_> = record.grants.iter().filter(live).copied().collect();
    if !grants.is_empty() {
        let grants = draft.state.with_dependants(grants);
        draft.push(EventBody::GrantsEnded { grants, cause: EndCause::Superseded });
    }
}

fn reassess(
    draft: &mut Draft<'_>,
    (plan, number, step): (&AccessRequest, u32, &Step),
    (end, now): (Time, Now),
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    // A step that policies refuse at once may be opened again at once.
    controls::number(draft.state, &plan.requester, context)?;
    let ttl = Ttl::new(end.since(context.now)).map_err(|_| Refusal::from(AccessRefusal::NotLive))?;
    let request = AccessRequest {
        id: AccessRequestId::from_parts(context.now.as_millis(), (context.random)()),
        scope: step.scope.clone(),
        ttl,
        not_before: None,
        plan: None,
        ticket_open: now.ticket_open,
        source: now.source,
        kind: RequestKind::Step { of: plan.id, number },
        requested_at: context.now,
        expires_at: context.now.plus(context.rules.requests.pending_timeout).min(end),
        ..plan.clone()
    };
    controls::cooldown(draft.state, &request, context)?;
    draft.push(EventBody::StepOpened { request: plan.id, number, asked: Some(request.id) });
    consider::consider(draft, request, context)
}
