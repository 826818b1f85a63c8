//! What the control plane's log says about requests and grants: a fold over its events.
//!
//! Pure. The log keeps everything, while the control plane itself forgets a grant soon after it ended: so this reads events, not lists.
//! Only what is of interest is kept.

use crate::control::usage;
use crate::model::event::{Actor, Event, EventBody, TaskOutcome};
use crate::model::{
    AccessRequest, AccessRequestId, EndCause, Evaluation, Grant, GrantId, ProxyName, ReviewId, Revision,
    RevocationId, Scope, SpiffeId, TaskId, Time, TrailFault, TrailHead, Ttl, User,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An event and its place.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) revision: Revision,
    pub(super) event: Event,
}

/// Whose requests and grants are kept; of nobody in particular: all.
#[derive(Debug, Clone, Default)]
pub(super) struct Interest {
    pub(super) task: Option<TaskId>,
    pub(super) principal: Option<SpiffeId>,
}

impl Interest {
    fn takes(&self, task: &TaskId, principal: &SpiffeId) -> bool {
        self.task.as_ref().is_none_or(|wanted| wanted == task)
            && self.principal.as_ref().is_none_or(|wanted| wanted == principal)
    }
}

/// Somebody did something.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Act<T> {
    pub(super) at: Time,
    pub(super) by: Actor,
    #[serde(flatten)]
    pub(super) what: T,
}

/// A request, and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    #[serde(flatten)]
    pub(super) request: Arc<AccessRequest>,
    pub(super) evaluations: Vec<Act<Arc<Evaluation>>>,
    pub(super) approvals: Vec<Act<Approval>>,
    /// How it was settled; nothing while it waits.
    pub(super) settled: Option<Act<Outcome>>,
    /// Steps of its plan that were opened.
    pub(super) steps: Vec<Act<Opened>>,
    pub(super) grants: Vec<GrantId>,
}

/// An approval, with what was narrowed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Approval {
    pub(super) stage: u32,
    /// Of what exactly.
    pub(super) hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<Ttl>,
    pub(super) reason: String,
    /// How they proved themselves beside their certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authenticated: Option<User>,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Opened {
    pub(super) number: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asked: Option<AccessRequestId>,
}

/// How a request was settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum Outcome {
    Granted,
    /// A live grant answered it.
    Satisfied {
        grant: GrantId,
    },
    Denied {
        reason: String,
    },
    Cancelled {
        reason: String,
    },
    /// Nobody decided in time.
    Lapsed,
}

/// A grant, and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct Granted {
    #[serde(flatten)]
    pub(super) grant: Arc<Grant>,
    pub(super) issued_at: Time,
    pub(super) issued_by: Actor,
    pub(super) reason: String,
    /// Whether the log says how it is used; otherwise trails alone do.
    pub(super) use_is_logged: bool,
    pub(super) used: Vec<Used>,
    pub(super) ended: Option<Act<End>>,
    /// Proxies that nothing runs at any more.
    pub(super) confirmed: Vec<Confirmed>,
}

/// What one process of a proxy counted, in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Used {
    pub(super) proxy: ProxyName,
    pub(super) instance: u64,
    pub(super) requests: u64,
    pub(super) bytes: u64,
}

/// How a grant ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct End {
    pub(super) cause: EndCause,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revocation: Option<RevocationId>,
    pub(super) revision: Revision,
}

/// A proxy said that nothing runs any more under what had ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Confirmed {
    pub(super) proxy: ProxyName,
    pub(super) at: Time,
    /// For everything that it confirmed at once.
    pub(super) streams_cut: u64,
}

/// A review, and what it found.
#[derive(Debug, Serialize)]
pub(super) struct Reviewed {
    pub(super) id: ReviewId,
    pub(super) request: AccessRequestId,
    pub(super) grant: GrantId,
    pub(super) opened_at: Time,
    pub(super) due: Time,
    pub(super) closed: Option<Act<Findings>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Findings {
    pub(super) findings: String,
    pub(super) justified: bool,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct TaskEnd {
    pub(super) task: TaskId,
    pub(super) outcome: TaskOutcome,
    pub(super) reason: String,
}

/// The trail of a proxy is not what was signed for before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Dispute {
    pub(super) proxy: ProxyName,
    /// What is wrong with a checkpoint that the proxy handed over; none where an external witness has signed for other lines.
    pub(super) fault: Option<TrailFault>,
}

impl Dispute {
    /// What the trail did, for people.
    pub(super) fn meaning(&self) -> &'static str {
        self.fault.map_or("is not what an external witness has signed for", TrailFault::meaning)
    }
}

