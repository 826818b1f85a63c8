//! What the policies say about a request, and what follows: refused, granted at once, or left for people.

use crate::control::policy::{PolicyAction, Question};
use crate::control::state::decide::{Context, Draft};
use crate::control::state::{Outcome, Refusal, Rules, State};
use crate::control::workflow::refusal::AccessRefusal;
use crate::control::workflow::{controls, issue, refuse};
use crate::model::event::{Actor, EventBody};
use crate::model::{
    AccessRequest, ApproverRule, Evaluation, PolicyOutcome, Recording, RequestKind, Risk, SpiffeId, Stage,
    StepUp, Terms, Time, Ttl, User,
};
use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

/// The longest emergency, unless the policies say less.
const EMERGENCY: Duration = Duration::from_secs(30 * 60);

/// Logs a request with what the policies say about it; grants it if nobody has to decide.
pub(super) fn consider(
    draft: &mut Draft<'_>,
    request: AccessRequest,
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    check_person(context.rules, &request.requester, request.authenticated.as_ref())?;
    let evaluation = evaluate(draft.state, &request, context);
    let mut terms = None;
    if let PolicyOutcome::Permitted(stated) = &evaluation.outcome {
        let stated = adjusted(stated, &request, draft.state, context);
        if let Some(needed) = &stated.requester_step_up {
            step_up("the requester", needed, request.authenticated.as_ref(), context.now)?;
        }
        terms = Some(stated);
    }
    let id = request.id;
    let request = Arc::new(request);
    draft.push(EventBody::AccessRequested { request: Arc::clone(&request) });
    let outcome = match (&terms, &evaluation.outcome) {
        // What is logged is what counts: the terms with everything that our own rules add.
        (Some(terms), _) => PolicyOutcome::Permitted(Box::new(terms.clone())),
        (None, outcome) => outcome.clone(),
    };
    let evaluation = Evaluation { outcome, ..evaluation };
    let denied = denial(&evaluation.outcome, &request, draft.state, context.rules);
    draft
        .push_as(Actor::System, EventBody::AccessEvaluated { request: id, evaluation: Arc::new(evaluation) });
    match (denied, terms) {
        (Some(reason), _) => draft.push_as(Actor::System, EventBody::AccessDenied { request: id, reason }),
        (None, Some(terms)) if terms.stages.is_empty() => {
            let grounds = issue::Grounds { request: &request, terms: &terms, approvals: &[] };
            issue::issue(draft, &grounds, Actor::System, context)?;
        }
        (None, _) => {}
    }
    Ok(Outcome::Request { id, existing: false })
}

/// Asks the policies.
pub(super) fn evaluate(state: &State, request: &AccessRequest, context: &Context<'_>) -> Evaluation {
    let rules = context.rules;
    let requester = rules.directory.profile(&request.requester, state.attributes(&request.requester));
    let principal = rules.directory.profile(&request.principal, state.attributes(&request.principal));
    let history = state.history(&request.requester, context.now, &rules.requests, &rules.zone);
    rules.policies.evaluate(&Question {
        action: action(&request.kind),
        request,
        requester: &requester,
        principal: &principal,
        services: rules.directory.services(),
        history: &history,
        now: context.now,
    })
}

fn action(kind: &RequestKind) -> PolicyAction {
    match kind {
        RequestKind::Access | RequestKind::Step { .. } => PolicyAction::Request,
        RequestKind::Extension { .. } => PolicyAction::Extend,
        RequestKind::Delegation { .. } => PolicyAction::Delegate,
    }
}

/// The policies' terms with what our own rules add; they only ever become stricter.
pub(super) fn adjusted(
    terms: &Terms,
    request: &AccessRequest,
    state: &State,
    context: &Context<'_>,
) -> Terms {
    let mut terms = if request.emergency { in_emergency(terms) } else { terms.clone() };
    let ttl = terms.max_ttl.map_or(request.ttl.get(), |max| max.get().min(request.ttl.get()));
    let alone = terms.stages.is_empty() && !request.emergency;
    if alone && controls::above_cap(state, request, ttl, context) {
        terms.stages.push(one_approver());
    }
    terms
}

