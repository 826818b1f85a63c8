//! What another policy set says about access that is there already: about each grant, from the facts of its own decision.
//!
//! A grant never changes (law 8), so it stays as it is or it ends: whatever the new set would not have allowed like this is no longer
//! allowed, and so is what cannot be worked out. The approvals that were given count, as far as whoever gave them may still approve.

use super::consider;
use super::progress::{progress, wanted};
use crate::control::policy::{History, PolicyAction, Question};
use crate::control::state::{LiveGrant, RequestRecord, Rules, State};
use crate::model::event::Actor;
use crate::model::{
    AccessRequest, AccessRequestId, Evaluation, Grant, GrantId, PolicyOutcome, RequestKind, Scope, SpiffeId,
    TaskId, Terms, Time, Ttl,
};
use std::sync::Arc;

/// A grant that the policies do not allow (any more).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disallowed {
    /// Which.
    pub grant: GrantId,
    /// The request behind it; none for an operator's direct grant.
    pub request: Option<AccessRequestId>,
    /// Why, with the set that says so.
    pub reason: String,
    /// What the set says.
    pub evaluation: Arc<Evaluation>,
}

/// An operator's direct grant, as policies are asked about it.
#[derive(Debug, Clone, Copy)]
pub(in crate::control) struct Direct<'a> {
    pub(in crate::control) operator: &'a SpiffeId,
    pub(in crate::control) principal: &'a SpiffeId,
    pub(in crate::control) task: &'a TaskId,
    pub(in crate::control) scope: &'a Scope,
    pub(in crate::control) ttl: Ttl,
    pub(in crate::control) not_before: Option<Time>,
    pub(in crate::control) reason: &'a str,
    pub(in crate::control) at: Time,
}

/// Whether the policies forbid an operator's direct grant, and why (law 10).
pub(in crate::control) fn forbidden(state: &State, rules: &Rules, direct: Direct<'_>) -> Option<String> {
    // Where nobody wrote policies, bulk calls cost nothing for them.
    if rules.policies.is_builtin() {
        return None;
    }
    denial(&evaluate(state, rules, direct))
}

fn evaluate(state: &State, rules: &Rules, direct: Direct<'_>) -> Evaluation {
    let Direct { operator, principal, task, scope, ttl, not_before, reason, at } = direct;
    let request = AccessRequest {
        id: AccessRequestId::from_bits(0),
        requester: operator.clone(),
        principal: principal.clone(),
        task: task.clone(),
        scope: scope.clone(),
        role: None,
        ttl,
        not_before,
        reason: reason.to_owned(),
        ticket: None,
        ticket_open: None,
        on_behalf_of: None,
        authenticated: None,
        emergency: false,
        plan: None,
        envelope: None,
        task_deadline: None,
        task_idle_timeout: None,
        kind: RequestKind::Access,
        source: None,
        requested_at: at,
        expires_at: at,
    };
    rules.policies.evaluate(&Question {
        action: PolicyAction::Grant,
        request: &request,
        requester: &rules.directory.profile(operator, state.attributes(operator)),
        principal: &rules.directory.profile(principal, state.attributes(principal)),
        services: rules.directory.services(),
        history: &History::default(),
        now: at,
    })
}

/// Why the policies of `rules` do not allow a live grant; none if they do. `facts` are those of the last evaluation of its request,
/// as far as they can be read.
#[must_use]
pub fn recheck(
    state: &State,
    rules: &Rules,
    live: &LiveGrant,
    facts: Option<&serde_json::Value>,
) -> Option<Disallowed> {
    let grant = &*live.grant;
    let request = grant.lineage.as_ref().and_then(|lineage| lineage.request);
    let (evaluation, why) = match request {
        None => {
            let evaluation = direct(state, rules, live);
            let why = denial(&evaluation);
            (evaluation, why)
        }
        Some(id) => match (state.request(id), facts) {
            (Some(record), Some(facts)) => {
                let evaluation = rules.policies.replay(facts);
                let why = match &evaluation.outcome {
                    PolicyOutcome::Denied { .. } => denial(&evaluation),
                    PolicyOutcome::Permitted(terms) => {
                        unmet(state, rules, (record, terms)).or_else(|| wider(live, terms))
                    }
                };
                (evaluation, why)
            }
            (None, _) | (_, None) => {
                let evaluation = unknown(rules);
                let why = denial(&evaluation);
                (evaluation, why)
            }
        },
    };
    let why = why?;
    let set: String = rules.policies.hash().chars().take(19).collect();
    let by = match evaluation.determining.is_empty() {
        true => String::new(),
        false => format!(" ({})", evaluation.determining.join(", ")),
    };
    let reason: String =
        format!("no longer allowed by the policies {set}{by}: {why}").chars().take(1_000).collect();
    Some(Disallowed { grant: grant.id, request, reason, evaluation: Arc::new(evaluation) })
}

