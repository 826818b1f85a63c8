//! Recordings: what a request and its response said, for grants that demand it (levels `arguments` and `full`).
//!
//! A request that must be recorded carries a [`Reel`] from its admission on, for which space is set aside: no reel, no access. Its end
//! line is written by the one thread of [`writer`], after the recording is in its file; the line carries the file's digest.
//! Order of that thread's work: take out secrets ([`super::redact`]), encrypt ([`super::age`]), write, link.
//!
//! Invariants: what is in a file was redacted before; nothing waits for the disk but that thread; memory, files and their number are
//! bounded; a request at level `metadata` costs one branch.

mod document;
mod reel;
mod room;
mod store;
mod tape;
mod writer;

#[cfg(test)]
mod tests;

pub use store::RecordingError;
pub(crate) use tape::Tape;

pub(super) use reel::{Reel, Stored};
pub(super) use writer::Job;

use super::clock::Clock;
use super::redact::Rules;
use crate::config::{RecipientSource, RecordingConfig};
use crate::identity::keyfile::{self, Secrecy};
use crate::model::age;
use crate::model::{AgeRecipient, AuditHealth};
use crate::runtime::metrics::Metrics;
use parking_lot::{Condvar, Mutex};
use room::Room;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

/// Space that a recording takes beside its bodies.
const BESIDE_BODIES: usize = 48 * 1024;
/// Most of a query that is kept.
const QUERY: usize = 8 * 1024;

/// Where requests get their reels and leave them.
pub(super) struct Recorder {
    shared: Arc<Shared>,
}

/// What requests and the thread share.
struct Shared {
    room: Arc<Room>,
    max_body_bytes: usize,
    rules: Rules,
    queue: Mutex<VecDeque<Job>>,
    stage: Mutex<Stage>,
    health: Mutex<AuditHealth>,
    stopped: Condvar,
    writer: OnceLock<Thread>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    /// What cannot be written now is given up.
    Closing,
    /// The thread is to end.
    Stopping,
    /// It has: nobody takes what comes now.
    Stopped,
}

impl Recorder {
    /// Opens the folder and starts the thread. `clock`: what says how old a recording is, and whether a control plane does.
    ///
    /// # Errors
    /// [`RecordingError`] when there is no key, or the folder cannot be used. A lack of space is none: it closes the gate to those
    /// who must be recorded, until there is some.
    pub(super) fn open(
        config: &RecordingConfig,
        clock: (Arc<Clock>, bool),
        metrics: Arc<Metrics>,
    ) -> Result<Self, RecordingError> {
        let (recorder, writer) = Self::with_writer(config, clock, metrics)?;
        let thread = std::thread::Builder::new()
            .name("recording".into())
            .spawn(move || writer.run())
            .map_err(|source| RecordingError::io(&config.directory, source))?;
        // Set once, here; a wake-up before that would only have been early.
        let _ = recorder.shared.writer.set(thread.thread().clone());
        Ok(recorder)
    }

    /// The recorder and its writer, which the caller drives.
    fn with_writer(
        config: &RecordingConfig,
        clock: (Arc<Clock>, bool),
        metrics: Arc<Metrics>,
    ) -> Result<(Self, writer::Writer), RecordingError> {
        let shared = Arc::new(Shared {
            room: Arc::default(),
            max_body_bytes: config.max_body_bytes,
            rules: Rules::new(&config.redact),
            queue: Mutex::default(),
            stage: Mutex::new(Stage::Running),
            health: Mutex::new(AuditHealth::Good),
            stopped: Condvar::new(),
            writer: OnceLock::new(),
        });
        let writer = writer::Writer::new(
            Arc::clone(&shared),
            config,
            recipients(&config.recipient)?,
            (clock, metrics),
        )?;
        Ok((Self { shared }, writer))
    }

    /// Sets space aside for one request. `None`: it cannot be recorded and must be refused.
    pub(super) fn claim(&self) -> Option<room::Claim> {
        let claim = room::claim(&self.shared.room);
        if claim.is_none() {
            self.shared.wake();
        }
        claim
    }

    /// Whether recordings can be written: `Unwritable` where nobody can be recorded any more.
    pub(super) fn health(&self) -> AuditHealth {
        *self.shared.health.lock()
    }

    /// Of each body so much is kept.
    pub(super) fn max_body_bytes(&self) -> usize {
        self.shared.max_body_bytes
    }

    /// A name that a caller gave, as it may be in the trail.
    pub(super) fn clean_name<'t>(&self, name: &'t str) -> Cow<'t, str> {
        self.shared.rules.clean_name(name)
    }

    /// A request is over. Never waits for the disk, and never fails: its place was claimed.
    pub(super) fn take(&self, job: Job) {
        {
            let stage = self.shared.stage.lock();
            if *stage != Stage::Stopped {
                self.shared.queue.lock().push_back(job);
                self.shared.wake();
                return;
            }
        }
        job.lost();
    }

    /// No request is admitted any more: what cannot be written is given up from now on, so that nobody waits for its line.
    pub(super) fn close(&self) {
        self.enter(Stage::Closing);
    }

    /// Ends the thread, and waits for that.
    pub(super) fn stop(&self, deadline: Duration) {
        self.enter(Stage::Stopping);
        // The last request may end on that very thread.
        if self.shared.writer.get().is_none_or(|thread| thread.id() == std::thread::current().id()) {
            return;
        }
        let mut stage = self.shared.stage.lock();
        self.shared.stopped.wait_while_for(&mut stage, |stage| *stage != Stage::Stopped, deadline);
    }

    fn enter(&self, next: Stage) {
        let mut stage = self.shared.stage.lock();
        *stage = (*stage).max(next);
        self.shared.wake();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.enter(Stage::Stopping);
    }
}

impl Shared {
    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

/// The keys that a configuration names.
///
/// # Errors
/// [`RecordingError::Recipient`].
pub fn recipients(source: &RecipientSource) -> Result<Vec<AgeRecipient>, RecordingError> {
    match source {
        RecipientSource::Key(key) => Ok(vec![*key]),
        RecipientSource::File(path) => {
            let failed = |why: String| RecordingError::Recipient { path: path.clone(), why };
            let bytes = keyfile::read(path, Secrecy::Public).map_err(|error| {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                failed(format!("{error}{}", source.unwrap_or_default()))
            })?;
            age::recipients(&String::from_utf8_lossy(&bytes)).map_err(|error| failed(error.to_string()))
        }
    }
}

/// The most that a recording takes on the disk.
fn most(max_body_bytes: usize) -> u64 {
    // Two bodies; in JSON each is at most twice as long, what is longer is cut.
    (4 * max_body_bytes + BESIDE_BODIES) as u64
}
