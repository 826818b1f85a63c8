//! The control plane as one handle: submit commands, read the state, follow the log.
//!
//! One writer task decides and appends ([`writer`]); everybody else reads. The state is behind a lock that is held briefly and never
//! across an await. `head` moves only after events are durable and applied.

mod queues;
mod recent;
mod replay;
mod signed;
mod writer;

use crate::control::clock::ControlClock;
use crate::control::log::{EventLog, LogError, Recorded};
use crate::control::places::{Place, Places};
use crate::control::presence::Presence;
use crate::control::state::{ApplyError, Command, Outcome, Process, Refusal, Rules, State};
use crate::control::usage::{GrantUsage, Heard, Usage};
use crate::identity::token::TokenKeys;
use crate::model::event::Actor;
use crate::model::{EndCause, Epoch, GrantId, LogId, Revision, TaskId, Time, WitnessName};
use crate::notary::Latest;
use crate::runtime::clock::Mono;
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use queues::{QUEUE, STRANGER, STRANGERS, is_urgent};
use recent::Recent;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// What a control plane is told when it starts.
#[derive(Debug, Clone)]
pub struct PlaneOptions {
    /// What everybody is held to.
    pub rules: Rules,
    /// The lease that proxies get.
    pub lease: Duration,
    /// How far clocks may run apart within a lease.
    pub clock_drift: Duration,
    /// Control time.
    pub clock: ControlClock,
}

/// Why a control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be read.
    #[error("the event log cannot be read")]
    Log(#[from] LogError),
    /// The log contradicts itself.
    #[error("the event log contradicts itself: restore it from a backup")]
    Contradiction(#[from] ApplyError),
    /// The first event could not be written.
    #[error("the event log cannot be written")]
    Write(#[source] Refusal),
}

/// The control plane. Cheap to clone; its writer stops when the last clone is dropped.
#[derive(Clone)]
pub struct Plane {
    inner: Arc<Inner>,
    commands: mpsc::Sender<Job>,
    /// What the gate lives by: nobody's questions hold it up (`queues::is_urgent`).
    urgent: mpsc::Sender<Job>,
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").field("head", &*self.inner.head.borrow()).finish_non_exhaustive()
    }
}

struct Inner {
    log: Arc<dyn EventLog>,
    order: writer::Order,
    state: RwLock<State>,
    rules: ArcSwap<Rules>,
    clock: ControlClock,
    head: watch::Sender<Revision>,
    recent: Mutex<Recent>,
    presence: Presence,
    usage: Mutex<Usage>,
    /// Of the queue, for callers without a role.
    queued: Arc<Places>,
    token_keys: watch::Sender<Option<Arc<TokenKeys>>>,
    checkpoints: OnceLock<Arc<Latest>>,
    /// Why the log is not signed for any more.
    disputed: OnceLock<String>,
    /// What external witnesses say of it, which nobody has checked.
    claims: Mutex<BTreeMap<WitnessName, String>>,
    lease: Duration,
    clock_drift: Duration,
    started: (Time, Mono),
}

/// The head of the log, read for one ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// The revision of the last durable event.
    pub head: Revision,
    /// The last up to there that takes something away: what a table must have for a lease to count.
    pub needed: Revision,
}

struct Job {
    actor: Actor,
    command: Command,
    answer: oneshot::Sender<Result<Outcome, Refusal>>,
    /// In the queue, where that is bounded for its sender; until it is answered, also if the sender has gone.
    _place: Option<Place>,
}

