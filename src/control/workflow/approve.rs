//! Decisions of people on a request: approve it or less of it, refuse it, withdraw it.

use crate::control::authz::Need;
use crate::control::state::decide::{Context, Draft, check_reason};
use crate::control::state::{Approval, Outcome, Refusal, RequestRecord, RequestState};
use crate::control::workflow::command::NewApproval;
use crate::control::workflow::progress::{self, Involvement, involvement, may_decide, may_see, progress};
use crate::control::workflow::refusal::AccessRefusal;
use crate::control::workflow::request::{check_services, same};
use crate::control::workflow::{caller, consider, controls, issue, refuse};
use crate::model::event::{Actor, EventBody};
use crate::model::{
    AccessRequest, AccessRequestId, Evaluation, PolicyOutcome, RequestKind, SpiffeId, Terms, Time,
};
use std::sync::Arc;

const FORGOTTEN: AccessRefusal = AccessRefusal::Invalid(
    "who asked for what this goes on from is no longer known: deny it, and have access of its own asked for",
);

/// Approves. The policies are asked again, with the facts of now: what they no longer allow is not granted.
pub(super) fn approve(
    draft: &mut Draft<'_>,
    new: &NewApproval,
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    let approver = caller(draft)?.clone();
    let record = visible(draft, new.request, &approver, context)?.clone();
    let request = Arc::clone(&record.request);
    check_reason(&new.reason)?;
    pending(&record, context.now)?;
    if new.hash.as_ref().is_some_and(|hash| *hash != record.hash) {
        return refuse(AccessRefusal::Changed { hash: record.hash.clone() });
    }
    match involvement(draft.state, context.rules, &request, &approver) {
        Involvement::Apart => {}
        Involvement::Involved => return refuse(AccessRefusal::SelfApproval),
        Involvement::Forgotten => return refuse(FORGOTTEN),
    }
    check_services(&request.scope, context.rules)?;
    check_narrower(&record, new)?;
    if request.kind == RequestKind::Access {
        // Several may have been asked for before the first was granted.
        controls::emergency(draft.state, &request, context.rules)?;
    }
    let Some(terms) = reconsider(draft, &record, (new.ticket_open, new.ticket_silent), context)? else {
        return Ok(Outcome::Request { id: request.id, existing: false });
    };
    let before = progress(draft.state, context.rules, (&request, &terms), &record.approvals);
    let stage = match before.open() {
        Some((at, stage)) => {
            if !progress::is_eligible(draft.state, context.rules, (&request, &stage.stage), &approver) {
                return refuse(AccessRefusal::NotApprover { wanted: progress::wanted(stage) });
            }
            at
        }
        // The policies of now need nobody; whoever may decide still has to say so.
        None if may_approve_anything(&approver, context) => 0,
        None => return refuse(AccessRefusal::NotApprover { wanted: "an approver".to_owned() }),
    };
    let counted = before.stages.iter().flat_map(|stage| &stage.approved);
    if counted.into_iter().any(|other| same(context.rules, other, &approver)) {
        return refuse(AccessRefusal::ApprovedAlready);
    }
    if let Some(needed) = &terms.approver_step_up {
        consider::step_up("the approver", needed, new.authenticated.as_ref(), context.now)?;
        // An approver of whom nobody says who they are could bring anybody's token.
        if context.rules.directory.person(&approver).is_none() {
            return refuse(AccessRefusal::OtherPerson);
        }
    }
    consider::check_person(context.rules, &approver, new.authenticated.as_ref())?;
    draft.push(EventBody::AccessApproved {
        request: request.id,
        hash: record.hash.clone(),
        stage: u32::try_from(stage).unwrap_or(u32::MAX),
        scope: new.scope.clone(),
        ttl: new.ttl,
        reason: new.reason.clone(),
        authenticated: new.authenticated.clone(),
    });
    let mut approvals = record.approvals.clone();
    approvals.push(Approval {
        by: approver.clone(),
        at: context.now,
        scope: new.scope.clone(),
        ttl: new.ttl,
        reason: new.reason.clone(),
        authenticated: new.authenticated.clone(),
    });
    let after = progress(draft.state, context.rules, (&request, &terms), &approvals);
    if after.open().is_none() {
        let grounds = issue::Grounds { request: &request, terms: &terms, approvals: &approvals };
        issue::issue(draft, &grounds, Actor::Identity(approver), context)?;
    }
    Ok(Outcome::Request { id: request.id, existing: false })
}