impl Granted {
    /// When it ended; `None` while it may still be used.
    pub(super) fn over(&self, now: Time) -> Option<Time> {
        let ended = self.ended.as_ref().map(|end| end.at);
        ended.or_else(|| (self.grant.expires_at <= now).then_some(self.grant.expires_at))
    }

    /// Requests that proxies counted, if that is logged.
    pub(super) fn requests(&self) -> Option<u64> {
        self.use_is_logged.then(|| self.used.iter().map(|used| used.requests).sum())
    }
}

impl Reviewed {
    pub(super) fn is_overdue(&self, now: Time) -> bool {
        self.closed.is_none() && self.due <= now
    }
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    interest: Interest,
    pub(super) requests: BTreeMap<AccessRequestId, Asked>,
    pub(super) grants: BTreeMap<GrantId, Granted>,
    pub(super) reviews: BTreeMap<ReviewId, Reviewed>,
    pub(super) tasks: Vec<Act<TaskEnd>>,
    /// What each proxy last signed of its trail.
    pub(super) heads: BTreeMap<ProxyName, TrailHead>,
    pub(super) disputes: Vec<Act<Dispute>>,
    /// All that ever joined.
    pub(super) proxies: BTreeMap<ProxyName, Time>,
    /// The last event.
    pub(super) revision: Revision,
    /// What ended at which revision, for confirmations.
    ends: BTreeMap<Revision, Vec<GrantId>>,
    confirmed: BTreeMap<ProxyName, Revision>,
}

impl Ledger {
    pub(super) fn of(interest: Interest) -> Self {
        Self { interest, ..Self::default() }
    }

    /// The next event.
    pub(super) fn apply(&mut self, Entry { revision, event }: Entry) {
        self.revision = revision;
        let Event { time: at, actor: by, body } = event;
        match body {
            EventBody::AccessRequested { request } => self.asked(request),
            EventBody::AccessEvaluated { request, evaluation } => {
                self.at(request, |asked| asked.evaluations.push(Act { at, by, what: evaluation }));
            }
            EventBody::AccessApproved { request, hash, stage, scope, ttl, reason, authenticated } => {
                let what = Approval { stage, hash, scope, ttl, reason, authenticated };
                self.at(request, |asked| asked.approvals.push(Act { at, by, what }));
            }
            EventBody::AccessDenied { request, reason } => {
                self.settle(request, Act { at, by, what: Outcome::Denied { reason } });
            }
            EventBody::AccessCancelled { request, reason } => {
                self.settle(request, Act { at, by, what: Outcome::Cancelled { reason } });
            }
            EventBody::AccessLapsed { request } => {
                self.settle(request, Act { at, by, what: Outcome::Lapsed })
            }
            EventBody::AccessSatisfied { request, grant } => {
                self.at(request, |asked| asked.grants.push(grant));
                self.settle(request, Act { at, by, what: Outcome::Satisfied { grant } });
            }
            EventBody::StepOpened { request, number, asked } => {
                let what = Opened { number, asked };
                self.at(request, |asked| asked.steps.push(Act { at, by, what }));
            }
            EventBody::GrantsIssued { grants, reason } => {
                for grant in grants {
                    self.issued(grant, Act { at, by: by.clone(), what: reason.clone() });
                }
            }
            EventBody::GrantUsed { grant, proxy, instance, requests, bytes } => {
                if let Some(granted) = self.grants.get_mut(&grant) {
                    granted.used.retain(|used| (&used.proxy, used.instance) != (&proxy, instance));
                    granted.used.push(Used { proxy, instance, requests, bytes });
                }
            }
            EventBody::GrantsRevoked { revocation, selector: _, grants, reason } => {
                let (cause, reason, revocation) = (EndCause::Revoked, Some(reason), Some(revocation));
                self.ended(&grants, Act { at, by, what: End { cause, reason, revocation, revision } });
            }
            EventBody::GrantsEnded { grants, cause } => {
                let what = End { cause, reason: None, revocation: None, revision };
                self.ended(&grants, Act { at, by, what });
            }
            EventBody::TaskEnded { task, outcome, reason } => {
                // A principal's report names the ends of the tasks that it had a part in.
                if self.interest.task.as_ref().is_none_or(|wanted| *wanted == task) {
                    self.tasks.push(Act { at, by, what: TaskEnd { task, outcome, reason } });
                }
            }
            EventBody::ReviewOpened { review, request, grant, due } => {
                if self.grants.contains_key(&grant) {
                    let opened = Reviewed { id: review, request, grant, opened_at: at, due, closed: None };
                    self.reviews.insert(review, opened);
                }
            }
            EventBody::ReviewClosed { review, findings, justified } => {
                if let Some(reviewed) = self.reviews.get_mut(&review) {
                    reviewed.closed = Some(Act { at, by, what: Findings { findings, justified } });
                }
            }
            EventBody::Acknowledged { proxy, revision, streams_cut } => {
                self.confirmed(Confirmed { proxy, at, streams_cut }, revision);
            }
            EventBody::ProxyJoined { proxy, identity: _ } => {
                self.proxies.entry(proxy).or_insert(at);
            }
            EventBody::RequestKeyed { .. }
            | EventBody::TaskJoined { .. }
            | EventBody::AttributesSet { .. }
            | EventBody::CooldownLifted { .. }
            | EventBody::PoliciesLoaded { .. }
            | EventBody::UsesReserved { .. }
            | EventBody::AuditReported { .. }
            | EventBody::LeaseRaised { .. } => {}
            EventBody::WitnessDisputed { proxy } => {
                self.disputes.push(Act { at, by, what: Dispute { proxy, fault: None } });
            }
            EventBody::TrailRecorded { proxy, head } => {
                self.heads.insert(proxy, head);
            }
            EventBody::TrailDisputed { proxy, head, fault } => {
                self.heads.insert(proxy.clone(), head);
                self.disputes.push(Act { at, by, what: Dispute { proxy, fault: Some(fault) } });
            }
        }
    }