impl Plane {
    /// Replays the log and starts the writer on the current runtime. The lease is logged before anything can hand it out.
    ///
    /// # Errors
    /// [`StartError`] if the log cannot be read, contradicts itself, or cannot be written.
    pub async fn start(log: Arc<dyn EventLog>, options: PlaneOptions) -> Result<Self, StartError> {
        let state = replay::replay(&*log, &options.clock).await?;
        let (head, _) = watch::channel(state.revision());
        let inner = Arc::new(Inner {
            log,
            order: writer::Order::default(),
            state: RwLock::new(state.clone()),
            rules: ArcSwap::from_pointee(options.rules),
            started: (options.clock.now(), options.clock.mono()),
            clock: options.clock,
            head,
            recent: Mutex::default(),
            presence: Presence::default(),
            usage: Mutex::default(),
            queued: Places::of(STRANGERS, STRANGER),
            token_keys: watch::Sender::new(None),
            checkpoints: OnceLock::new(),
            disputed: OnceLock::new(),
            claims: Mutex::default(),
            lease: options.lease,
            clock_drift: options.clock_drift,
        });
        let (commands, queue) = mpsc::channel(QUEUE);
        let (urgent, urgent_queue) = mpsc::channel(QUEUE);
        inner.order.note(&state);
        let queues = queues::Queues { urgent: urgent_queue, commands: queue };
        tokio::spawn(writer::Writer::new(Arc::clone(&inner), state, queues).run());
        let plane = Self { inner, commands, urgent };
        let raise = Command::RaiseLease { lease: options.lease };
        plane.submit(Actor::System, raise).await.map_err(StartError::Write)?;
        Ok(plane)
    }

    /// Decides on a command and, if it is not refused, returns once its events are durable and applied.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn submit(&self, actor: Actor, command: Command) -> Result<Outcome, Refusal> {
        let (answer, outcome) = oneshot::channel();
        let rules = self.rules();
        let place = match &actor {
            Actor::Identity(id) if rules.roles.of(id).next().is_none() => {
                Some(self.inner.queued.enter(id).ok_or(Refusal::Busy)?)
            }
            Actor::Identity(_) | Actor::System => None,
        };
        let queue = if is_urgent(&rules.roles, &actor, &command) { &self.urgent } else { &self.commands };
        drop(rules);
        queue.try_send(Job { actor, command, answer, _place: place }).map_err(|full| match full {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(_) => Refusal::Stopping,
        })?;
        outcome.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Follows the revision up to which everything is durable and applied.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Revision> {
        self.inner.head.subscribe()
    }

