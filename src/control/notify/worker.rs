//! The task of one receiver: follows the log, puts what concerns the receiver into the store, and attempts what is due.
//!
//! It decides nothing ([`message`] and [`Queue`] do) and shares nothing but a read of the log with anybody: a receiver that is slow
//! or dead holds up neither the control plane nor another receiver.

use crate::config::{WebhookConfig, WebhookEvent};
use crate::control::log::Identity;
use crate::control::notify::queue::{Attempt, Change, Delivery, Next, Queue};
use crate::control::notify::send::Sender;
use crate::control::notify::store::{Cursor, StoreError, WebhookStore};
use crate::control::notify::{DeadLetter, Health, message};
use crate::control::plane::Plane;
use crate::model::Time;
use crate::runtime::clock::wall;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Events read at once.
const PAGE: usize = 64;
/// Events that concern nobody may be looked at again after a restart: the cursor is written at least this often.
const UNWRITTEN: u64 = 1_024;
/// How often reviews are looked at, and how long after an error of the store.
const LOOK: Duration = Duration::from_secs(1);

pub(super) type Redeliver = oneshot::Sender<usize>;
type Sending = Pin<Box<dyn Future<Output = (String, Attempt)> + Send>>;

pub(super) struct Worker {
    pub(super) config: WebhookConfig,
    pub(super) plane: Plane,
    pub(super) store: Arc<dyn WebhookStore>,
    pub(super) sender: Arc<Sender>,
    pub(super) queue: Queue,
    pub(super) cursor: Cursor,
    pub(super) health: Arc<Mutex<Health>>,
    pub(super) redeliver: mpsc::Receiver<Redeliver>,
}

impl Worker {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut head = self.plane.head();
        let mut sending: Option<Sending> = None;
        let mut written = self.cursor;
        loop {
            head.mark_unchanged();
            let stuck = match self.ingest(&mut written).await {
                Ok(()) => false,
                Err(error) => {
                    self.complain(&*error);
                    true
                }
            };
            let now = self.plane.control_time();
            let mut pause = LOOK;
            if sending.is_none() {
                match self.queue.next(now) {
                    Next::Send(delivery) => sending = Some(attempt(Arc::clone(&self.sender), delivery)),
                    Next::Wait(due) => pause = pause.min(due.since(now)),
                    Next::Idle => {}
                }
            }
            self.publish();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // What is being sent is sent again after a restart.
                (id, attempt) = async { match &mut sending { Some(sending) => sending.await, None => std::future::pending().await } } => {
                    sending = None;
                    self.finished(&id, attempt).await;
                }
                Some(answer) = self.redeliver.recv() => {
                    let changes = self.queue.redeliver(self.plane.control_time());
                    let count = changes.len();
                    self.keep(&changes).await;
                    self.publish();
                    let _ = answer.send(count);
                }
                changed = head.changed(), if !stuck && self.queue.has_room() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => {}
            }
        }
    }

    /// Takes up what has happened since, as far as there is room.
    async fn ingest(&mut self, written: &mut Cursor) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let log = Identity { log: self.plane.log_id(), epoch: self.plane.epoch() };
        while self.queue.has_room() {
            let page = self.plane.read(self.cursor.revision, PAGE).await?;
            let Some(last) = page.last().map(|recorded| recorded.revision) else { break };
            let messages: Vec<_> = self.plane.with_state(|state| {
                page.iter().flat_map(|recorded| message::of_event(recorded, state, log)).collect()
            });
            let cursor = Cursor { revision: last, ..self.cursor };
            self.take_up(messages, cursor, written).await?;
        }
        let now = self.plane.control_time();
        if self.queue.has_room() && self.config.events.contains(&WebhookEvent::ReviewDue) {
            let after = self.cursor.reviews;
            let messages = self.plane.with_state(|state| message::of_reviews(state, after, now, log));
            if !messages.is_empty() {
                self.take_up(messages, Cursor { reviews: now, ..self.cursor }, written).await?;
            }
        }
        Ok(())
    }

    /// Puts messages and the cursor into the store at once, then into the queue.
    async fn take_up(
        &mut self,
        messages: Vec<message::Message>,
        cursor: Cursor,
        written: &mut Cursor,
    ) -> Result<(), StoreError> {
        let wanted = messages.iter().filter(|message| self.config.events.contains(&message.event));
        let now = self.plane.control_time();
        let deliveries: Vec<Delivery> = wanted.map(|message| self.delivery(message, now)).collect();
        let behind = cursor.revision.0.saturating_sub(written.revision.0);
        if !deliveries.is_empty() || behind >= UNWRITTEN {
            let changes: Vec<Change> = deliveries.iter().cloned().map(Change::Put).collect();
            self.store.write(&self.config.name, Some(cursor), &changes).await?;
            *written = cursor;
        }
        self.cursor = cursor;
        deliveries.into_iter().for_each(|delivery| self.queue.add(delivery));
        Ok(())
    }

    fn delivery(&self, message: &message::Message, now: Time) -> Delivery {
        Delivery {
            id: message.id.clone(),
            kind: message.event.as_str().to_owned(),
            body: message.body(self.config.format),
            since: now,
            attempts: 0,
            next: Some(now),
            failure: None,
        }
    }

    async fn finished(&mut self, id: &str, attempt: Attempt) {
        let now = self.plane.control_time();
        let mut jitter = [0; 4];
        // Without random numbers all wait the longest.
        let jitter = getrandom::fill(&mut jitter).map_or(u32::MAX, |()| u32::from_ne_bytes(jitter));
        match &attempt {
            Attempt::Delivered => self.health.lock().last_delivered = Some(now),
            Attempt::Failed { why, .. } => {
                tracing::warn!(webhook = %self.config.name, id, why, "a webhook was not delivered");
            }
            Attempt::Gone => tracing::warn!(webhook = %self.config.name, id, "a webhook's receiver is gone"),
        }
        let changes = self.queue.finished(id, attempt, now, jitter);
        self.keep(&changes).await;
    }

    /// Keeps what became of deliveries. If it cannot be kept, a message is sent once more after a restart.
    async fn keep(&self, changes: &[Change]) {
        if let Err(error) = self.store.write(&self.config.name, None, changes).await {
            self.complain(&error);
        }
    }

    fn complain(&self, error: &dyn std::error::Error) {
        tracing::error!(webhook = %self.config.name, error = error.to_string(), "webhooks cannot be kept; trying again");
    }

    fn publish(&self) {
        let mut health = self.health.lock();
        health.waiting = self.queue.waiting();
        health.revision = self.cursor.revision;
        health.dead = self.queue.dead().map(DeadLetter::of).collect();
    }
}

fn attempt(sender: Arc<Sender>, delivery: Delivery) -> Sending {
    Box::pin(async move {
        let attempt = sender.attempt(&delivery, wall()).await;
        (delivery.id, attempt)
    })
}