/// The terms of now; `None` when the request is refused by them, which is logged. An evaluation that says what the last one said
/// is not logged again.
fn reconsider(
    draft: &mut Draft<'_>,
    record: &RequestRecord,
    (ticket_open, ticket_silent): (Option<bool>, bool),
    context: &Context<'_>,
) -> Result<Option<Terms>, Refusal> {
    // The request stays as it was asked and hashed; what was looked up for it may be another by now.
    let request = &AccessRequest { ticket_open, ..(*record.request).clone() };
    let evaluation = consider::evaluate(draft.state, request, context);
    let outcome = match &evaluation.outcome {
        PolicyOutcome::Denied { .. } => evaluation.outcome.clone(),
        PolicyOutcome::Permitted(terms) => {
            let mut terms = consider::adjusted(terms, request, draft.state, context);
            let earlier = record.terms().map(|terms| terms.stages.as_slice()).unwrap_or_default();
            if terms.stages.is_empty() {
                // Somebody had to decide when it was asked; that stays.
                terms.stages = earlier.to_vec();
            }
            PolicyOutcome::Permitted(Box::new(terms))
        }
    };
    let denied = consider::denial(&outcome, request, draft.state, context.rules)
        .or_else(|| consider::unproved(outcome.terms()?, request));
    let known = record.evaluated.as_ref();
    if ticket_silent && (denied.is_some() || known.is_none_or(|known| known.outcome != outcome)) {
        // A moment without the ticket system denies nothing for good, and puts no other terms in the place of those that were.
        return refuse(AccessRefusal::TicketsSilent);
    }
    if known.is_none_or(|known| known.outcome != outcome || known.policy != evaluation.policy) {
        let evaluation = Arc::new(Evaluation { outcome: outcome.clone(), ..evaluation });
        draft.push_as(Actor::System, EventBody::AccessEvaluated { request: request.id, evaluation });
    }
    if let Some(reason) = denied {
        draft.push_as(Actor::System, EventBody::AccessDenied { request: request.id, reason });
        return Ok(None);
    }
    Ok(outcome.terms().cloned())
}

fn may_approve_anything(id: &SpiffeId, context: &Context<'_>) -> bool {
    context.rules.roles.may(id, Need::Approve) && !context.rules.directory.is_workload(id)
}

fn check_narrower(record: &RequestRecord, new: &NewApproval) -> Result<(), Refusal> {
    let asked = &record.request;
    if let Some(ttl) = new.ttl
        && ttl.get() > asked.ttl.get()
    {
        return refuse(AccessRefusal::Longer { ttl, asked: asked.ttl });
    }
    match &new.scope {
        Some(_) if asked.plan.is_some() || asked.envelope.is_some() => refuse(AccessRefusal::Invalid(
            "a plan or an envelope is approved as it is, or denied: leave out `scope`",
        )),
        Some(scope) if !asked.scope.contains(scope) => refuse(AccessRefusal::NotNarrower),
        Some(_) | None => Ok(()),
    }
}

/// Refuses.
pub(super) fn deny(
    draft: &mut Draft<'_>,
    id: AccessRequestId,
    reason: &str,
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let decider = caller(draft)?.clone();
    let record = visible(draft, id, &decider, context)?;
    check_reason(reason)?;
    pending(record, context.now)?;
    let request = &record.request;
    // Refusing what goes on from something forgotten harms nobody.
    if involvement(draft.state, context.rules, request, &decider) == Involvement::Involved {
        return refuse(AccessRefusal::SelfApproval);
    }
    let may = may_decide(draft.state, context.rules, (request, record.terms()), &decider)
        || may_approve_anything(&decider, context)
        || (context.rules.roles.may(&decider, Need::Revoke)
            && !context.rules.directory.is_workload(&decider));
    if !may {
        return Err(Refusal::Role { need: Need::Approve });
    }
    draft.push(EventBody::AccessDenied { request: id, reason: reason.to_owned() });
    Ok(Outcome::Request { id, existing: false })
}

/// Withdraws: requester or principal.
pub(super) fn cancel(
    draft: &mut Draft<'_>,
    id: AccessRequestId,
    reason: &str,
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let who = caller(draft)?.clone();
    let record = visible(draft, id, &who, context)?;
    if reason.len() > crate::control::state::MAX_REASON {
        return Err(Refusal::Reason);
    }
    pending(record, context.now)?;
    if record.request.requester != who && record.request.principal != who {
        return Err(Refusal::Role { need: Need::Approve });
    }
    draft.push(EventBody::AccessCancelled { request: id, reason: reason.to_owned() });
    Ok(Outcome::Request { id, existing: false })
}

/// The sweep that says so in the log may be late, most of all after a start: what is out of its time has expired by itself.
fn pending(record: &RequestRecord, now: Time) -> Result<(), Refusal> {
    match record.state {
        RequestState::Pending if now < record.request.expires_at => Ok(()),
        RequestState::Pending => refuse(AccessRefusal::Settled { state: RequestState::Expired.as_str() }),
        RequestState::Approved | RequestState::Denied | RequestState::Expired | RequestState::Cancelled => {
            refuse(AccessRefusal::Settled { state: record.state.as_str() })
        }
    }
}

/// The request, if the caller may know of it (law 11).
pub(super) fn visible<'a>(
    draft: &Draft<'a>,
    id: AccessRequestId,
    caller: &SpiffeId,
    context: &Context<'_>,
) -> Result<&'a RequestRecord, Refusal> {
    let may_see = |record: &&RequestRecord| may_see(draft.state, context.rules, record, caller);
    draft.state.request(id).filter(may_see).ok_or(Refusal::NotFound { what: "request" })
}
