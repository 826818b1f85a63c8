//! How far the approval of a request is: computed anew from the approvals and from who may approve now, so that an approval of
//! somebody who lost the right no longer counts.

use crate::config::Role;
use crate::control::authz::Need;
use crate::control::state::look::services_of;
use crate::control::state::{Approval, RequestRecord, RequestState, Rules, State};
use crate::control::workflow::request::same;
use crate::model::{AccessRequest, ApproverRule, RequestKind, ServiceName, SpiffeId, Stage, Terms};
use std::collections::BTreeSet;

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageProgress {
    /// What it needs.
    pub stage: Stage,
    /// Whose approvals count for it.
    pub approved: Vec<SpiffeId>,
    /// Where owners alone count: the services of whose owners nobody has approved.
    pub unowned: Vec<ServiceName>,
    /// Whether it is complete.
    pub complete: bool,
}

/// All stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// In order.
    pub stages: Vec<StageProgress>,
}

impl Progress {
    /// The stage that is open; `None` when all are complete.
    #[must_use]
    pub fn open(&self) -> Option<(usize, &StageProgress)> {
        self.stages.iter().enumerate().find(|(_, stage)| !stage.complete)
    }
}

/// How far a request with these approvals is. Each person counts once, in the order of approval.
#[must_use]
pub fn progress(
    state: &State,
    rules: &Rules,
    (request, terms): (&AccessRequest, &Terms),
    approvals: &[Approval],
) -> Progress {
    let mut left = approvals.iter().peekable();
    let mut counted: Vec<SpiffeId> = Vec::new();
    let stages = terms.stages.iter().map(|stage| {
        let mut approved: Vec<SpiffeId> = Vec::new();
        while !is_complete(state, rules, (request, stage), &approved)
            && let Some(approval) = left.next()
        {
            let again = counted.iter().any(|other| same(rules, other, &approval.by));
            if !again && is_eligible(state, rules, (request, stage), &approval.by) {
                counted.push(approval.by.clone());
                approved.push(approval.by.clone());
            }
        }
        let complete = is_complete(state, rules, (request, stage), &approved);
        let unowned = unowned(state, rules, (request, stage), &approved);
        StageProgress { stage: stage.clone(), approved, unowned, complete }
    });
    Progress { stages: stages.collect() }
}

fn is_complete(
    state: &State,
    rules: &Rules,
    (request, stage): (&AccessRequest, &Stage),
    approved: &[SpiffeId],
) -> bool {
    approved.len() >= usize::from(stage.approvals.get())
        && unowned(state, rules, (request, stage), approved).is_empty()
}

/// Where owners alone count, each service needs one of its own: those that lack one.
fn unowned(
    state: &State,
    rules: &Rules,
    (request, stage): (&AccessRequest, &Stage),
    approved: &[SpiffeId],
) -> Vec<ServiceName> {
    if !stage.from.iter().all(|rule| *rule == ApproverRule::Owner) {
        return Vec::new();
    }
    let lacks = |service: &ServiceName| !approved.iter().any(|id| owns(state, rules, id, service));
    services_of(&request.scope).into_iter().filter(lacks).collect()
}

/// Whether somebody may approve in a stage, whatever has been approved. Never who benefits, in any of their identities. What is
/// forgotten bars nobody here: an approval that was given while all was known still counts, and no new one is taken.
pub(super) fn is_eligible(
    state: &State,
    rules: &Rules,
    (request, stage): (&AccessRequest, &Stage),
    id: &SpiffeId,
) -> bool {
    stage.from.iter().any(|rule| fits(state, rules, (request, rule), id))
        && involvement(state, rules, request, id) != Involvement::Involved
}

/// What somebody has to do with a request, or with what it goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Involvement {
    /// They asked, benefit, or are the same person as one of these.
    Involved,
    /// Nothing.
    Apart,
    /// Nothing that is known, and not all of what it goes on from is known any more.
    Forgotten,
}

/// The most grants that are looked at, one behind the other.
const MAX_BEHIND: u32 = 1_024;