/// The facts of a direct grant are what the log has of it, and what is known about everybody now.
fn direct(state: &State, rules: &Rules, live: &LiveGrant) -> Evaluation {
    let grant = &live.grant;
    let (Actor::Identity(operator), Ok(ttl)) =
        (&live.issue.by, Ttl::new(grant.expires_at.since(grant.not_before)))
    else {
        return unknown(rules);
    };
    let direct = Direct {
        operator,
        principal: &grant.principal,
        task: &grant.task,
        scope: &grant.scope,
        ttl,
        not_before: Some(grant.not_before),
        reason: &live.issue.reason,
        at: live.issue.at,
    };
    evaluate(state, rules, direct)
}

fn unknown(rules: &Rules) -> Evaluation {
    let because = vec!["the facts of its decision cannot be read".to_owned()];
    Evaluation {
        policy: rules.policies.hash().to_owned(),
        facts: serde_json::json!({}),
        determining: Vec::new(),
        outcome: PolicyOutcome::Denied { because },
    }
}

fn denial(evaluation: &Evaluation) -> Option<String> {
    match &evaluation.outcome {
        PolicyOutcome::Denied { because } if because.is_empty() => Some("denied by policy".to_owned()),
        PolicyOutcome::Denied { because } => Some(because.join("; ")),
        PolicyOutcome::Permitted(_) => None,
    }
}

/// What people would have to do that they did not do.
fn unmet(state: &State, rules: &Rules, (record, terms): (&RequestRecord, &Terms)) -> Option<String> {
    let request = &record.request;
    if let Some(why) = consider::unproved(terms, request) {
        return Some(why);
    }
    // An approval by somebody who did not prove themselves as it is demanded now does not count.
    let mut approvals = record.approvals.clone();
    if let Some(needed) = &terms.approver_step_up {
        approvals.retain(|approval| {
            consider::step_up("the approver", needed, approval.authenticated.as_ref(), approval.at).is_ok()
        });
    }
    let progress = progress(state, rules, (request, terms), &approvals);
    progress.open().map(|(_, stage)| format!("it needs the approval of {}", wanted(stage)))
}

/// What the grant permits beyond the terms.
fn wider(live: &LiveGrant, terms: &Terms) -> Option<String> {
    let grant: &Grant = &live.grant;
    let more =
        |what: &str, most: String| Some(format!("its {what} is more than the {most} that are allowed now"));
    if let Some(max) = terms.max_ttl
        && grant.expires_at.since(grant.not_before) > max.get()
    {
        return more("time", max.to_string());
    }
    if let Some(max) = terms.max_total
        && grant.expires_at.since(live.since) > max.get()
    {
        return more("time with extensions", max.to_string());
    }
    if let Some(max) = terms.idle_timeout
        && grant.limits.idle_timeout.is_none_or(|own| own > max)
    {
        return more("time without use", max.to_string());
    }
    if let Some(max) = terms.max_uses
        && grant.limits.max_uses.is_none_or(|own| own > max)
    {
        return more("number of uses", max.to_string());
    }
    for (what, allowed, own) in [
        ("arguments of a call", terms.argument_bytes, grant.limits.argument_bytes),
        ("answer to a call", terms.response_bytes, grant.limits.response_bytes),
    ] {
        if let Some(max) = allowed
            && own.is_none_or(|own| own > max)
        {
            return Some(format!("the {what} may have more than the {max} bytes that are allowed now"));
        }
    }
    if let Some(max) = terms.max_risk
        && grant.conditions.max_risk().is_none_or(|own| own > max)
    {
        return Some(format!("it tolerates more than the risk {} that is allowed now", max.as_str()));
    }
    if terms.pin_source && grant.conditions.source_networks().is_none() {
        return Some("it is not bound to the address that it was asked from".to_owned());
    }
    (grant.recording < terms.recording)
        .then(|| format!("it is recorded less than it is demanded now ({})", terms.recording.as_str()))
}
