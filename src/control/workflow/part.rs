//! Going on from a grant: more time for it, or a part of it for another principal. Each is a request with a decision of its own.

use crate::control::state::decide::{Context, Draft, check_reason};
use crate::control::state::{LiveGrant, Outcome, Refusal, State};
use crate::control::workflow::command::{NewDelegation, NewExtension};
use crate::control::workflow::issue::request_of;
use crate::control::workflow::refusal::AccessRefusal;
use crate::control::workflow::request::{check_services, check_ticket, check_ttl, same};
use crate::control::workflow::{caller, consider, controls, refuse};
use crate::model::grant::Lineage;
use crate::model::{AccessRequest, AccessRequestId, Grant, GrantId, RequestKind, SpiffeId, Ttl};
use std::time::Duration;

/// More time: by the principal of the grant or whoever asked for it.
pub(super) fn extend(
    draft: &mut Draft<'_>,
    new: &NewExtension,
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    let requester = caller(draft)?.clone();
    let live = own(draft, new.grant, &requester)?;
    check_reason(&new.reason)?;
    check_ticket(new.ticket.as_deref())?;
    check_ttl(new.ttl, context.rules)?;
    check_services(&live.grant.scope, context.rules)?;
    let kind = RequestKind::Extension { of: new.grant };
    if let Some(pending) = draft.state.pending_of(&requester).find(|record| record.request.kind == kind) {
        return Ok(Outcome::Request { id: pending.request.id, existing: true });
    }
    controls::number(draft.state, &requester, context)?;
    let request = AccessRequest {
        ttl: new.ttl,
        reason: new.reason.clone(),
        ticket: new.ticket.clone(),
        ticket_open: new.ticket_open,
        authenticated: new.authenticated.clone(),
        source: new.source,
        kind,
        ..blank(draft, live, &requester, context)
    };
    controls::cooldown(draft.state, &request, context)?;
    consider::consider(draft, request, context)
}

/// A part for another: by the principal of the grant.
pub(super) fn delegate(
    draft: &mut Draft<'_>,
    new: &NewDelegation,
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    let requester = caller(draft)?.clone();
    let live = own(draft, new.grant, &requester)?;
    check_reason(&new.reason)?;
    let of = &live.grant;
    if of.principal != requester {
        return Err(Refusal::NotFound { what: "grant" });
    }
    if !of.covers(context.now) {
        return refuse(AccessRefusal::NotLive);
    }
    if same(context.rules, &requester, &new.principal) {
        return refuse(AccessRefusal::Oneself);
    }
    check_services(&new.scope, context.rules)?;
    if !of.scope.contains(&new.scope) {
        return refuse(AccessRefusal::NotNarrower);
    }
    if !of.limits.may_be_handed_on() {
        return refuse(AccessRefusal::Limited);
    }
    approver_does_not_benefit(draft, live, &new.principal, context)?;
    // In whole milliseconds, rounded up: the window of what is handed on ends with that of the grant anyway.
    let left = of.expires_at.since(context.now).saturating_add(Duration::from_micros(999));
    let left = Ttl::new(left).map_err(|_| Refusal::from(AccessRefusal::NotLive))?;
    let ttl = new.ttl.map_or(left, |ttl| if ttl.get() < left.get() { ttl } else { left });
    controls::number(draft.state, &requester, context)?;
    let request = AccessRequest {
        principal: new.principal.clone(),
        scope: new.scope.clone(),
        ttl,
        reason: new.reason.clone(),
        source: new.source,
        kind: RequestKind::Delegation { of: new.grant },
        ..blank(draft, live, &requester, context)
    };
    if let Some(existing) = controls::live_duplicate(draft.state, &request, context.now) {
        return controls::satisfied(draft, request, existing);
    }
    controls::cooldown(draft.state, &request, context)?;
    consider::consider(draft, request, context)
}

