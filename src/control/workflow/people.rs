//! What people and the control plane decide beside requests: facts about principals, cool-downs, reviews, policies.

use crate::control::authz::Need;
use crate::control::state::decide::{CHUNK, Context, Draft, check_reason, identity};
use crate::control::state::{Outcome, Refusal};
use crate::control::workflow::progress::{Involvement, involvement};
use crate::control::workflow::refusal::AccessRefusal;
use crate::control::workflow::request::same;
use crate::control::workflow::{Disallowed, refuse};
use crate::model::event::{Actor, EventBody, Selector};
use crate::model::{Attributes, EndCause, GrantId, ReviewId, RevocationId, SpiffeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const MAX_LABELS: usize = 64;
const MAX_LABEL_BYTES: usize = 256;
/// About so many principals something may be set at run time; the configuration has room for more.
const MAX_PRINCIPALS: usize = 100_000;

/// Replaces what is known about a principal; grants that tolerate less risk end.
pub(super) fn set_attributes(
    draft: &mut Draft<'_>,
    principal: &SpiffeId,
    attributes: &Attributes,
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let who = identity(draft.actor, Need::Secure, context.rules)?;
    if same(context.rules, who, principal) {
        return refuse(AccessRefusal::Oneself);
    }
    let long =
        |(name, value): (&String, &String)| name.len() > MAX_LABEL_BYTES || value.len() > MAX_LABEL_BYTES;
    if attributes.labels.len() > MAX_LABELS
        || attributes.groups.len() > MAX_LABELS
        || attributes.labels.iter().any(long)
    {
        return refuse(AccessRefusal::Invalid("at most 64 groups and 64 labels of 256 bytes each"));
    }
    let is_new = draft.state.attributes(principal).is_none() && *attributes != Attributes::default();
    if is_new && draft.state.attributes_set() >= MAX_PRINCIPALS {
        return refuse(AccessRefusal::Invalid(
            "something is set about 100000 principals already: take back (`{}`) what no longer counts",
        ));
    }
    draft.push(EventBody::AttributesSet {
        principal: principal.clone(),
        attributes: Arc::new(attributes.clone()),
    });
    let risk = context.rules.directory.profile(principal, Some(attributes)).attributes.risk;
    let too_risky =
        draft.state.of_principal(principal).filter(|live| match live.grant.conditions.max_risk() {
            // It was known when access was granted; what is no longer known is too much.
            Some(highest) => risk.is_none_or(|risk| risk > highest),
            None => false,
        });
    let ended: Vec<GrantId> = too_risky.map(|live| live.grant.id).collect();
    end(draft, ended);
    Ok(Outcome::Done)
}

fn end(draft: &mut Draft<'_>, grants: Vec<GrantId>) {
    let grants = draft.state.with_dependants(grants);
    for part in grants.chunks(CHUNK) {
        draft.push_as(
            Actor::System,
            EventBody::GrantsEnded { grants: part.to_vec(), cause: EndCause::Revoked },
        );
    }
}

/// Lifts the cool-downs of a principal in all identities of its person.
pub(super) fn lift_cooldowns(
    draft: &mut Draft<'_>,
    (principal, reason): (&SpiffeId, &str),
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let who = identity(draft.actor, Need::Approve, context.rules)?;
    check_reason(reason)?;
    if same(context.rules, who, principal) {
        return refuse(AccessRefusal::Oneself);
    }
    for principal in context.rules.directory.identities(principal) {
        draft.push(EventBody::CooldownLifted { principal, reason: reason.to_owned() });
    }
    Ok(Outcome::Done)
}

/// Closes a review: a second person, who had no part in it.
pub(super) fn close_review(
    draft: &mut Draft<'_>,
    id: ReviewId,
    (findings, justified): (&str, bool),
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let who = identity(draft.actor, Need::Approve, context.rules)?.clone();
    check_reason(findings)?;
    let Some(review) = draft.state.review(id) else { return Err(Refusal::NotFound { what: "review" }) };
    if review.closed.is_some() {
        return refuse(AccessRefusal::ReviewClosed);
    }
    let involved = match draft.state.request(review.request) {
        // A review must be closed some day, also when what its access went on from is forgotten.
        Some(record) => {
            involvement(draft.state, context.rules, &record.request, &who) == Involvement::Involved
        }
        None => same(context.rules, &who, &review.requester),
    };
    if involved {
        return refuse(AccessRefusal::Oneself);
    }
    draft.push(EventBody::ReviewClosed { review: id, findings: findings.to_owned(), justified });
    Ok(Outcome::Done)
}

/// Logs that another policy set decides, and revokes what it does not allow: one revocation for each reason.
pub(super) fn policies_loaded(
    draft: &mut Draft<'_>,
    (policy, policies): (&str, &[String]),
    disallowed: &[Disallowed],
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    match draft.actor {
        Actor::System => {}
        Actor::Identity(_) => {
            identity(draft.actor, Need::Load, context.rules)?;
        }
    }
    draft.push(EventBody::PoliciesLoaded { policy: policy.to_owned(), policies: policies.to_vec() });
    let now = draft.now;
    let mut by_reason: BTreeMap<&str, Vec<GrantId>> = BTreeMap::new();
    let (mut taken, mut told) = (BTreeSet::new(), BTreeSet::new());
    for no_longer in disallowed {
        if draft.state.live_grant(no_longer.grant).is_none_or(|live| live.grant.expires_at <= now) {
            continue;
        }
        if let Some(request) = no_longer.request.filter(|id| draft.state.request(*id).is_some())
            && told.insert(request)
        {
            let evaluation = Arc::clone(&no_longer.evaluation);
            draft.push_as(Actor::System, EventBody::AccessEvaluated { request, evaluation });
        }
        let all = draft.state.with_dependants(vec![no_longer.grant]);
        let fresh = all.into_iter().filter(|grant| taken.insert(*grant));
        by_reason.entry(&no_longer.reason).or_default().extend(fresh);
    }
    for (reason, grants) in by_reason.into_iter().filter(|(_, grants)| !grants.is_empty()) {
        let revocation = RevocationId::from_parts(now.as_millis(), (context.random)());
        for part in grants.chunks(CHUNK) {
            let (selector, reason) = (Selector::Policies(policy.to_owned()), reason.to_owned());
            let revoked = EventBody::GrantsRevoked { revocation, selector, grants: part.to_vec(), reason };
            draft.push_as(Actor::System, revoked);
        }
    }
    Ok(Outcome::Done)
}