/// What somebody has to do with a request and, for more time or a part for another, with every request behind the grant that it
/// goes on from: whoever asks for more need not be whoever asked first.
pub(super) fn involvement(
    state: &State,
    rules: &Rules,
    request: &AccessRequest,
    id: &SpiffeId,
) -> Involvement {
    if is_named(rules, request, id) {
        return Involvement::Involved;
    }
    let mut next = match &request.kind {
        RequestKind::Extension { of } | RequestKind::Delegation { of } => Some(*of),
        // A step names everybody whom its plan names.
        RequestKind::Access | RequestKind::Step { .. } => None,
    };
    let mut looks = MAX_BEHIND;
    while let Some(grant) = next {
        let Some(found) = state.find(grant) else { return Involvement::Forgotten };
        let lineage = found.grant().lineage.as_ref();
        if let Some(behind) = lineage.and_then(|lineage| lineage.request) {
            let Some(record) = state.request(behind) else { return Involvement::Forgotten };
            if is_named(rules, &record.request, id) {
                return Involvement::Involved;
            }
        }
        looks = looks.saturating_sub(1);
        if looks == 0 {
            return Involvement::Forgotten;
        }
        next = lineage.and_then(|lineage| lineage.extends.or(lineage.parent));
    }
    Involvement::Apart
}

/// Requester, principal, beneficiary, whoever asked with their token, and all identities of the same person.
fn is_named(rules: &Rules, request: &AccessRequest, id: &SpiffeId) -> bool {
    let person = rules.directory.person(id).map(|person| &person.name);
    let mut users = request.on_behalf_of.iter().chain(&request.authenticated);
    same(rules, id, &request.requester)
        || same(rules, id, &request.principal)
        || users.any(|user| user.person.is_some() && user.person.as_ref() == person)
}

fn groups(state: &State, rules: &Rules, id: &SpiffeId) -> BTreeSet<crate::model::GroupName> {
    rules.directory.profile(id, state.attributes(id)).attributes.groups
}

fn owns(state: &State, rules: &Rules, id: &SpiffeId, service: &ServiceName) -> bool {
    rules
        .directory
        .services()
        .get(service)
        .is_some_and(|profile| rules.directory.owns(id, &groups(state, rules, id), &profile.owner))
}

fn fits(
    state: &State,
    rules: &Rules,
    (request, rule): (&AccessRequest, &ApproverRule),
    id: &SpiffeId,
) -> bool {
    // A workload decides over nobody's access, whatever group it is in and whoever it works for.
    if rules.directory.is_workload(id) {
        return false;
    }
    // A group alone makes nobody an approver: agents are in groups as well.
    match rule {
        ApproverRule::Approvers => rules.roles.of(id).any(|role| role == Role::Approver),
        ApproverRule::Owner => {
            rules.directory.is_human(id)
                && services_of(&request.scope).iter().any(|service| owns(state, rules, id, service))
        }
        ApproverRule::Group(group) => {
            rules.directory.is_human(id) && groups(state, rules, id).contains(group)
        }
        ApproverRule::Peers => {
            let own = groups(state, rules, id);
            rules.directory.is_human(id)
                && [&request.requester, &request.principal]
                    .into_iter()
                    .any(|other| !own.is_disjoint(&groups(state, rules, other)))
        }
        ApproverRule::Identity(named) => named == id,
    }
}

/// Whether somebody could have a say in a request: then they may see it.
#[must_use]
pub fn may_decide(
    state: &State,
    rules: &Rules,
    (request, terms): (&AccessRequest, Option<&Terms>),
    id: &SpiffeId,
) -> bool {
    terms
        .is_some_and(|terms| terms.stages.iter().any(|stage| is_eligible(state, rules, (request, stage), id)))
}

/// Whether a caller may know of a request: it names the caller, the caller reads everything, has approved it, or could have a
/// say in it now (law 11).
#[must_use]
pub fn may_see(state: &State, rules: &Rules, record: &RequestRecord, caller: &SpiffeId) -> bool {
    let request = &record.request;
    request.requester == *caller
        || request.principal == *caller
        || rules.roles.may(caller, Need::Read)
        || record.approvals.iter().any(|approval| approval.by == *caller)
        // Who could have decided is not worked out for what is settled: there may be very many of these.
        || (record.state == RequestState::Pending && may_decide(state, rules, (request, record.terms()), caller))
}

/// A stage in words: whom it needs.
#[must_use]
pub(super) fn wanted(stage: &StageProgress) -> String {
    let from: Vec<String> = stage.stage.from.iter().map(ToString::to_string).collect();
    let unowned: Vec<String> = stage.unowned.iter().map(|service| format!("`{service}`")).collect();
    let of = if unowned.is_empty() { String::new() } else { format!(" of {}", unowned.join(", ")) };
    format!("{} of {}{of} ({} so far)", stage.stage.approvals, from.join(", "), stage.approved.len())
}
