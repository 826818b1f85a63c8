//! The only task that appends to the log.
//!
//! It takes commands from two bounded queues, those that come first before all others, decides on them one after the other on a state of its own that runs ahead of the log,
//! appends all their events at once, applies them to the state that everybody reads, and only then answers. So no answer,
//! refusals included, rests on something that is not durable.
//!
//! Time: `now` of a group that may take something away is read, and its events are appended, under [`Order`]'s exclusive side; heads
//! are confirmed under its shared side, from a read of the log that begins after the ping has come. So an event of time `t` that
//! takes something away is in every head that is confirmed to a proxy that asked later than `t`: this is what `effective_by` rests
//! on. A bulk grant only adds. It is a group of its own and takes no side, so that heads are confirmed while it is decided on,
//! written and applied; it is still one append, all or none. What takes time is done off the runtime's threads.

use crate::control::log::{AppendError, EventLog, LogError, Recorded};
use crate::control::plane::queues::{Queues, Taken};
use crate::control::plane::{Confirmed, Inner, Job};
use crate::control::state::{Command, Context, Outcome, Refusal, State, decide};
use crate::model::event::Event;
use crate::model::{KeptTrail, Revision};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{RwLock, RwLockWriteGuard};

/// Commands taken at once.
const COMMANDS: usize = 256;
/// Events after which a group is closed.
const EVENTS: usize = 512;
/// How long a group is decided on before it is closed: heads are confirmed between groups, and whoever asks decides how much there
/// is to a question.
const DECIDING: Duration = Duration::from_millis(100);
/// How often a group is decided again because another process appended first.
const ATTEMPTS: usize = 16;
const PAGE: usize = 64;

/// Grants in one command from which on it is a bulk.
const BULK: usize = 100;

pub(super) struct Writer {
    inner: Arc<Inner>,
    /// Runs ahead of `inner.state` by the group that is being decided.
    ahead: State,
    /// `ahead` may differ from the log: read before deciding.
    diverged: bool,
    queues: Queues,
    random: Random,
}

/// Orders the time of events that take something away and the reads of the head (see the head of this file), and knows which of
/// what is durable takes something away.
#[derive(Default)]
pub(super) struct Order {
    turn: RwLock<()>,
    known: Mutex<Known>,
}

/// Durable up to `head`, and the last that takes something away up to there.
#[derive(Default, Clone, Copy)]
struct Known {
    head: Revision,
    taken_away: Revision,
}

impl Order {
    /// Notes that all of this state is durable.
    pub(super) fn note(&self, state: &State) {
        *self.known.lock() = Known { head: state.revision(), taken_away: state.taken_away() };
    }

    /// The head, read from the log after this call, and what of it a lease needs.
    pub(super) async fn confirm(&self, log: &dyn EventLog) -> Result<Confirmed, LogError> {
        let _shared = self.turn.read().await;
        let head = log.head().await?;
        let known = *self.known.lock();
        // Beyond what is known there may be anything: somebody else's events, or those of an append that is not yet answered.
        let needed = if head > known.head { head } else { known.taken_away.min(head) };
        Ok(Confirmed { head, needed })
    }
}

/// A group of commands that is appended together.
struct Group {
    expected: Revision,
    events: Vec<Arc<Event>>,
    /// To be kept beside the events.
    kept: Vec<KeptTrail>,
    decided: Vec<(Job, Result<Outcome, Refusal>)>,
}

enum Appended {
    Done,
    Again(Vec<Job>),
}

impl Writer {
    pub(super) fn new(inner: Arc<Inner>, ahead: State, queues: Queues) -> Self {
        Self { inner, ahead, diverged: false, queues, random: Random::default() }
    }

    pub(super) async fn run(mut self) {
        loop {
            let Queues { urgent, commands } = &mut self.queues;
            let mut jobs = Taken::default();
            // Who waits for an answer holds both ends open; so nobody waits when one is closed.
            tokio::select! {
                biased;
                job = urgent.recv() => jobs.urgent.extend(job),
                job = commands.recv() => jobs.commands.extend(job),
            }
            if jobs.is_empty() {
                return;
            }
            while jobs.commands.len() < COMMANDS
                && let Ok(job) = commands.try_recv()
            {
                jobs.commands.push_back(job);
            }
            match self.work_off(jobs).await {
                Some(writer) => self = writer,
                None => return,
            }
        }
    }