/// Whether somebody may go on from a grant: its principal, or whoever asked for it. To others it does not exist (law 11).
pub(in crate::control) fn is_own(state: &State, grant: &Grant, who: &SpiffeId) -> bool {
    let request = request_of(grant).and_then(|id| state.request(id));
    grant.principal == *who || request.is_some_and(|record| record.request.requester == *who)
}

/// The live grant, if it is the caller's or the caller asked for it.
fn own<'a>(draft: &Draft<'a>, id: GrantId, who: &SpiffeId) -> Result<&'a LiveGrant, Refusal> {
    let live = draft.state.live_grant(id).filter(|live| is_own(draft.state, &live.grant, who));
    let Some(live) = live else { return Err(Refusal::NotFound { what: "grant" }) };
    match draft.now < live.grant.expires_at {
        true => Ok(live),
        false => refuse(AccessRefusal::NotLive),
    }
}

const FORGOTTEN: AccessRefusal = AccessRefusal::Invalid(
    "who approved what this grant comes from is no longer known: ask for access of its own",
);

/// Whoever approved a grant, or what it comes from, gets no part of it.
fn approver_does_not_benefit(
    draft: &Draft<'_>,
    live: &LiveGrant,
    delegate: &SpiffeId,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    let mut next = Some(live.grant.id);
    let mut looks = 64_usize;
    while let Some(id) = next {
        // Who approved what is forgotten is not known.
        let Some(found) = draft.state.find(id) else { return refuse(FORGOTTEN) };
        let lineage = found.grant().lineage.as_ref();
        let request = lineage.and_then(|lineage| lineage.request);
        let record = request.and_then(|id| draft.state.request(id));
        if request.is_some() && record.is_none() {
            return refuse(FORGOTTEN);
        }
        // Whoever approved a plan approved each step of it.
        let plan = record.and_then(|record| match record.request.kind {
            RequestKind::Step { of, .. } => draft.state.request(of),
            RequestKind::Access | RequestKind::Extension { .. } | RequestKind::Delegation { .. } => None,
        });
        let records = record.into_iter().chain(plan);
        let approvers = records.flat_map(|record| record.approvals.iter().map(|approval| &approval.by));
        let issuer = match &found.issue().by {
            crate::model::event::Actor::Identity(id) => Some(id),
            crate::model::event::Actor::System => None,
        };
        if approvers.chain(issuer).any(|by| same(context.rules, by, delegate)) {
            return refuse(AccessRefusal::ApproverBenefits { principal: delegate.clone() });
        }
        looks = looks.saturating_sub(1);
        if looks == 0 {
            return refuse(AccessRefusal::TooDeep { max: Lineage::MAX_WITHIN });
        }
        next = lineage.and_then(|lineage| lineage.extends.or(lineage.parent));
    }
    Ok(())
}

/// A request for what a grant is for.
fn blank(
    draft: &Draft<'_>,
    live: &LiveGrant,
    requester: &SpiffeId,
    context: &mut Context<'_>,
) -> AccessRequest {
    let of = &live.grant;
    let origin = request_of(of).and_then(|id| draft.state.request(id)).map(|record| &record.request);
    AccessRequest {
        id: AccessRequestId::from_parts(context.now.as_millis(), (context.random)()),
        requester: requester.clone(),
        principal: of.principal.clone(),
        task: of.task.clone(),
        scope: of.scope.clone(),
        role: None,
        ttl: Ttl::EIGHT_HOURS,
        not_before: None,
        reason: String::new(),
        ticket: None,
        ticket_open: None,
        on_behalf_of: origin.and_then(|request| request.on_behalf_of.clone()),
        authenticated: None,
        emergency: false,
        plan: None,
        envelope: None,
        task_deadline: None,
        task_idle_timeout: None,
        kind: RequestKind::Access,
        source: None,
        requested_at: context.now,
        expires_at: context.now.plus(context.rules.requests.pending_timeout),
    }
}
