//! Webhooks: tells configured receivers what happened (Standard Webhooks 1.0.0, or the form of chats).
//!
//! `log -> message -> store -> queue -> send`. Each receiver has a task, a durable cursor and a bounded queue of its own. A message
//! is delivered at least once, with the same `webhook-id` each time; what cannot be delivered becomes a dead letter that operators
//! see and can send again. Nothing here holds up the control plane: it reads the log like any follower.

mod chat;
pub mod message;
pub mod queue;
mod send;
mod sign;
pub mod sqlite;
pub mod store;
mod worker;

pub use send::SetupError;
pub use sign::{SecretError, Secrets};

use crate::config::WebhookConfig;
use crate::control::plane::Plane;
use crate::model::{Revision, Time, WebhookName};
use parking_lot::Mutex;
use queue::{Delivery, Queue};
use send::Sender;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Cursor, StoreError, WebhookStore};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use worker::{Redeliver, Worker};

/// Calls for redelivery that may wait for one receiver's task.
const CALLS: usize = 8;

/// Why webhooks cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A receiver cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// What was kept cannot be read.
    #[error("what is kept of webhooks cannot be read")]
    Store(#[from] StoreError),
}

/// How one receiver is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Messages that wait.
    pub waiting: usize,
    /// Up to where the log has been looked at.
    pub revision: Revision,
    /// When a message was last delivered by this process.
    pub last_delivered: Option<Time>,
    /// What was given up, oldest first.
    pub dead: Vec<DeadLetter>,
}

/// A message that was given up. Its body is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeadLetter {
    /// Its `webhook-id`.
    pub id: String,
    /// Its `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was made, or last sent again.
    #[schema(value_type = String, format = DateTime)]
    pub since: Time,
    /// How many attempts failed.
    pub attempts: u32,
    /// Why the last one failed.
    pub failure: String,
}

impl DeadLetter {
    fn of(delivery: &Delivery) -> Self {
        let Delivery { id, kind, since, attempts, failure, .. } = delivery.clone();
        Self { id, kind, since, attempts, failure: failure.unwrap_or_default() }
    }
}

struct Receiver {
    health: Arc<Mutex<Health>>,
    redeliver: mpsc::Sender<Redeliver>,
}

/// All receivers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Notifier(Arc<BTreeMap<WebhookName, Receiver>>);

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Notifier {
    /// Starts a task for each receiver, from where it was left; a new receiver is told of what happens from now on.
    ///
    /// # Errors
    /// [`StartError`], when a secret or CA file cannot be used or the store cannot be read.
    pub async fn start(
        configs: &[WebhookConfig],
        plane: &Plane,
        store: Arc<dyn WebhookStore>,
        stop: &CancellationToken,
    ) -> Result<Self, StartError> {
        let names: Vec<&WebhookName> = configs.iter().map(|config| &config.name).collect();
        store.retain(&names).await?;
        let mut receivers = BTreeMap::new();
        for config in configs {
            let sender = Arc::new(Sender::new(config)?);
            let head = *plane.head().borrow();
            let (cursor, kept) = match store.load(&config.name).await? {
                // A log that was put back from a backup is shorter than what was told.
                Some(kept) => {
                    let revision = kept.cursor.revision.min(head);
                    (Cursor { revision, ..kept.cursor }, kept.deliveries)
                }
                None => {
                    let cursor = Cursor { revision: head, reviews: plane.control_time() };
                    store.write(&config.name, Some(cursor), &[]).await?;
                    (cursor, Vec::new())
                }
            };
            let queue = Queue::new(kept);
            let dead = queue.dead().map(DeadLetter::of).collect();
            let waiting = queue.waiting();
            let health = Health { waiting, revision: cursor.revision, last_delivered: None, dead };
            let health = Arc::new(Mutex::new(health));
            let (redeliver, calls) = mpsc::channel(CALLS);
            let worker = Worker {
                config: config.clone(),
                plane: plane.clone(),
                store: Arc::clone(&store),
                sender,
                queue,
                cursor,
                health: Arc::clone(&health),
                redeliver: calls,
            };
            tokio::spawn(worker.run(stop.clone()));
            receivers.insert(config.name.clone(), Receiver { health, redeliver });
        }
        Ok(Self(Arc::new(receivers)))
    }

    /// How each receiver is, by name.
    #[must_use]
    pub fn health(&self) -> Vec<(WebhookName, Health)> {
        self.0.iter().map(|(name, receiver)| (name.clone(), receiver.health.lock().clone())).collect()
    }

    /// Sends a receiver's dead letters again; how many. `None` if there is no such receiver, or its task does not answer.
    pub async fn redeliver(&self, name: &str) -> Option<usize> {
        let receiver = self.0.get(name)?;
        let (answer, count) = oneshot::channel();
        receiver.redeliver.try_send(answer).ok()?;
        count.await.ok()
    }
}
