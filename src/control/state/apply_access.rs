//! [`State::apply`] for the events of access requests, tasks and reviews.

use crate::control::state::cooldowns::{Cooldown, CooldownCause};
use crate::control::state::uses::LoggedUse;
use crate::control::state::{
    Approval, Evaluated, OpenedStep, RequestRecord, RequestState, Review, ReviewResult, Settled, State,
};
use crate::model::event::{Actor, Event, EventBody};
use crate::model::{
    AccessRequest, AccessRequestId, Attributes, EndCause, Grant, GrantId, RequestKind, ReviewId, Revision,
    SpiffeId, Time,
};
use std::sync::Arc;

impl State {
    /// What an event about requests, tasks, reviews or people means. False: the log contradicts itself, and nothing was changed.
    pub(super) fn apply_access(&mut self, revision: Revision, event: &Event) -> bool {
        match &event.body {
            EventBody::AccessRequested { request } => self.requested(request, revision),
            EventBody::AccessEvaluated { request, evaluation } => self.on(*request, revision, |record| {
                let (policy, outcome) = (evaluation.policy.clone(), evaluation.outcome.clone());
                record.evaluated = Some(Evaluated { revision, policy, outcome });
            }),
            EventBody::AccessApproved { request, scope, ttl, reason, authenticated, .. } => {
                let Actor::Identity(by) = &event.actor else { return false };
                self.on(*request, revision, |record| {
                    record.approvals.push(Approval {
                        by: by.clone(),
                        at: event.time,
                        scope: scope.clone(),
                        ttl: *ttl,
                        reason: reason.clone(),
                        authenticated: authenticated.clone(),
                    });
                })
            }
            EventBody::StepOpened { request, number, asked } => self.on(*request, revision, |record| {
                record.steps.retain(|step| step.number != *number);
                record.steps.push(OpenedStep { number: *number, asked: *asked, grant: None });
            }),
            EventBody::RequestKeyed { request, key } => match &event.actor {
                Actor::Identity(who) => self.requests.get(*request).is_some_and(|record| {
                    self.keys.note(who, key, *request, event.time);
                    // One that was there already was not counted with this call.
                    if record.request.requested_at < event.time {
                        self.histories.counted(who, event.time, 0);
                    }
                    true
                }),
                Actor::System => false,
            },
            EventBody::AccessDenied { request, reason } => {
                self.denied(*request, event);
                self.settle(*request, (RequestState::Denied, Some(reason)), event, revision)
            }
            EventBody::AccessCancelled { request, reason } => {
                self.settle(*request, (RequestState::Cancelled, Some(reason)), event, revision)
            }
            EventBody::AccessLapsed { request } => {
                self.settle(*request, (RequestState::Expired, None), event, revision)
            }
            EventBody::AccessSatisfied { request, grant } => {
                self.on(*request, revision, |record| record.grants.push(*grant))
                    && self.settle(*request, (RequestState::Approved, None), event, revision)
            }
            EventBody::TaskJoined { task, principal, .. } => {
                self.tasks.join(task, principal, event.time);
                true
            }
            EventBody::TaskEnded { task, outcome, .. } => {
                self.tasks.end(task, *outcome, event.time);
                true
            }
            EventBody::AttributesSet { principal, attributes } => {
                // To say nothing about somebody is the same as having said nothing.
                if **attributes == Attributes::default() {
                    self.attributes.remove(principal);
                } else {
                    self.attributes.insert(principal.clone(), Arc::clone(attributes));
                }
                true
            }
            EventBody::CooldownLifted { principal, .. } => {
                self.cooldowns.lift(principal);
                true
            }
            EventBody::ReviewOpened { review, request, grant, due } => {
                self.review_opened(*review, (*request, *grant), *due, (event.time, revision))
            }
            EventBody::ReviewClosed { review, findings, justified } => {
                let (by, findings) = (event.actor.clone(), findings.clone());
                let result = ReviewResult { by, at: event.time, findings, justified: *justified };
                self.review_closed(*review, result, revision);
                true
            }
            EventBody::PoliciesLoaded { policy, .. } => {
                self.policy = Some(policy.clone());
                true
            }
            EventBody::GrantUsed { grant, proxy, instance, requests, bytes } => {
                if self.find(*grant).is_some() {
                    let noted = LoggedUse { requests: *requests, bytes: *bytes, at: event.time };
                    self.uses.note(*grant, (proxy.clone(), *instance), noted);
                }
                let lineage = self.find(*grant).and_then(|found| found.grant().lineage.clone());
                let request = lineage.and_then(|lineage| lineage.request);
                if let Some(request) = request {
                    // The request may be forgotten by now.
                    let _is_kept = self.on(request, revision, |_| {});
                }
                true
            }
            EventBody::GrantsIssued { .. }
            | EventBody::GrantsRevoked { .. }
            | EventBody::GrantsEnded { .. }
            | EventBody::UsesReserved { .. }
            | EventBody::ProxyJoined { .. }
            | EventBody::Acknowledged { .. }
            | EventBody::AuditReported { .. }
            | EventBody::TrailRecorded { .. }
            | EventBody::TrailDisputed { .. }
            | EventBody::WitnessDisputed { .. }
            | EventBody::LeaseRaised { .. } => true,
        }
    }

