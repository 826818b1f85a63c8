//! From a request that is decided to its grant: never more than was asked, approved and allowed, never longer, never twice.

use crate::control::state::decide::{Context, Draft};
use crate::control::state::{Approval, Purpose, Refusal};
use crate::control::workflow::consider::told_risk;
use crate::control::workflow::refusal::AccessRefusal;
use crate::control::workflow::{plan, refuse};
use crate::model::event::{Actor, EventBody};
use crate::model::grant::{Conditions, Limits, Lineage};
use crate::model::{
    AccessRequest, AccessRequestId, Entry, Grant, GrantId, RequestKind, ReviewId, Scope, Terms, Time, Ttl,
    User,
};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

/// What a grant rests on.
#[derive(Clone, Copy)]
pub(super) struct Grounds<'a> {
    pub(super) request: &'a AccessRequest,
    pub(super) terms: &'a Terms,
    pub(super) approvals: &'a [Approval],
}

/// What of the request a grant is for.
#[derive(Clone, Copy)]
struct Part<'a> {
    scope: &'a Scope,
    limits: Limits,
    window: (Time, Time),
}

/// Issues the grant of a request, of the first step of its plan, or of each entry of its envelope; an emergency or an exception opens
/// a review.
pub(super) fn issue<'a>(
    draft: &mut Draft<'_>,
    grounds: &Grounds<'a>,
    by: Actor,
    context: &mut Context<'_>,
) -> Result<GrantId, Refusal> {
    let request = grounds.request;
    let window = window(draft, grounds, context)?;
    let mut parts: Vec<Part<'_>> = Vec::new();
    if let Some(step) = request.plan.as_ref().and_then(|plan| plan.steps.first()) {
        draft.push(EventBody::StepOpened { request: request.id, number: 0, asked: None });
        parts.push(Part { scope: &step.scope, limits: at_most(step.max_uses), window });
    } else if let Some(envelope) = &request.envelope {
        let part = |entry: &'a Entry| Part { scope: &entry.scope, limits: entry.limits, window };
        parts.extend(envelope.entries.iter().map(part));
    } else {
        let limits = at_most(plan::max_uses(draft.state, &request.kind));
        parts.push(Part { scope: &request.scope, limits, window });
    }
    let mut existing = None;
    if request.plan.is_none() {
        // What counts is what would be issued, which an approver may have narrowed to what is there already.
        let mut missing = Vec::with_capacity(parts.len());
        for part in parts {
            let (scope, _) = narrowed(draft, grounds, part.scope)?;
            match draft.state.same(Purpose::asked(request, &scope), window) {
                Some(grant) => existing = existing.or(Some(grant.id)),
                None => missing.push(part),
            }
        }
        parts = missing;
    }
    let (grant, is_new) = match (push(draft, grounds, &parts, by, context)?, existing) {
        (Some(grant), _) => (grant, true),
        (None, Some(grant)) => (grant, false),
        (None, None) => return refuse(AccessRefusal::NotLive),
    };
    if !is_new {
        draft.push_as(Actor::System, EventBody::AccessSatisfied { request: request.id, grant });
        return Ok(grant);
    }
    if grounds.terms.review {
        let review = ReviewId::from_parts(context.now.as_millis(), (context.random)());
        let due = context.now.plus(context.rules.requests.review_within);
        draft.push_as(Actor::System, EventBody::ReviewOpened { review, request: request.id, grant, due });
    }
    Ok(grant)
}

/// Issues the grant of a later step of a plan that was approved with the plan.
pub(super) fn issue_step(
    draft: &mut Draft<'_>,
    grounds: &Grounds<'_>,
    (scope, max_uses, end): (&Scope, Option<NonZeroU64>, Time),
    context: &mut Context<'_>,
) -> Result<GrantId, Refusal> {
    if end <= context.now {
        return refuse(AccessRefusal::NotLive);
    }
    let part = Part { scope, limits: at_most(max_uses), window: (context.now, end) };
    match push(draft, grounds, &[part], Actor::System, context)? {
        Some(grant) => Ok(grant),
        None => refuse(AccessRefusal::NotLive),
    }
}

fn at_most(max_uses: Option<NonZeroU64>) -> Limits {
    Limits { max_uses, ..Limits::default() }
}

