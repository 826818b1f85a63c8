//! The controls on asking, and on asking again (law 9): brokers, tasks, duplicates, numbers, cool-downs, open reviews.

use crate::control::authz::Need;
use crate::control::state::decide::{Context, Draft};
use crate::control::state::{CooldownCause, Outcome, Purpose, Refusal, RequestState, Rules, State};
use crate::control::workflow::command::{NewRequest, Wanted};
use crate::control::workflow::refusal::AccessRefusal;
use crate::control::workflow::refuse;
use crate::control::workflow::request::same;
use crate::model::event::EventBody;
use crate::model::scope::Comparisons;
use crate::model::{
    AccessRequest, AccessRequestId, GrantId, RequestKind, Scope, SpiffeId, TaskId, Time, User,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn broker(rules: &Rules, requester: &SpiffeId) -> Result<(), Refusal> {
    match rules.roles.may(requester, Need::Broker) {
        true => Ok(()),
        false => refuse(AccessRefusal::NotBroker),
    }
}

/// A task belongs to its first requester, who lets others in; once it has ended, only its owner takes it up again.
pub(super) fn task_is_open_to(
    state: &State,
    (task, requester, principal): (&TaskId, &SpiffeId, &SpiffeId),
    new: &NewRequest,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    if new.task_deadline.is_some_and(|deadline| deadline <= context.now) {
        return refuse(AccessRefusal::Deadline);
    }
    let Some(known) = state.task(task) else { return Ok(()) };
    let is_owner = known.owner == *requester;
    if known.ended.is_some() {
        return match is_owner {
            true => Ok(()),
            false => refuse(AccessRefusal::TaskEnded { task: task.clone() }),
        };
    }
    let is_broker = context.rules.roles.may(requester, Need::Broker);
    let foreign = |who: &SpiffeId| AccessRefusal::ForeignTask { task: task.clone(), principal: who.clone() };
    if !is_broker && !known.has(requester) {
        return refuse(foreign(requester));
    }
    // An owner who is no broker asks only for itself, which was looked at before.
    if !is_broker && !known.has(principal) {
        return refuse(foreign(principal));
    }
    let others = |asked: bool, is_same: bool| asked && !is_same;
    if others(new.task_deadline.is_some(), new.task_deadline == known.deadline)
        || others(new.task_idle_timeout.is_some(), new.task_idle_timeout == known.idle_timeout)
    {
        return refuse(AccessRefusal::TaskTerms { task: task.clone() });
    }
    Ok(())
}

/// The same asked twice is asked once.
pub(super) fn pending_duplicate(
    state: &State,
    (requester, principal): (&SpiffeId, &SpiffeId),
    new: &NewRequest,
    scope: &Scope,
) -> Option<AccessRequestId> {
    let (plan, envelope) = match &new.wanted {
        Wanted::Plan(plan) => (Some(plan), None),
        Wanted::Envelope(envelope) => (None, Some(envelope)),
        Wanted::Scope(_) | Wanted::Role(_) => (None, None),
    };
    let user = new.on_behalf_of.as_ref().map(User::id);
    let found = state.pending_of(requester).find(|record| {
        let known = &record.request;
        known.kind == RequestKind::Access
            && known.principal == *principal
            && known.task == new.task
            && known.scope == *scope
            && known.plan.as_ref() == plan
            && known.envelope.as_ref() == envelope
            && known.ttl == new.ttl
            && known.not_before == new.not_before
            && known.reason == new.reason
            && known.emergency == new.emergency
            && known.ticket == new.ticket
            && known.on_behalf_of.as_ref().map(User::id) == user
    });
    found.map(|record| record.request.id)
}

/// What is asked is logged, whatever comes of it: nobody may fill the log.
pub(super) fn number_lately(
    state: &State,
    requester: &SpiffeId,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    let max = context.rules.requests.max_per_hour;
    match state.asked_lately(requester, context.now) < max {
        true => Ok(()),
        false => refuse(AccessRefusal::TooOften { max }),
    }
}

/// How many may be pending at once, and made in an hour.
pub(super) fn number(state: &State, requester: &SpiffeId, context: &Context<'_>) -> Result<(), Refusal> {
    number_lately(state, requester, context)?;
    let pending = state.pending_of(requester).count();
    match pending < context.rules.requests.max_pending {
        true => Ok(()),
        false => refuse(AccessRefusal::TooManyPending { pending }),
    }
}

/// One live grant for each principal, task, scope and user.
pub(super) fn live_duplicate(state: &State, request: &AccessRequest, now: Time) -> Option<GrantId> {
    if request.plan.is_some() || request.envelope.is_some() {
        return None;
    }
    let start = request.not_before.unwrap_or(now).max(now);
    let window = (start, start.plus(request.ttl.get()));
    state.same(Purpose::asked(request, &request.scope), window).map(|grant| grant.id)
}

/// The request is answered by what is there: an earlier request of the same requester, or this one, noted as satisfied.
pub(super) fn satisfied(
    draft: &mut Draft<'_>,
    request: AccessRequest,
    grant: GrantId,
) -> Result<Outcome, Refusal> {
    let earlier = draft.state.live_grant(grant).and_then(|live| live.grant.lineage.as_ref()?.request);
    let earlier = earlier.and_then(|id| draft.state.request(id));
    if let Some(earlier) = earlier
        && earlier.request.requester == request.requester
        && earlier.state == RequestState::Approved
    {
        return Ok(Outcome::Request { id: earlier.request.id, existing: true });
    }
    let id = request.id;
    draft.push(EventBody::AccessRequested { request: Arc::new(request) });
    draft.push(EventBody::AccessSatisfied { request: id, grant });
    Ok(Outcome::Request { id, existing: true })
}

/// Everybody whose past counts for a request: requester and principal, with all identities of the same person.
fn concerned(rules: &Rules, request: &AccessRequest) -> BTreeSet<SpiffeId> {
    let mut all = rules.directory.identities(&request.requester);
    all.extend(rules.directory.identities(&request.principal));
    all
}

pub(super) fn cooldown(state: &State, request: &AccessRequest, context: &Context<'_>) -> Result<(), Refusal> {
    let rules = &context.rules.requests;
    let length = |cause| match cause {
        CooldownCause::Denial => rules.cooldown_after_denial,
        CooldownCause::Revocation => rules.cooldown_after_revocation,
        CooldownCause::Expiry => rules.cooldown_after_expiry,
    };
    let concerned = concerned(context.rules, request);
    // However many cool-downs there are: asking in vain leaves nothing in the log, so nothing else bounds how often it is done.
    let mut left = Comparisons::default();
    let held = concerned
        .iter()
        .flat_map(|who| state.cooldowns_of(who))
        .map(|cooldown| (cooldown, cooldown.at.plus(length(cooldown.cause))))
        .filter(|(cooldown, until)| {
            context.now < *until && cooldown.scope.overlaps_within(&request.scope, &mut left)
        })
        .max_by_key(|(_, until)| *until);
    match held {
        Some((cooldown, until)) => refuse(AccessRefusal::Cooldown { cause: cooldown.cause.as_str(), until }),
        None => Ok(()),
    }
}

/// Nobody breaks glass again while their earlier emergencies wait for a second person.
pub(super) fn emergency(state: &State, request: &AccessRequest, rules: &Rules) -> Result<(), Refusal> {
    if !request.emergency {
        return Ok(());
    }
    let is_ours =
        |who: &SpiffeId| same(rules, who, &request.requester) || same(rules, who, &request.principal);
    let mut own = state.open_reviews().filter(|review| {
        // A broker may have asked for whoever it was for.
        let principal = state.request(review.request).map(|record| &record.request.principal);
        review.emergency && (is_ours(&review.requester) || principal.is_some_and(is_ours))
    });
    match own.nth(rules.requests.max_open_reviews.saturating_sub(1)) {
        Some(review) => refuse(AccessRefusal::ReviewOpen { review: review.id }),
        None => Ok(()),
    }
}

/// Whether policies alone must not decide, because requester or principal had much access to a service of the request lately.
pub(super) fn above_cap(
    state: &State,
    request: &AccessRequest,
    ttl: Duration,
    context: &Context<'_>,
) -> bool {
    let rules = &context.rules.requests;
    let since = context.now.minus(rules.privileged_window);
    let services = crate::control::state::look::services_of(&request.scope);
    concerned(context.rules, request).iter().any(|who| {
        services
            .iter()
            .any(|service| state.access_since(who, service, since).saturating_add(ttl) > rules.privileged_cap)
    })
}