    /// Reads the head from the log, after all appends of what takes something away that were decided on before this call: what a
    /// pong carries (law 6). Does not wait for bulk grants.
    ///
    /// # Errors
    /// [`Refusal`] if the log cannot be read: no lease may be handed out then.
    pub async fn confirm_head(&self) -> Result<Confirmed, Refusal> {
        self.inner.order.confirm(&*self.inner.log).await.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot read the head of the event log"
            );
            Refusal::Unknown
        })
    }

    /// Up to `limit` events after `after`, in order. Never beyond [`Self::head`]; recent ones come from memory.
    ///
    /// # Errors
    /// [`LogError`] if the log cannot be read.
    pub async fn read(&self, after: Revision, limit: usize) -> Result<Vec<Recorded>, LogError> {
        let head = *self.inner.head.borrow();
        if after >= head {
            return Ok(Vec::new());
        }
        let recent = self.inner.recent.lock().read(after, limit);
        let mut found = match recent {
            Some(found) => found,
            None => self.inner.log.read(after, limit).await?,
        };
        found.retain(|recorded| recorded.revision <= head);
        Ok(found)
    }

    /// Looks at the state. Keep it short: the writer waits.
    pub fn with_state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.inner.state.read())
    }

    /// Control time.
    #[must_use]
    pub fn control_time(&self) -> Time {
        self.inner.clock.now()
    }

    /// CLOCK_BOOTTIME, from the same source as control time.
    #[must_use]
    pub fn mono(&self) -> Mono {
        self.inner.clock.mono()
    }

    /// When this process started to serve.
    #[must_use]
    pub fn started(&self) -> (Time, Mono) {
        self.inner.started
    }

    /// The log that this is a view of.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.inner.log.identity().log
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.inner.log.identity().epoch
    }

    /// The lease that proxies get.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.inner.lease
    }

    /// How far clocks may run apart within a lease.
    #[must_use]
    pub fn clock_drift(&self) -> Duration {
        self.inner.clock_drift
    }

    /// What this process knows of proxies beyond the log.
    #[must_use]
    pub fn presence(&self) -> &Presence {
        &self.inner.presence
    }

    /// What everybody is held to, now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.inner.rules.load_full()
    }

    /// Replaces what everybody is held to; commands that wait are decided by the new rules.
    pub fn set_rules(&self, rules: Rules) {
        self.inner.rules.store(Arc::new(rules));
    }

    /// Follows what is published about tokens; `None`: nothing yet.
    #[must_use]
    pub fn token_keys(&self) -> watch::Receiver<Option<Arc<TokenKeys>>> {
        self.inner.token_keys.subscribe()
    }

    /// Publishes by what tokens are verified from now on; each proxy hears of it before its next lease.
    pub fn publish_token_keys(&self, keys: TokenKeys) {
        self.inner.token_keys.send_if_modified(|published| {
            let changed = published.as_deref() != Some(&keys);
            if changed {
                *published = Some(Arc::new(keys));
            }
            changed
        });
    }

    /// Changes a part of what everybody is held to, whoever changes another part at the same time.
    pub fn update_rules(&self, change: impl Fn(&Rules) -> Rules) {
        self.inner.rules.rcu(|rules| change(rules));
    }

    /// Takes a proxy's report on the use of grants. The caller has made sure that it comes from that proxy.
    pub fn report_usage(&self, process: &Process, report: &[GrantUsage]) {
        let now = self.control_time();
        let state = self.inner.state.read();
        self.inner.usage.lock().report(&state, process, now, report);
    }

    /// Whether a request has lapsed or a task has passed its deadline.
    #[must_use]
    pub(crate) fn is_sweep_due(&self) -> bool {
        let now = self.control_time();
        self.with_state(|state| {
            state.pending().next().is_some_and(|(at, _)| at <= now)
                || state.past_deadline(now).next().is_some()
        })
    }

    /// The open tasks with grants that have seen neither traffic nor a sign of life for their idle time. What was before this
    /// process started is not known and counts as alive until then.
    #[must_use]
    pub(crate) fn idle_tasks(&self) -> Vec<TaskId> {
        let Heard { since, late } = self.heard();
        let now = self.control_time();
        let default = self.rules().requests.task_idle_timeout;
        let state = self.inner.state.read();
        let usage = self.inner.usage.lock();
        let is_idle = |(task, timeout): &(&TaskId, Duration)| {
            let used = state.grants_of(task).filter_map(|grant| usage.last_used(grant.id));
            let begun = state.grants_of(task).map(|grant| grant.not_before.min(now));
            // A sign of life comes at once; use is known with its report.
            let seen = used.chain(begun).chain([since]).map(|at| at.plus(late));
            let alive = seen.chain(usage.sign_of_life(task)).max();
            alive.is_some_and(|alive| now >= alive.plus(*timeout))
        };
        state.idle_timeouts(default).filter(is_idle).map(|(task, _)| task.clone()).collect()
    }

    /// A sign of life of a task, by its owner. Not logged.
    pub fn task_is_alive(&self, task: &TaskId) {
        let now = self.control_time();
        self.inner.usage.lock().alive(task, now);
    }

    /// Whether a checkpoint of a trail that is kept beside the log is due to be in it.
    #[must_use]
    pub(crate) fn is_trail_due(&self) -> bool {
        let now = self.control_time();
        self.with_state(|state| state.trails_to_record(now).next().is_some())
    }

    /// What is due to be logged about the use of grants, if anything is.
    #[must_use]
    pub(crate) fn uses_to_log(&self) -> Option<Command> {
        let now = self.control_time();
        let state = self.inner.state.read();
        self.inner.usage.lock().to_log(&state, now)
    }

    /// The grants that are over by use: idle, or with their bytes spent.
    #[must_use]
    pub(crate) fn over_by_use(&self) -> Vec<(GrantId, EndCause)> {
        let now = self.control_time();
        let state = self.inner.state.read();
        self.inner.usage.lock().over(&state, now, self.heard())
    }

    /// Proxies report use with each ping, five times a lease. One report may be lost on the way without harm.
    fn heard(&self) -> Heard {
        let (since, _) = self.inner.started;
        Heard { since, late: self.inner.lease.saturating_mul(2) / 5 }
    }
}

#[cfg(test)]
mod tests;