/// One grant for each part, in one event: all or none. The id of the first; none if there is nothing to issue.
fn push(
    draft: &mut Draft<'_>,
    grounds: &Grounds<'_>,
    parts: &[Part<'_>],
    by: Actor,
    context: &mut Context<'_>,
) -> Result<Option<GrantId>, Refusal> {
    let request = grounds.request;
    if draft.state.live().len().saturating_add(parts.len()) > context.rules.max_grants {
        return Err(Refusal::Full { max: context.rules.max_grants });
    }
    let mut grants = Vec::with_capacity(parts.len());
    for part in parts {
        let (scope, lineage) = narrowed(draft, grounds, part.scope)?;
        grants.push(Arc::new(Grant {
            id: GrantId::from_parts(context.now.as_millis(), (context.random)()),
            principal: request.principal.clone(),
            task: request.task.clone(),
            scope,
            not_before: part.window.0,
            expires_at: part.window.1,
            conditions: conditions(draft, grounds, context)?,
            limits: limits(draft, grounds, part.limits),
            recording: recording(draft, grounds),
            lineage: Some(Arc::new(lineage)),
            revision: draft.next_revision(),
        }));
    }
    let Some(first) = grants.first().map(|grant| grant.id) else { return Ok(None) };
    draft.push_as(by, EventBody::GrantsIssued { grants, reason: request.reason.clone() });
    Ok(Some(first))
}

/// The grant that a request goes on from or is a part of, which must be live.
fn head<'a>(
    draft: &Draft<'a>,
    request: &AccessRequest,
) -> Result<Option<&'a crate::control::state::LiveGrant>, Refusal> {
    let of = match &request.kind {
        RequestKind::Access | RequestKind::Step { .. } => return Ok(None),
        RequestKind::Extension { of } | RequestKind::Delegation { of } => *of,
    };
    match draft.state.live_grant(of) {
        Some(live) if draft.now < live.grant.expires_at => Ok(Some(live)),
        Some(_) | None => refuse(AccessRefusal::NotLive),
    }
}

/// The half-open window: from approval (or the start that was asked for), as long as everybody allows.
fn window(draft: &Draft<'_>, grounds: &Grounds<'_>, context: &Context<'_>) -> Result<(Time, Time), Refusal> {
    let Grounds { request, terms, approvals } = grounds;
    let shortest = approvals
        .iter()
        .filter_map(|approval| approval.ttl)
        .chain(terms.max_ttl)
        .map(Ttl::get)
        .chain([request.ttl.get(), context.rules.max_ttl])
        .min()
        .unwrap_or(Duration::ZERO);
    let mut start = request.not_before.unwrap_or(draft.now).max(draft.now);
    let mut latest = Time::MAX;
    match (&request.kind, head(draft, request)?) {
        (RequestKind::Extension { .. }, Some(live)) => {
            start = live.grant.expires_at;
            let total = terms.max_total.map_or(context.rules.max_ttl, Ttl::get);
            latest = live.since.plus(total);
            if latest <= start {
                return refuse(AccessRefusal::Total { total });
            }
            let parent = live.grant.lineage.as_ref().and_then(|lineage| lineage.parent);
            if let Some(parent) = parent {
                latest =
                    latest.min(draft.state.live_grant(parent).map_or(start, |live| live.grant.expires_at));
            }
        }
        (RequestKind::Delegation { .. }, Some(live)) => latest = live.grant.expires_at,
        (RequestKind::Step { of, .. }, _) => {
            latest = plan::end(draft.state, *of).unwrap_or(start);
        }
        (RequestKind::Access | RequestKind::Extension { .. } | RequestKind::Delegation { .. }, _) => {}
    }
    // The task that this very request opens is not in the state yet.
    let of_task = draft.state.task(&request.task).filter(|task| task.ended.is_none());
    let deadline = of_task.and_then(|task| task.deadline).into_iter().chain(request.task_deadline).min();
    latest = deadline.map_or(latest, |deadline| latest.min(deadline));
    let end = start.plus(shortest).min(latest);
    match start < end {
        true => Ok((start, end)),
        false if deadline.is_some_and(|deadline| deadline <= start) => refuse(AccessRefusal::Deadline),
        false => refuse(AccessRefusal::NotLive),
    }
}

