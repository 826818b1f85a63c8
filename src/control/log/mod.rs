//! The event log: the single source of truth of the control plane. Everything else is a view of it.
//!
//! Owns the contract that each backend keeps (`tests/store` holds them to it):
//! - revisions are consecutive from 1; an append is atomic, and only succeeds if the log's head is the one that was expected;
//! - an append that was acknowledged survives `kill -9` and power loss;
//! - a reader never sees part of an append;
//! - beside the events it keeps the newest head of each proxy's audit trail, which replaces the one before and has no revision.
//!
//! Refuses to know what events mean.

pub mod memory;
pub mod sqlite;

use crate::model::event::Event;
use crate::model::shown::escaped_json;
use crate::model::{Epoch, KeptTrail, LogId, Revision};
use crate::tlog::Hash;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// An event and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its position.
    pub revision: Revision,
    /// What happened.
    pub event: Arc<Event>,
}

/// Which log this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Random, made with the log.
    pub log: LogId,
    /// Raised by one when a backup was restored.
    pub epoch: Epoch,
}

/// Why an append did not happen.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first: nothing was written. Read on from there and decide again.
    #[error("the log has moved on to revision {head}")]
    Conflict {
        /// The head that was found.
        head: Revision,
    },
    /// The log could not be written. Whether the events are in it is unknown: read before deciding anything else.
    #[error("the event log cannot be written")]
    Log(#[source] LogError),
}

/// What is wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process has it open.
    #[error("`{path}` is in use by another process: stop the other control plane or choose another `store`")]
    InUse {
        /// The file.
        path: String,
    },
    /// Written by a later version.
    #[error("`{path}` has schema version {found}, this version knows {known}: run the version that wrote it")]
    NewerSchema {
        /// The file.
        path: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Not a log of ours, or damaged.
    #[error("`{path}` is not a readable event log ({problem}): restore it from a backup or move it away")]
    Broken {
        /// The file.
        path: String,
        /// What was found.
        problem: String,
    },
    /// One entry cannot be read.
    #[error("the event at revision {revision} cannot be read: it was damaged or written by a later version")]
    Event {
        /// Which.
        revision: Revision,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file operation failed.
    #[error("cannot open `{path}`")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// A head that is kept beside the events cannot be read.
    #[error(
        "what is kept of the audit trail of `{proxy}` cannot be read: it was damaged or written by a later version"
    )]
    Trail {
        /// Of which proxy.
        proxy: String,
    },
    /// An event could not be written as JSON; a defect of ours.
    #[error("an event cannot be encoded")]
    Encode(#[source] serde_json::Error),
    /// Its events contradict each other.
    #[error("the event log contradicts itself")]
    Contradiction(#[source] crate::control::state::ApplyError),
    /// The backend has been closed or its thread is gone.
    #[error("the event log is closed")]
    Closed,
}

/// An event as a log keeps it: JSON, with everything escaped that a terminal acts on, for this is what is handed out byte for byte. What
/// earlier versions wrote may hold such characters as they are.
fn encoded(event: &Event) -> Result<String, LogError> {
    let text = serde_json::to_string(event).map_err(LogError::Encode)?;
    // Nearly all is plain, and a bulk call makes some 40 MB of it.
    let plain = text.is_ascii() && memchr::memchr(0x7f, text.as_bytes()).is_none();
    Ok(if plain { text } else { escaped_json(&text) })
}

/// An append-only log with optimistic concurrency. Shaped so that several processes may share one (PostgreSQL).
///
/// Time: the writer reads the clock for a decision only after all earlier appends are over, and a head that is confirmed to a
/// proxy is read after all appends of what takes something away that were decided before. A backend with several writers has to
/// order these two as well. `head` must not wait for a large append: proxies live by it.
pub trait EventLog: Send + Sync + 'static {
    /// Which log this is.
    fn identity(&self) -> Identity;

    /// The revision of the last durable event, as the log itself knows it; an append that is not over need not be in it.
    fn head(&self) -> BoxFuture<'_, Result<Revision, LogError>>;

    /// Up to `limit` events after `after`, in order, without gaps; fewer where they are large, none only at the end.
    fn read(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<Recorded>, LogError>>;

    /// The same events as the log holds them: JSON, the leaves of its Merkle tree.
    fn entries(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<String>, LogError>>;

    /// Their hashes. A log that knows them already need not read them.
    fn leaves(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<Hash>, LogError>> {
        async move {
            let entries = self.entries(after, limit).await?;
            Ok(entries.iter().map(|entry| Hash::leaf(entry.as_bytes())).collect())
        }
        .boxed()
    }

    /// Appends all events or none; returns the revision of the last one. Durable when it returns.
    fn append(
        &self,
        expected: Revision,
        events: Vec<Arc<Event>>,
    ) -> BoxFuture<'_, Result<Revision, AppendError>>;

    /// Keeps these, each in the place of what was kept of its proxy; all or none. Durable when it returns. A backend of several processes has
    /// to let each read what the others kept before it judges a proxy's next one.
    fn keep_trails(&self, trails: Vec<KeptTrail>) -> BoxFuture<'_, Result<(), LogError>>;

    /// What is kept, one of each proxy.
    fn kept_trails(&self) -> BoxFuture<'_, Result<Vec<KeptTrail>, LogError>>;
}