    /// Changes a request and notes the event in its story; false if it is not there.
    fn on(
        &mut self,
        request: AccessRequestId,
        revision: Revision,
        change: impl FnOnce(&mut RequestRecord),
    ) -> bool {
        let record = self.requests.get_mut(request);
        record.is_some_and(|record| {
            change(record);
            record.note(revision);
            true
        })
    }

    fn settle(
        &mut self,
        id: AccessRequestId,
        (state, reason): (RequestState, Option<&String>),
        event: &Event,
        revision: Revision,
    ) -> bool {
        let known = self.on(id, revision, |_| {});
        let settled = Settled { at: event.time, by: event.actor.clone(), reason: reason.cloned() };
        self.requests.settle(id, state, settled);
        known
    }

    fn review_opened(
        &mut self,
        id: ReviewId,
        (request, grant): (AccessRequestId, GrantId),
        due: Time,
        (now, revision): (Time, Revision),
    ) -> bool {
        let Some(record) = self.requests.get_mut(request) else { return false };
        record.note(revision);
        self.reviews.open(Review {
            id,
            request,
            grant,
            requester: record.request.requester.clone(),
            emergency: record.request.emergency,
            opened_at: now,
            due,
            closed: None,
        });
        true
    }

    fn review_closed(&mut self, id: ReviewId, result: ReviewResult, revision: Revision) {
        if let Some(review) = self.reviews.get(id) {
            let request = review.request;
            // The request may be forgotten by now; the review is not.
            let _is_kept = self.on(request, revision, |_| {});
        }
        self.reviews.close(id, result);
    }

    fn requested(&mut self, request: &Arc<AccessRequest>, revision: Revision) -> bool {
        let Some(bytes) = self.requests.insert(request, revision) else { return false };
        let now = request.requested_at;
        self.histories.asked(&request.requester, now, bytes);
        let terms = (request.task_deadline, request.task_idle_timeout);
        self.tasks.enter(&request.task, &request.requester, now, terms);
        if let RequestKind::Step { of, number } = request.kind
            && let Some(plan) = self.requests.get_mut(of)
        {
            plan.note(revision);
            if let Some(step) = plan.steps.iter_mut().find(|step| step.number == number) {
                step.asked = Some(request.id);
            }
        }
        true
    }

    /// A refusal counts in the history; one by people also holds off asking again.
    fn denied(&mut self, id: AccessRequestId, event: &Event) {
        let Some(record) = self.requests.get(id) else { return };
        let request = Arc::clone(&record.request);
        self.histories.refused(&request.requester, event.time);
        if matches!(event.actor, Actor::Identity(_)) {
            let cooldown =
                Cooldown { scope: request.scope.clone(), at: event.time, cause: CooldownCause::Denial };
            self.cool_down((&request.requester, &request.principal), &cooldown);
        }
    }

    fn cool_down(&mut self, (requester, principal): (&SpiffeId, &SpiffeId), cooldown: &Cooldown) {
        self.cooldowns.add(principal, cooldown.clone());
        if requester != principal {
            self.cooldowns.add(requester, cooldown.clone());
        }
    }