    fn asked(&mut self, request: Arc<AccessRequest>) {
        if self.interest.takes(&request.task, &request.principal) {
            let (id, none) = (request.id, Vec::new());
            let asked = Asked {
                request,
                evaluations: Vec::new(),
                approvals: Vec::new(),
                settled: None,
                steps: Vec::new(),
                grants: none,
            };
            self.requests.insert(id, asked);
        }
    }

    fn at(&mut self, request: AccessRequestId, change: impl FnOnce(&mut Asked)) {
        if let Some(asked) = self.requests.get_mut(&request) {
            change(asked);
        }
    }

    fn settle(&mut self, request: AccessRequestId, outcome: Act<Outcome>) {
        // Of a plan, the first grant settled it; what comes with later steps has requests of its own.
        self.at(request, |asked| {
            asked.settled.get_or_insert(outcome);
        });
    }

    fn issued(&mut self, grant: Arc<Grant>, Act { at, by, what: reason }: Act<String>) {
        if let Some(request) = grant.lineage.as_ref().and_then(|lineage| lineage.request) {
            self.at(request, |asked| asked.grants.push(grant.id));
            // Of an approved request, whoever approved last is the actor.
            self.settle(request, Act { at, by: by.clone(), what: Outcome::Granted });
        }
        if self.interest.takes(&grant.task, &grant.principal) {
            let granted = Granted {
                grant: Arc::clone(&grant),
                issued_at: at,
                issued_by: by,
                reason,
                use_is_logged: usage::is_logged(&grant),
                used: Vec::new(),
                ended: None,
                confirmed: Vec::new(),
            };
            self.grants.insert(grant.id, granted);
        }
    }

    fn ended(&mut self, grants: &[GrantId], end: Act<End>) {
        for id in grants {
            if let Some(granted) = self.grants.get_mut(id) {
                granted.ended.get_or_insert_with(|| end.clone());
                self.ends.entry(end.what.revision).or_default().push(*id);
            }
        }
    }

    /// The first confirmation of each proxy that came after the end.
    fn confirmed(&mut self, confirmation: Confirmed, up_to: Revision) {
        let before = self.confirmed.insert(confirmation.proxy.clone(), up_to).unwrap_or_default();
        if before >= up_to {
            return;
        }
        for id in self.ends.range(before.next()..=up_to).flat_map(|(_, ids)| ids) {
            if let Some(granted) = self.grants.get_mut(id) {
                granted.confirmed.push(confirmation.clone());
            }
        }
    }
}
