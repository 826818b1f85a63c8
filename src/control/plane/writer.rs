//! The only task that appends to the log.
//!
//! It takes commands from a bounded queue, decides on them one after the other on a state of its own that runs ahead of the log,
//! appends all their events at once, applies them to the state that everybody reads, and only then answers. So no answer,
//! refusals included, rests on something that is not durable.
//!
//! Time: `now` is read after the append before is over, and heads are confirmed between appends. So an event of time `t` is in
//! every head that is confirmed to a proxy that asked later than `t`: this is what `effective_by` rests on.

use crate::control::log::{AppendError, LogError, Recorded};
use crate::control::plane::{Inner, Job};
use crate::control::state::{Context, Outcome, Refusal, State, decide};
use crate::model::Revision;
use crate::model::event::Event;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Commands taken at once.
const COMMANDS: usize = 256;
/// Events after which a group is closed.
const EVENTS: usize = 512;
/// How often a group is decided again because another process appended first.
const ATTEMPTS: usize = 16;
const PAGE: usize = 64;

type Head = oneshot::Sender<Result<Revision, Refusal>>;

pub(super) struct Writer {
    inner: Arc<Inner>,
    /// Runs ahead of `inner.state` by the group that is being decided.
    ahead: State,
    /// `ahead` may differ from the log: read before deciding.
    diverged: bool,
    commands: mpsc::Receiver<Job>,
    heads: mpsc::Receiver<Head>,
    random: Random,
}

/// A group of commands that is appended together.
struct Group {
    expected: Revision,
    events: Vec<Arc<Event>>,
    decided: Vec<(Job, Result<Outcome, Refusal>)>,
}

enum Appended {
    Done,
    Again(Vec<Job>),
}

impl Writer {
    pub(super) fn new(
        inner: Arc<Inner>,
        ahead: State,
        commands: mpsc::Receiver<Job>,
        heads: mpsc::Receiver<Head>,
    ) -> Self {
        Self { inner, ahead, diverged: false, commands, heads, random: Random::default() }
    }

    pub(super) async fn run(mut self) {
        let mut jobs = Vec::with_capacity(COMMANDS);
        let mut heads = Vec::with_capacity(COMMANDS);
        loop {
            // Heads first: proxies live by them, and one read answers all that wait.
            tokio::select! {
                biased;
                taken = self.heads.recv_many(&mut heads, COMMANDS) => {
                    if taken == 0 {
                        return;
                    }
                    self.confirm(&mut heads).await;
                }
                taken = self.commands.recv_many(&mut jobs, COMMANDS) => {
                    if taken == 0 {
                        return;
                    }
                    self.work_off(jobs.drain(..).collect()).await;
                }
            }
        }
    }

    async fn confirm(&mut self, heads: &mut Vec<Head>) {
        let head = self.inner.log.head().await.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot read the head of the event log"
            );
            Refusal::Unknown
        });
        for answer in heads.drain(..) {
            // Whoever asked may have gone.
            let _ = answer.send(head.clone());
        }
    }

    async fn work_off(&mut self, mut jobs: VecDeque<Job>) {
        let mut attempts = 0_usize;
        while !jobs.is_empty() {
            if self.diverged
                && let Err(error) = self.catch_up().await
            {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot read the event log");
                refuse(jobs, &Refusal::Unknown);
                return;
            }
            let group = self.decide(&mut jobs);
            match self.append(group).await {
                Appended::Done => attempts = 0,
                Appended::Again(again) => {
                    attempts = attempts.saturating_add(1);
                    if attempts >= ATTEMPTS {
                        refuse(again, &Refusal::Busy);
                        attempts = 0;
                    } else {
                        again.into_iter().rev().for_each(|job| jobs.push_front(job));
                    }
                }
            }
        }
    }

    fn decide(&mut self, jobs: &mut VecDeque<Job>) -> Group {
        let mut group = Group { expected: self.ahead.revision(), events: Vec::new(), decided: Vec::new() };
        let rules = self.inner.rules.load_full();
        let now = self.inner.clock.now();
        while group.events.len() < EVENTS
            && let Some(job) = jobs.pop_front()
        {
            let random = &mut || self.random.next();
            let mut context = Context { now, rules: &rules, random };
            let outcome = match decide(&self.ahead, &job.actor, &job.command, &mut context) {
                Ok(decision) => match self.run_ahead(&decision.events) {
                    Ok(()) => {
                        group.events.extend(decision.events.into_iter().map(Arc::new));
                        Ok(decision.outcome)
                    }
                    Err(refusal) => Err(refusal),
                },
                Err(refusal) => Err(refusal),
            };
            group.decided.push((job, outcome));
            if self.diverged {
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

    async fn append(&mut self, group: Group) -> Appended {
        let Group { expected, events, decided } = group;
        if !events.is_empty() {
            match self.inner.log.append(expected, events.clone()).await {
                Ok(_) => {
                    if let Err(error) = self.inner.publish(expected, events) {
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
        for (job, outcome) in decided {
            // Whoever asked may have gone; what was decided stands.
            let _ = job.answer.send(outcome);
        }
        Appended::Done
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
            if let Err(error) = self.inner.publish(applied, events) {
                return Err(LogError::Contradiction(error));
            }
        }
        self.ahead = self.inner.state.read().clone();
        self.diverged = false;
        Ok(())
    }
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