    /// A grant was issued: what it means for its request, its task and everybody's history.
    pub(super) fn granted(&mut self, grant: &Arc<Grant>, event: &Event, revision: Revision) {
        self.tasks.enter(&grant.task, &grant.principal, event.time, (None, None));
        if self.lets_in(grant) {
            self.tasks.join(&grant.task, &grant.principal, event.time);
        }
        let Some(lineage) = &grant.lineage else { return };
        for head in [lineage.parent, lineage.extends].into_iter().flatten() {
            self.dependants.entry(head).or_default().insert(grant.id);
            let from = self.find(head).and_then(|found| found.grant().lineage.as_ref()?.request);
            if let Some(origin) = from.and_then(|id| self.requests.get_mut(id)) {
                origin.note(revision);
            }
        }
        let Some(id) = lineage.request else { return };
        let Some(record) = self.requests.get_mut(id) else { return };
        record.grants.push(grant.id);
        record.note(revision);
        let request = Arc::clone(&record.request);
        if let Some(step) = record.steps.iter_mut().rev().find(|step| step.grant.is_none()) {
            step.grant = Some(grant.id);
        }
        if let RequestKind::Step { of, number } = request.kind
            && let Some(plan) = self.requests.get_mut(of)
        {
            plan.grants.push(grant.id);
            plan.note(revision);
            if let Some(step) = plan.steps.iter_mut().find(|step| step.number == number) {
                step.grant = Some(grant.id);
            }
        }
        self.histories.granted(&request.requester, grant, event.time);
        if request.requester != request.principal {
            self.histories.granted(&request.principal, grant, event.time);
        }
        let settled = Settled { at: event.time, by: event.actor.clone(), reason: None };
        self.requests.settle(id, RequestState::Approved, settled);
    }

    /// Whether whom a grant is for takes part in its task from now on: not if another than the owner handed it on.
    fn lets_in(&self, grant: &Grant) -> bool {
        let request = grant.lineage.as_ref().and_then(|lineage| self.requests.get(lineage.request?));
        request.is_none_or(|record| match record.request.kind {
            RequestKind::Access | RequestKind::Step { .. } => true,
            RequestKind::Extension { .. } | RequestKind::Delegation { .. } => {
                self.tasks.get(&grant.task).is_some_and(|task| task.owner == record.request.requester)
            }
        })
    }

    /// A grant ended: what it means beyond the grant itself.
    pub(super) fn access_ended(
        &mut self,
        grant: &Arc<Grant>,
        (at, cause): (Time, EndCause),
        revision: Revision,
    ) {
        self.dependants.remove(&grant.id);
        let record = grant.lineage.as_ref().and_then(|lineage| {
            for head in [lineage.parent, lineage.extends].into_iter().flatten() {
                if let Some(dependants) = self.dependants.get_mut(&head) {
                    dependants.remove(&grant.id);
                    if dependants.is_empty() {
                        self.dependants.remove(&head);
                    }
                }
            }
            self.requests.get_mut(lineage.request?)
        });
        let requester = record.map(|record| {
            record.note(revision);
            record.request.requester.clone()
        });
        if let Some(requester) = &requester {
            self.histories.ended(requester, grant, at);
            if *requester != grant.principal {
                self.histories.ended(&grant.principal, grant, at);
            }
        }
        let cause = match cause {
            EndCause::Revoked => Some(CooldownCause::Revocation),
            EndCause::Expired => Some(CooldownCause::Expiry),
            EndCause::TaskDone
            | EndCause::TaskFailed
            | EndCause::Idle
            | EndCause::Limit
            | EndCause::Superseded => None,
        };
        // Expiry holds off only what was asked for; nobody asks for an operator's direct grant.
        if let Some(cause) = cause
            && (cause == CooldownCause::Revocation || requester.is_some())
        {
            let cooldown = Cooldown { scope: grant.scope.clone(), at, cause };
            let who = requester.as_ref().unwrap_or(&grant.principal);
            self.cool_down((who, &grant.principal), &cooldown);
        }
        if self.by_task.get(&grant.task).next().is_none() {
            self.tasks.is_quiet(&grant.task, at);
        }
    }
}