    /// `None`: a defect of ours; nothing more is decided.
    async fn work_off(mut self, mut jobs: Taken) -> Option<Self> {
        let mut attempts = 0_usize;
        while !jobs.is_empty() {
            if self.diverged
                && let Err(error) = self.catch_up().await
            {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot read the event log");
                refuse(jobs.all(), &Refusal::Unknown);
                return Some(self);
            }
            while jobs.urgent.len() < COMMANDS
                && let Ok(job) = self.queues.urgent.try_recv()
            {
                jobs.urgent.push_back(job);
            }
            jobs.begin_group(is_bulk);
            let inner = Arc::clone(&self.inner);
            let exclusive =
                if jobs.front().is_some_and(is_bulk) { None } else { Some(inner.order.turn.write().await) };
            let group;
            (self, jobs, group) = match self.decide_aside(jobs).await {
                Some(decided) => decided,
                None => return None,
            };
            match self.append(group, exclusive).await {
                Appended::Done => attempts = 0,
                Appended::Again(again) => {
                    attempts = attempts.saturating_add(1);
                    if attempts >= ATTEMPTS {
                        refuse(again, &Refusal::Busy);
                        attempts = 0;
                    } else {
                        jobs.put_back(again);
                    }
                }
            }
        }
        Some(self)
    }

    /// Decides on the next group off the runtime's threads: how much there is to a command shows only while it is decided on.
    async fn decide_aside(mut self, mut jobs: Taken) -> Option<(Self, Taken, Group)> {
        let decide = move || {
            let group = self.decide(&mut jobs);
            (self, jobs, group)
        };
        tokio::task::spawn_blocking(decide)
            .await
            .inspect_err(|error| tracing::error!(%error, "a decision broke off: restart the control plane"))
            .ok()
    }

    fn decide(&mut self, jobs: &mut Taken) -> Group {
        let expected = self.ahead.revision();
        let mut group = Group { expected, events: Vec::new(), kept: Vec::new(), decided: Vec::new() };
        let rules = self.inner.rules.load_full();
        let now = self.inner.clock.now();
        let until = self.inner.clock.mono().plus(DECIDING);
        while group.events.len() < EVENTS
            && (group.decided.is_empty() || self.inner.clock.mono() < until)
            && (group.decided.is_empty() || !jobs.front().is_some_and(is_bulk))
            && let Some(job) = jobs.pop_front()
        {
            let alone = is_bulk(&job);
            let random = &mut || self.random.next();
            let mut context = Context { now, rules: &rules, random };
            let outcome = match decide(&self.ahead, &job.actor, &job.command, &mut context) {
                Ok(decision) => match self.run_ahead(&decision.events) {
                    Ok(()) => {
                        group.events.extend(decision.events.into_iter().map(Arc::new));
                        if let Some(kept) = decision.kept {
                            self.ahead.keep_trail(&kept);
                            group.kept.push(kept);
                        }
                        Ok(decision.outcome)
                    }
                    Err(refusal) => Err(refusal),
                },
                Err(refusal) => Err(refusal),
            };
            group.decided.push((job, outcome));
            if self.diverged || alone {
                break;
            }
        }
        group
    }

    fn run_ahead(&mut self, events: &[Event]) -> Result<(), Refusal> {
        for event in events {
            if let Err(error) = self.ahead.apply(self.ahead.revision().next(), event) {
                // A defect of ours: what was decided contradicts the state that it was decided on.
                tracing::error!(error = &error as &dyn std::error::Error, "a decision contradicts the state");
                self.diverged = true;
                return Err(Refusal::Unknown);
            }
        }
        Ok(())
    }

