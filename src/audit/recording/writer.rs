//! The one thread that writes recordings, and the end lines that link them.
//!
//! [`Writer::tick`] does all that is due and is told the time; the thread around it only waits. While a recording cannot be written
//! nothing is allowed any more, and everything that was promised is kept and tried again.

use super::reel::{Reel, Stored};
use super::store::{RecordingError, Store, blocks};
use super::{Shared, Stage, document, most};
use crate::audit::age;
use crate::audit::clock::Clock;
use crate::audit::disk;
use crate::audit::line::{self, Ending};
use crate::audit::record::Facts;
use crate::audit::sink::{AuditSink, Claim};
use crate::config::RecordingConfig;
use crate::model::{AgeRecipient, AuditHealth, Time};
use crate::runtime::clock::{Mono, wall};
use crate::runtime::metrics::Metrics;
use aws_lc_rs::digest::{SHA256, digest};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What failed is tried again after this.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Files are counted this often; sooner where the total bound is reached.
const COUNT_EVERY: Duration = Duration::from_secs(60);
const COUNT_FULL_EVERY: Duration = Duration::from_secs(1);

/// A request that is over, and its end line, which waits for the recording.
pub(in crate::audit) struct Job {
    pub(in crate::audit) sink: Arc<AuditSink>,
    pub(in crate::audit) facts: Facts,
    pub(in crate::audit) reel: Box<Reel>,
    pub(in crate::audit) ending: Ending,
    pub(in crate::audit) claim: Claim,
}

/// What is left to be done with it.
struct Pending {
    job: Job,
    /// Encrypted.
    file: Vec<u8>,
}