/// What our own rules add to the terms of an emergency, whatever the policies say.
#[must_use]
pub fn in_emergency(terms: &Terms) -> Terms {
    let longest = terms.max_ttl.map_or(EMERGENCY, |max| max.get().min(EMERGENCY));
    let max_ttl = Ttl::new(longest).ok().or(terms.max_ttl);
    Terms { max_ttl, recording: Recording::Full, review: true, ..terms.clone() }
}

fn one_approver() -> Stage {
    Stage { approvals: NonZeroU8::MIN, from: BTreeSet::from([ApproverRule::Approvers]) }
}

/// Why a request is refused without asking people; `None`: it is not.
pub(super) fn denial(
    outcome: &PolicyOutcome,
    request: &AccessRequest,
    state: &State,
    rules: &Rules,
) -> Option<String> {
    let terms = match outcome {
        PolicyOutcome::Denied { because } if because.is_empty() => {
            return Some("denied by policy".to_owned());
        }
        PolicyOutcome::Denied { because } => return Some(because.join("; ")),
        PolicyOutcome::Permitted(terms) => terms,
    };
    if terms.pin_source {
        let others = request.requester != request.principal;
        match request.source {
            None => return Some("the policies pin the source, which is not known".to_owned()),
            Some(_) if others => {
                return Some(
                    "the policies pin the source, which another principal does not share".to_owned(),
                );
            }
            Some(_) => {}
        }
    }
    told_risk(state, rules, request, terms.max_risk)
}

/// Why a principal is too risky for what tolerates at most `highest`, as far as whoever asks for it may know: who asks for another
/// learns nothing about them by it.
pub(super) fn told_risk(
    state: &State,
    rules: &Rules,
    request: &AccessRequest,
    highest: Option<Risk>,
) -> Option<String> {
    let why = too_risky(state, rules, &request.principal, highest)?;
    let for_oneself = request.requester == request.principal;
    Some(if for_oneself {
        why
    } else {
        "the principal is too risky for this, or its risk is not known".to_owned()
    })
}

/// Why a principal is too risky for what tolerates at most `highest`; an unknown risk is too much.
pub(in crate::control) fn too_risky(
    state: &State,
    rules: &Rules,
    principal: &SpiffeId,
    highest: Option<Risk>,
) -> Option<String> {
    let highest = highest?;
    match rules.directory.profile(principal, state.attributes(principal)).attributes.risk {
        None => Some(format!("the risk of `{principal}` is not known")),
        Some(risk) if risk > highest => Some(format!("the risk of `{principal}` is {}", risk.as_str())),
        Some(_) => None,
    }
}

/// Whether somebody proved themselves as the policies demand (RFC 9470). A user whom the configuration links to no person proves
/// nothing, however strongly they authenticated.
pub(super) fn step_up(
    whom: &'static str,
    needed: &StepUp,
    user: Option<&User>,
    now: Time,
) -> Result<(), Refusal> {
    let fits = |user: &User| {
        let strong = needed.acr.is_empty() || user.acr.as_ref().is_some_and(|acr| needed.acr.contains(acr));
        let methods = needed.amr.iter().all(|method| user.amr.contains(method));
        let fresh = needed.max_age.is_none_or(|age| {
            user.auth_time.is_some_and(|at| at <= now && now.since(at) <= Duration::from_secs(age))
        });
        user.person.is_some() && strong && methods && fresh
    };
    match user {
        Some(user) if fits(user) => Ok(()),
        Some(_) | None => refuse(AccessRefusal::StepUp { whom, needed: needed.clone() }),
    }
}

/// Why a request that was made before these terms does not meet them: whoever asked did not prove themselves as is demanded now.
pub(super) fn unproved(terms: &Terms, request: &AccessRequest) -> Option<String> {
    let needed = terms.requester_step_up.as_ref()?;
    let proved = step_up("the requester", needed, request.authenticated.as_ref(), request.requested_at);
    proved.is_err().then(|| "the requester did not authenticate as it is demanded now".to_owned())
}

/// A token must name the human whose certificate it comes with; a workload's certificate is nobody's.
pub(super) fn check_person(rules: &Rules, id: &SpiffeId, user: Option<&User>) -> Result<(), Refusal> {
    let Some(user) = user else { return Ok(()) };
    match rules.directory.person(id) {
        Some(person) if user.person.as_ref() != Some(&person.name) => refuse(AccessRefusal::OtherPerson),
        Some(_) | None => Ok(()),
    }
}
