//! Access requests and where each stands: a view of the log.
//!
//! Facts that policies saw are not kept here but found in the log by the revision of the evaluation. Settled requests are kept
//! for a bounded time and number, those with a live grant at least as long as that.

use crate::model::event::Actor;
use crate::model::{
    AccessRequest, AccessRequestId, GrantId, PolicyOutcome, Revision, Scope, SpiffeId, TaskId, Terms, Time,
    Ttl, User,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
const KEPT: usize = 100_000;
/// Revisions that are kept of one request's story; the log has them all.
const MAX_TRAIL: usize = 1_000;

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestState {
    /// Somebody has to decide.
    Pending,
    /// Granted.
    Approved,
    /// Refused by people or policies.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Withdrawn.
    Cancelled,
}

impl RequestState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Approved, Self::Denied, Self::Expired, Self::Cancelled];

    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What the policies said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluated {
    /// Where the evaluation is in the log, with its facts.
    pub revision: Revision,
    /// The policy set.
    pub policy: String,
    /// What it said.
    pub outcome: PolicyOutcome,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// By whom.
    pub by: SpiffeId,
    /// When.
    pub at: Time,
    /// A narrower scope.
    pub scope: Option<Scope>,
    /// A shorter time.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: String,
    /// How they proved themselves.
    pub authenticated: Option<User>,
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// When.
    pub at: Time,
    /// By whom.
    pub by: Actor,
    /// Why, where somebody said so.
    pub reason: Option<String>,
}

/// A step of a plan that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedStep {
    /// Which, from 0.
    pub number: u32,
    /// The request that decides on it, if it is decided anew.
    pub asked: Option<AccessRequestId>,
    /// The grant, once there is one.
    pub grant: Option<GrantId>,
}

/// A request and where it stands.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// The request.
    pub request: Arc<AccessRequest>,
    /// What approvers approve.
    pub hash: String,
    /// Where it stands.
    pub state: RequestState,
    /// What the policies said last.
    pub evaluated: Option<Evaluated>,
    /// Its approvals, in order.
    pub approvals: Vec<Approval>,
    /// How it ended; `None` while it is pending.
    pub settled: Option<Settled>,
    /// The grants that it led to, in order.
    pub grants: Vec<GrantId>,
    /// The steps of its plan that were opened, in order.
    pub steps: Vec<OpenedStep>,
    /// The events that are about it, in order.
    pub trail: Vec<Revision>,
}

impl RequestRecord {
    /// The terms that the policies set; none where they denied, or were not asked.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        self.evaluated.as_ref()?.outcome.terms()
    }

    /// Notes an event as part of its story.
    pub(super) fn note(&mut self, revision: Revision) {
        if self.trail.len() < MAX_TRAIL && self.trail.last() != Some(&revision) {
            self.trail.push(revision);
        }
    }
}

/// All requests that are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests {
    all: BTreeMap<AccessRequestId, RequestRecord>,
    pending: BTreeSet<(Time, AccessRequestId)>,
    pending_of: HashMap<SpiffeId, BTreeSet<AccessRequestId>>,
    by_task: HashMap<TaskId, BTreeSet<AccessRequestId>>,
    settled: VecDeque<(Time, AccessRequestId)>,
}

impl Requests {
    /// How many bytes it has, in canonical form. None if it is there already or cannot be hashed: the log contradicts itself.
    pub(super) fn insert(&mut self, request: &Arc<AccessRequest>, revision: Revision) -> Option<usize> {
        if self.all.contains_key(&request.id) {
            return None;
        }
        let (hash, bytes) = request.sealed().ok()?;
        let record = RequestRecord {
            request: Arc::clone(request),
            hash,
            state: RequestState::Pending,
            evaluated: None,
            approvals: Vec::new(),
            settled: None,
            grants: Vec::new(),
            steps: Vec::new(),
            trail: vec![revision],
        };
        self.pending.insert((request.expires_at, request.id));
        self.pending_of.entry(request.requester.clone()).or_default().insert(request.id);
        self.by_task.entry(request.task.clone()).or_default().insert(request.id);
        self.all.insert(request.id, record);
        Some(bytes)
    }

    pub(super) fn settle(&mut self, id: AccessRequestId, state: RequestState, settled: Settled) {
        let Some(record) = self.all.get_mut(&id) else { return };
        if record.state != RequestState::Pending {
            return;
        }
        self.pending.remove(&(record.request.expires_at, id));
        if let Some(own) = self.pending_of.get_mut(&record.request.requester) {
            own.remove(&id);
            if own.is_empty() {
                self.pending_of.remove(&record.request.requester);
            }
        }
        self.settled.push_back((settled.at, id));
        record.state = state;
        record.settled = Some(settled);
    }

    /// Forgets what was settled long ago, or is too much, unless a grant of it is live.
    pub(super) fn forget(&mut self, now: Time, is_live: impl Fn(GrantId) -> bool) {
        let since = now.minus(KEPT_FOR);
        let mut looks = self.settled.len().min(16);
        while looks > 0
            && let Some((at, id)) = self.settled.front().copied()
            && (at < since || self.settled.len() > KEPT)
        {
            looks -= 1;
            self.settled.pop_front();
            let Some(record) = self.all.get(&id) else { continue };
            if record.grants.iter().any(|grant| is_live(*grant)) {
                self.settled.push_back((now, id));
                continue;
            }
            if let Some(own) = self.by_task.get_mut(&record.request.task) {
                own.remove(&id);
                if own.is_empty() {
                    self.by_task.remove(&record.request.task);
                }
            }
            self.all.remove(&id);
        }
    }

    pub(super) fn get(&self, id: AccessRequestId) -> Option<&RequestRecord> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: AccessRequestId) -> Option<&mut RequestRecord> {
        self.all.get_mut(&id)
    }

    pub(super) fn after(&self, after: Option<AccessRequestId>) -> impl Iterator<Item = &RequestRecord> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.all.range((from, Bound::Unbounded)).map(|(_, record)| record)
    }

    pub(super) fn pending_of(&self, requester: &SpiffeId) -> impl Iterator<Item = &RequestRecord> {
        self.pending_of.get(requester).into_iter().flatten().filter_map(|id| self.all.get(id))
    }

    pub(super) fn of_task(&self, task: &TaskId) -> impl Iterator<Item = &RequestRecord> {
        self.by_task.get(task).into_iter().flatten().filter_map(|id| self.all.get(id))
    }

    pub(super) fn pending(&self) -> impl ExactSizeIterator<Item = (Time, AccessRequestId)> {
        self.pending.iter().copied()
    }
}