/// The scope that is matched, and every other that must permit as well (law 8): nothing rests on a comparison of scopes.
fn narrowed(draft: &Draft<'_>, grounds: &Grounds<'_>, asked: &Scope) -> Result<(Scope, Lineage), Refusal> {
    let request = grounds.request;
    let mut within: Vec<Scope> = Vec::new();
    let mut add = |scope: &Scope| {
        if !within.contains(scope) {
            within.push(scope.clone());
        }
    };
    let mut scope = asked.clone();
    for narrower in grounds.approvals.iter().filter_map(|approval| approval.scope.as_ref()) {
        add(&scope);
        scope = narrower.clone();
    }
    let mut lineage = Lineage {
        request: Some(request.id),
        on_behalf_of: request.on_behalf_of.as_ref().map(User::id),
        ..Lineage::default()
    };
    if let Some(live) = head(draft, request)? {
        let of = &live.grant;
        match &request.kind {
            RequestKind::Delegation { .. } => {
                lineage.parent = Some(of.id);
                add(&of.scope);
            }
            RequestKind::Extension { .. } => {
                lineage.extends = Some(of.id);
                lineage.parent = of.lineage.as_ref().and_then(|lineage| lineage.parent);
            }
            RequestKind::Access | RequestKind::Step { .. } => {}
        }
        of.within().iter().for_each(&mut add);
    }
    within.retain(|wide| *wide != scope);
    // A grant beyond what proxies take would permit nothing.
    if !Lineage::is_bounded(&within) {
        return refuse(AccessRefusal::TooDeep { max: Lineage::MAX_WITHIN });
    }
    lineage.within = within;
    Ok((scope, lineage))
}

/// What must hold at each request: all that the grant it comes from demands, and what the policies add.
fn conditions(
    draft: &Draft<'_>,
    grounds: &Grounds<'_>,
    context: &Context<'_>,
) -> Result<Conditions, Refusal> {
    let Grounds { request, terms, .. } = grounds;
    let mut conditions = head(draft, request)?.map(|live| live.grant.conditions.clone()).unwrap_or_default();
    if terms.pin_source && conditions.source_networks().is_none() {
        let Some(source) = request.source else { return refuse(UNPINNED) };
        let network = ipnet::IpNet::from(source.to_canonical());
        conditions = conditions.with_source(network).map_err(|_| Refusal::from(UNPINNED))?;
    }
    if let Some(risk) = conditions.max_risk().into_iter().chain(terms.max_risk).min() {
        if let Some(because) = told_risk(draft.state, context.rules, request, Some(risk)) {
            return refuse(AccessRefusal::Risk { because });
        }
        conditions = conditions.with_max_risk(risk);
    }
    Ok(conditions)
}

const UNPINNED: AccessRefusal = AccessRefusal::Invalid("the policies pin the source, which is not known");

fn limits(draft: &Draft<'_>, grounds: &Grounds<'_>, asked: Limits) -> Limits {
    let inherited = head(draft, grounds.request).ok().flatten().map(|live| live.grant.limits);
    let mut limits = inherited.unwrap_or_default();
    let least = |one: Option<NonZeroU64>, other: Option<NonZeroU64>| one.into_iter().chain(other).min();
    limits.max_uses = least(limits.max_uses, least(asked.max_uses, grounds.terms.max_uses));
    limits.bytes = least(limits.bytes, asked.bytes);
    let Terms { argument_bytes, response_bytes, .. } = grounds.terms;
    limits.argument_bytes = least(limits.argument_bytes, least(asked.argument_bytes, *argument_bytes));
    limits.response_bytes = least(limits.response_bytes, least(asked.response_bytes, *response_bytes));
    let concurrent = limits.concurrent_streams.into_iter().chain(asked.concurrent_streams);
    limits.concurrent_streams = concurrent.min();
    // Rates over different times are not compared: whoever hands something on with one keeps it.
    limits.rate = limits.rate.or(asked.rate);
    let idle = limits.idle_timeout.into_iter().chain(asked.idle_timeout).chain(grounds.terms.idle_timeout);
    limits.idle_timeout = idle.min();
    limits
}

fn recording(draft: &Draft<'_>, grounds: &Grounds<'_>) -> crate::model::Recording {
    let inherited = head(draft, grounds.request).ok().flatten().map(|live| live.grant.recording);
    inherited.map_or(grounds.terms.recording, |inherited| inherited.max(grounds.terms.recording))
}

/// The request behind a grant.
pub(super) fn request_of(grant: &Grant) -> Option<AccessRequestId> {
    grant.lineage.as_ref()?.request
}