/// See the module's comment.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// What says how old a recording is, and whether a control plane does.
    clock: (Arc<Clock>, bool),
    metrics: Arc<Metrics>,
    /// None while the folder is not there.
    store: Option<Store>,
    folder: PathBuf,
    recipients: Vec<AgeRecipient>,
    raw: bool,
    keep: Option<Duration>,
    max_body_bytes: usize,
    max_total_bytes: u64,
    max_in_flight: u64,
    pending: VecDeque<Pending>,
    /// When to try again what failed.
    failing: Option<Mono>,
    next_secure: Mono,
    next_count: Mono,
    /// Whether somebody was told that nothing can be recorded.
    told: bool,
    /// How the folder is.
    health: AuditHealth,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        config: &RecordingConfig,
        recipients: Vec<AgeRecipient>,
        (clock, metrics): ((Arc<Clock>, bool), Arc<Metrics>),
    ) -> Result<Self, RecordingError> {
        let mut writer = Self {
            shared,
            clock,
            metrics,
            store: Some(Store::open(&config.directory)?),
            folder: config.directory.clone(),
            recipients,
            raw: config.raw,
            keep: config.keep,
            max_body_bytes: config.max_body_bytes,
            max_total_bytes: config.max_total_bytes,
            max_in_flight: config.max_in_flight.into(),
            pending: VecDeque::new(),
            failing: None,
            next_secure: Mono::default(),
            next_count: Mono::default(),
            told: false,
            health: AuditHealth::Good,
        };
        writer.tick(wall(), Mono::now());
        Ok(writer)
    }

    /// The thread.
    pub(super) fn run(mut self) {
        loop {
            std::thread::park_timeout(LOOK_EVERY);
            let stage = *self.shared.stage.lock();
            self.tick(wall(), Mono::now());
            match stage {
                Stage::Running => {}
                Stage::Closing => self.give_up(),
                Stage::Stopping | Stage::Stopped => break,
            }
        }
        if let Some(store) = &mut self.store {
            store.trim();
        }
        *self.shared.stage.lock() = Stage::Stopped;
        // Whoever comes now is told so; these came before.
        self.seal_new();
        self.give_up();
        self.shared.stopped.notify_all();
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, wall: Time, now: Mono) {
        if self.failing.is_none_or(|next_try| now >= next_try) {
            self.failing = match self.advance(wall, now) {
                Ok(()) => None,
                Err(error) => {
                    self.allow(0, &error.to_string());
                    self.tell_low(false);
                    Some(now.plus(RETRY_AFTER))
                }
            };
        }
        self.seal_new();
    }

    fn advance(&mut self, wall: Time, now: Mono) -> io::Result<()> {
        if self.store.as_ref().is_some_and(|store| !store.is_in_place()) {
            self.store = None;
        }
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert(Store::open(&self.folder).map_err(io::Error::other)?),
        };
        let most = most(self.max_body_bytes);
        if now >= self.next_secure {
            self.next_secure = now.plus(RETRY_AFTER);
            // Less than wanted, or nothing more: what is set aside counts below.
            drop(store.secure(self.max_in_flight.saturating_mul(most), most));
        }
        if now >= self.next_count {
            let (clock, followed) = &self.clock;
            // Without a time none is old.
            let old = self.keep.zip(clock.judge(*followed, wall, now));
            store.count(old)?;
            let full = store.used.saturating_add(most) > self.max_total_bytes;
            self.next_count = now.plus(if full { COUNT_FULL_EVERY } else { COUNT_EVERY });
        }
        self.seal_new();
        while let Some(first) = self.pending.front() {
            self.put(&first.job.reel.file.clone())?;
            if let Some(done) = self.pending.pop_front() {
                // Before its claim is given back.
                self.publish();
                self.metrics.audit_recordings.inc();
                let sha256 = digest(&SHA256, &done.file).as_ref().try_into().ok();
                done.job.link(sha256);
            }
        }
        self.publish();
        Ok(())
    }

    /// Writes the first of those that wait; on a full disk in the space that was set aside for it.
    fn put(&mut self, name: &str) -> io::Result<()> {
        let (Some(store), Some(first)) = (&mut self.store, self.pending.front()) else { return Ok(()) };
        match store.put(name, &first.file) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                // Its own blocks, and those of its folder.
                store.release(blocks(first.file.len() as u64) + blocks(1));
                store.put(name, &first.file)
            }
            written => written,
        }
    }

    /// How many may be recorded now.
    fn publish(&mut self) {
        let Some(store) = &self.store else { return };
        let most = most(self.max_body_bytes);
        let on_disk = store.reserved() / most;
        let in_total = self.max_total_bytes.saturating_sub(store.used) / most;
        self.metrics.audit_recording_bytes.set(i64::try_from(store.used).unwrap_or(i64::MAX));
        let allowed = on_disk.min(in_total).min(self.max_in_flight);
        let why = if in_total == 0 { "`max_total_bytes` is reached" } else { "the disk has no space for it" };
        let low = self.is_low(store);
        self.allow(allowed, why);
        self.tell_low(low);
    }

    /// Whether the bound, or the file system, is nearly taken.
    fn is_low(&self, store: &Store) -> bool {
        let was = self.health == AuditHealth::LowSpace;
        let file_system = store.file_system();
        disk::is_low(store.used, self.max_total_bytes, was)
            || file_system.is_some_and(|(used, all)| disk::is_low(used, all, was))
    }

    fn tell_low(&mut self, low: bool) {
        let path = self.folder.display();
        let health = match (self.told, low) {
            (true, _) => AuditHealth::Unwritable,
            (false, true) => AuditHealth::LowSpace,
            (false, false) => AuditHealth::Good,
        };
        if health == AuditHealth::LowSpace && self.health == AuditHealth::Good {
            tracing::warn!(%path, "recordings take 80 % of `max_total_bytes`, or of their file system: when it is full, requests that must be recorded are refused");
        }
        self.health = health;
        *self.shared.health.lock() = health;
    }

    fn allow(&mut self, claims: u64, why_none: &str) {
        self.shared.room.allow(i64::try_from(claims).unwrap_or(i64::MAX));
        let path = self.folder.display();
        match (claims, self.told) {
            (0, false) => tracing::error!(%path, why = why_none,
                "nothing can be recorded: requests whose grant demands it are refused until it can"),
            (1.., true) => tracing::info!(%path, "requests can be recorded again"),
            (0, true) | (1.., false) => {}
        }
        self.told = claims == 0;
    }

    /// Redacts and encrypts what has come.
    fn seal_new(&mut self) {
        let new = std::mem::take(&mut *self.shared.queue.lock());
        for job in new {
            let proxy = job.sink.name();
            let end = job.ending.end;
            let plain = document::write(&job.facts, &job.reel, end, proxy, &self.shared.rules, self.raw);
            match age::seal(&self.recipients, &plain) {
                Ok(file) => self.pending.push_back(Pending { job, file }),
                Err(error) => {
                    // Only without random numbers.
                    tracing::error!(%error, "a recording could not be encrypted");
                    job.lost();
                }
            }
        }
    }

    /// The proxy ends: what could not be written is lost, and its line says so.
    fn give_up(&mut self) {
        let lost = self.pending.len();
        if lost > 0 {
            tracing::error!(lost, path = %self.folder.display(), "recordings could not be written before the end");
        }
        for pending in self.pending.drain(..) {
            pending.job.lost();
        }
    }
}

impl Job {
    /// Writes the end line of a recording that could not be written.
    pub(super) fn lost(self) {
        self.link(None);
    }

    fn link(self, sha256: Option<[u8; 32]>) {
        let Self { sink, mut facts, reel, ending, claim } = self;
        facts.stored = Some(Stored { file: reel.file.clone(), sha256 });
        sink.close_request(&claim, facts.admit, |out| {
            line::request(out, sink.proxy(), &facts, Some(&ending), wall())
        });
    }
}
