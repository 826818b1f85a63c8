//! The strictest combination of the terms of several permits: nobody gets around the terms of one by matching another as well.

use crate::model::{Stage, StepUp, Terms};
use std::collections::BTreeSet;

/// Terms that cannot hold together: two lists of authentication classes that have none in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conflict;

/// All of these at once. The order of stages follows the policy with the most, then the order given.
pub(super) fn strictest<'t>(terms: impl Iterator<Item = &'t Terms>) -> Result<Terms, Conflict> {
    let mut all: Vec<&Terms> = terms.collect();
    all.sort_by_key(|terms| std::cmp::Reverse(terms.stages.len()));
    all.into_iter().try_fold(Terms::default(), both)
}

fn both(a: Terms, b: &Terms) -> Result<Terms, Conflict> {
    Ok(Terms {
        stages: stages(a.stages, &b.stages),
        max_ttl: least(a.max_ttl, b.max_ttl),
        max_total: least(a.max_total, b.max_total),
        requester_step_up: step_up(a.requester_step_up, b.requester_step_up.as_ref())?,
        approver_step_up: step_up(a.approver_step_up, b.approver_step_up.as_ref())?,
        recording: a.recording.max(b.recording),
        idle_timeout: least(a.idle_timeout, b.idle_timeout),
        max_uses: least(a.max_uses, b.max_uses),
        argument_bytes: least(a.argument_bytes, b.argument_bytes),
        response_bytes: least(a.response_bytes, b.response_bytes),
        pin_source: a.pin_source || b.pin_source,
        review: a.review || b.review,
        max_risk: least(a.max_risk, b.max_risk),
    })
}

/// Every stage of both; of one that both have, with the most people.
fn stages(mut all: Vec<Stage>, more: &[Stage]) -> Vec<Stage> {
    for stage in more {
        match all.iter_mut().find(|known| known.from == stage.from) {
            Some(known) => known.approvals = known.approvals.max(stage.approvals),
            None => all.push(stage.clone()),
        }
    }
    all
}

fn step_up(a: Option<StepUp>, b: Option<&StepUp>) -> Result<Option<StepUp>, Conflict> {
    let (a, b) = match (a, b) {
        (a, None) => return Ok(a),
        (None, Some(b)) => return Ok(Some(b.clone())),
        (Some(a), Some(b)) => (a, b),
    };
    // One of these classes, and one of those: an empty list is any, so an empty intersection must not become one.
    let acr: BTreeSet<String> = match (a.acr.is_empty(), b.acr.is_empty()) {
        (true, _) => b.acr.clone(),
        (false, true) => a.acr,
        (false, false) => a.acr.intersection(&b.acr).cloned().collect(),
    };
    if acr.is_empty() && !b.acr.is_empty() {
        return Err(Conflict);
    }
    let amr = a.amr.union(&b.amr).cloned().collect();
    Ok(Some(StepUp { acr, amr, max_age: least(a.max_age, b.max_age) }))
}

/// The lower bound; absent is none.
fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