    async fn append(&mut self, group: Group, exclusive: Option<RwLockWriteGuard<'_, ()>>) -> Appended {
        let Group { expected, events, kept, mut decided } = group;
        if events.is_empty() {
            drop(exclusive);
        } else {
            match self.inner.log.append(expected, events.clone()).await {
                Ok(_) => {
                    self.inner.order.note(&self.ahead);
                    drop(exclusive);
                    if let Err(error) = publish_aside(Arc::clone(&self.inner), expected, events).await {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "cannot apply what was logged"
                        );
                        self.diverged = true;
                    }
                }
                Err(AppendError::Conflict { .. }) => {
                    self.diverged = true;
                    return Appended::Again(decided.into_iter().map(|(job, _)| job).collect());
                }
                Err(AppendError::Log(error)) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot write the event log");
                    self.diverged = true;
                    refuse(decided.into_iter().map(|(job, _)| job), &Refusal::Unknown);
                    return Appended::Done;
                }
            }
        }
        if !kept.is_empty()
            && let Err(error) = self.keep(kept).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "checkpoints of trails cannot be kept");
            self.diverged = true;
            let rests_on_it = |job: &Job| matches!(job.command, Command::KeepCheckpoint { .. });
            for (_, outcome) in decided.iter_mut().filter(|(job, _)| rests_on_it(job)) {
                *outcome = Err(Refusal::Unknown);
            }
        }
        for (job, outcome) in decided {
            // Whoever asked may have gone; what was decided stands.
            let _ = job.answer.send(outcome);
        }
        Appended::Done
    }

    /// After the events that the group has: they may be what these go on from.
    async fn keep(&self, kept: Vec<KeptTrail>) -> Result<(), LogError> {
        self.inner.log.keep_trails(kept.clone()).await?;
        let mut state = self.inner.state.write();
        kept.iter().for_each(|kept| state.keep_trail(kept));
        Ok(())
    }

    /// Reads what the log has beyond the state that everybody reads, and starts again from there.
    async fn catch_up(&mut self) -> Result<(), LogError> {
        loop {
            let applied = self.inner.state.read().revision();
            let page = self.inner.log.read(applied, PAGE).await?;
            if page.is_empty() {
                break;
            }
            let events = page.into_iter().map(|recorded| recorded.event).collect();
            publish_aside(Arc::clone(&self.inner), applied, events).await?;
        }
        self.ahead = self.inner.state.read().clone();
        self.inner.order.note(&self.ahead);
        self.diverged = false;
        Ok(())
    }
}

fn is_bulk(job: &Job) -> bool {
    matches!(&job.command, Command::Grant(specs) if specs.len() >= BULK)
}

/// [`Inner::publish`] off the runtime's threads.
async fn publish_aside(inner: Arc<Inner>, after: Revision, events: Vec<Arc<Event>>) -> Result<(), LogError> {
    tokio::task::spawn_blocking(move || inner.publish(after, events))
        .await
        .map_err(|_| LogError::Closed)?
        .map_err(LogError::Contradiction)
}

fn refuse(jobs: impl IntoIterator<Item = Job>, refusal: &Refusal) {
    for job in jobs {
        let _ = job.answer.send(Err(refusal.clone()));
    }
}

impl Inner {
    /// Applies durable events to the state that everybody reads, then moves the head.
    fn publish(
        &self,
        after: Revision,
        events: Vec<Arc<Event>>,
    ) -> Result<(), crate::control::state::ApplyError> {
        let mut revision = after;
        for event in events {
            revision = revision.next();
            // One event at a time: readers need not wait for a bulk call of 100 events.
            self.state.write().apply(revision, &event)?;
            self.clock.observe(event.time);
            self.recent.lock().push(Recorded { revision, event });
        }
        self.head.send_replace(revision);
        Ok(())
    }
}

/// Random bits, fetched from the system some at a time.
struct Random {
    bytes: [u8; 1000],
    used: usize,
}

impl Default for Random {
    fn default() -> Self {
        Self { bytes: [0; 1000], used: 1000 }
    }
}

impl Random {
    fn next(&mut self) -> [u8; 10] {
        if self.used >= self.bytes.len() {
            fill(&mut self.bytes);
            self.used = 0;
        }
        let mut taken = [0; 10];
        for (to, from) in taken.iter_mut().zip(self.bytes.iter().skip(self.used)) {
            *to = *from;
        }
        self.used = self.used.saturating_add(10);
        taken
    }
}

#[allow(clippy::expect_used, reason = "without randomness nothing here may go on: identifiers would repeat")]
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system has random numbers");
}
