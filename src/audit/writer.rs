//! The one writer of a trail. Takes queued lines, writes them, keeps space secured ahead of them, and rotates.
//!
//! [`Writer::tick`] does all that is due and is told the time; the thread around it only waits. A line leaves memory when the kernel
//! has all of it. While the trail cannot be written, room is withdrawn, so that requests are refused, and everything that was
//! promised a place is kept and tried again; the promises bound the memory.

use super::batch::Batch;
use super::disk::{Active, CHUNK};
use super::proof::Prover;
use super::queue::{Queue, Shared, Stage};
use super::room::signed;
use super::settings::AuditError;
use super::trail::{LEAST_CHUNK, Trail};
use crate::model::Time;
use crate::runtime::clock::{Mono, wall};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod durable;
mod space;
mod summary;

/// What failed is tried again after this.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// A rotation that failed does not stop writing, so it can wait.
const RETRY_ROTATION_AFTER: Duration = Duration::from_secs(10);
/// Refusals without lines of their own are summarised this often.
const SUMMARY_EVERY: Duration = Duration::from_secs(5);
/// An outage that flickers makes no more than one summary line in this time.
const OUTAGE_EVERY: Duration = Duration::from_secs(1);
/// A stream has no disk to secure; this bounds what waits for its reader.
const STREAM_ROOM: u64 = 64 << 20;
/// A buffer that grew in an outage is not kept above this.
const KEEP_BUFFER: usize = 4 << 20;

/// Below this much room more is secured; with a bound, below half a chunk.
pub(super) const LOW_ROOM: i64 = CHUNK as i64 / 2;
/// Below this, small pieces of a nearly full disk are taken as well; above it the disk is left to others.
const LEAST_ROOM: i64 = 512 << 10;
/// Never promised to requests: for the line without which nothing can be removed.
const HELD: u64 = 4 << 10;

/// Where lines go.
#[derive(Debug)]
pub(super) enum Output {
    /// To files.
    Files {
        /// The active one.
        trail: Trail,
        /// Rotated at this size.
        rotate_bytes: u64,
        /// Rotated at this age.
        rotate_every: Option<Duration>,
    },
    /// To whoever reads our standard output.
    Stream(OwnedFd),
}

/// See the module's comment.
pub(super) struct Writer {
    shared: Arc<Shared>,
    output: Output,
    prover: Option<Prover>,
    batch: Batch,
    /// Whether room is published. See `room`.
    published: bool,
    /// So much of what is secured is not published.
    held: u64,
    /// Since when the trail cannot be written, and when to try again.
    failing: Option<(Mono, Mono)>,
    /// The last attempt to secure more space failed; what was secured before is still good.
    short: bool,
    /// Somebody was told that it is urgent.
    warned: bool,
    next_secure: Mono,
    next_rotation: Mono,
    next_summary: Mono,
    next_outage: Mono,
    /// Requests refused in the present outage when it was last looked at, and since when there were no more.
    refused: u64,
    quiet_since: Mono,
}

impl Writer {
    /// Secures the first room. On a full disk it begins without any: requests are refused until there is some, and files may go.
    pub(super) fn new(shared: Arc<Shared>, output: Output, now: Mono) -> Result<Self, AuditError> {
        let last = shared.queue.lock().seq;
        let mut writer = Self {
            shared,
            output,
            prover: None,
            batch: Batch { before: last, last, ..Batch::default() },
            published: false,
            held: 0,
            failing: None,
            short: false,
            warned: false,
            next_secure: now,
            next_rotation: now,
            next_summary: now.plus(SUMMARY_EVERY),
            next_outage: now,
            refused: 0,
            quiet_since: now,
        };
        match writer.publish() {
            Err(error) if error.is_full() => writer.fails(&error, now),
            done => done?,
        }
        Ok(writer)
    }

    /// The lock of the trail, for whoever else works on its files; `None` where there are none.
    pub(super) fn share_lock(&self) -> io::Result<Option<File>> {
        match &self.output {
            Output::Files { trail, .. } => trail.share_lock().map(Some),
            Output::Stream(_) => Ok(None),
        }
    }

    /// From now on each line written is a leaf of this tree.
    pub(super) fn prove_with(&mut self, prover: Option<Prover>) {
        self.prover = prover;
    }

    /// The thread: ticks until the sink is closed and nothing is owed.
    pub(super) fn run(mut self) {
        loop {
            self.shared.pace.wait();
            let stage = *self.shared.stage.lock();
            self.tick(wall(), Mono::now());
            match stage {
                Stage::Running => {}
                Stage::Closing if !self.is_done() => {}
                Stage::Closing | Stage::Abandoned | Stage::Stopped(_) => break,
            }
        }
        let left = self.unwritten();
        if let Output::Files { trail, .. } = &mut self.output {
            trail.trim();
            match (trail.sync(), &mut self.prover) {
                (Err(error), _) => {
                    tracing::error!(path = %trail.path().display(), %error, "the audit trail could not be synced");
                }
                // What it could not write it makes anew at the next start; it has said so.
                (Ok(()), Some(prover)) => drop(prover.sign(|| Ok(()))),
                (Ok(()), None) => {}
            }
        }
        self.shared.enter(Stage::Stopped(left));
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, wall: Time, now: Mono) {
        if self.failing.is_none_or(|(_, next_try)| now >= next_try) {
            match self.advance(wall, now) {
                Ok(()) => self.works(now),
                Err(error) => self.fails(&error, now),
            }
        }
        let unproved = self.prover.as_ref().is_some_and(Prover::is_failing);
        self.shared.short.store(self.short || unproved, Ordering::Relaxed);
        if let Output::Files { trail, .. } = &self.output {
            self.shared.disk.set_active(trail.end(), trail.room());
        }
        self.shared.metrics.audit_queue_length.set(signed(self.unwritten()));
    }

    /// Whether nothing is owed: after the sink was closed, no request holds a place and every line is written.
    pub(super) fn is_done(&self) -> bool {
        self.shared.room.is_empty_after_shut()
            && self.unwritten() == 0
            && self.shared.budget.lock().is_empty()
    }

    #[cfg(test)]
    pub(super) fn trail_for_tests(&mut self) -> &mut Trail {
        match &mut self.output {
            Output::Files { trail, .. } => trail,
            Output::Stream(_) => panic!("no file"),
        }
    }

    fn unwritten(&self) -> u64 {
        self.batch.lines.total() + self.shared.queue.lock().lines.total()
    }

    fn advance(&mut self, wall: Time, now: Mono) -> Result<(), AuditError> {
        self.find_file(wall)?;
        self.sync_again().map_err(|source| self.error(source))?;
        if self.published {
            self.record_removal(wall);
            self.summarise(wall, now);
        }
        self.write(wall).map_err(|source| self.error(source))?;
        self.prove(now).map_err(|source| self.error(source))?;
        if self.published {
            self.secure(now);
            self.rotate(wall, now);
            Ok(())
        } else {
            self.publish()
        }
    }

    /// Begins a new file if the active one was deleted or moved away.
    fn find_file(&mut self, wall: Time) -> Result<(), AuditError> {
        let Output::Files { trail, .. } = &mut self.output else { return Ok(()) };
        if trail.is_in_place().map_err(|source| AuditError::io(trail.path(), source))? {
            return Ok(());
        }
        self.withdraw();
        let (partial, last) = self.batch.partial();
        let Output::Files { trail, .. } = &mut self.output else { return Ok(()) };
        trail.replace(u64::try_from(partial).unwrap_or(0), last, wall)?;
        tracing::warn!(path = %trail.path().display(), "the audit file was moved or deleted; a new one was begun");
        // The new file gets that line from its start.
        self.batch.done -= partial;
        self.batch.earlier = self.batch.done;
        self.shared.room.change(-signed(partial));
        Ok(())
    }

    fn write(&mut self, wall: Time) -> io::Result<()> {
        loop {
            if self.batch.rest().is_empty() {
                let synced = self.settle_waiting()?;
                self.settle();
                // What has come meanwhile has woken us, and waits for others first.
                let paced = synced && !self.shared.pace.is_quiet();
                if paced && *self.shared.stage.lock() == Stage::Running || !self.take_batch() {
                    return Ok(());
                }
            }
            let written = match &mut self.output {
                Output::Files { trail, .. } => trail.write(self.batch.rest(), wall),
                Output::Stream(fd) => rustix::io::write(fd, self.batch.rest()).map_err(io::Error::from),
            };
            match written {
                Ok(written) => {
                    self.batch.done += written;
                    // Claims shrink by it; published room in a file shrinks as well, so there nothing changes.
                    if !self.published || matches!(self.output, Output::Stream(_)) {
                        self.shared.room.change(signed(written));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Signs a checkpoint over what was written, if it is time to.
    fn prove(&mut self, now: Mono) -> io::Result<()> {
        match (&mut self.prover, &mut self.output) {
            (Some(prover), Output::Files { trail, .. }) => prover.tick(now, || trail.sync()),
            (Some(_), Output::Stream(_)) | (None, _) => Ok(()),
        }
    }

    /// Settles the batch that is written.
    fn settle(&mut self) {
        if let Some(prover) = &mut self.prover {
            prover.add(&self.batch.bytes);
        }
        self.batch.lines.count(&self.shared.metrics);
        self.shared.room.free_places(usize::try_from(self.batch.lines.total()).unwrap_or(usize::MAX));
        self.shared.open.store(self.batch.floor, Ordering::Relaxed);
        let mut bytes = std::mem::take(&mut self.batch.bytes);
        bytes.clear();
        bytes.shrink_to(KEEP_BUFFER);
        let (before, floor, last) = (self.batch.last, self.batch.floor, self.batch.last);
        self.batch = Batch { bytes, before, floor, last, ..Batch::default() };
    }

    /// Takes what is queued; `false` if that is nothing.
    fn take_batch(&mut self) -> bool {
        let buffer = std::mem::take(&mut self.batch.bytes);
        let mut queue = self.shared.queue.lock();
        let Queue { bytes, lines, seq, waiting, open } = &mut *queue;
        self.batch = Batch {
            bytes: std::mem::replace(bytes, buffer),
            done: 0,
            earlier: 0,
            lines: std::mem::take(lines),
            waiting: std::mem::take(waiting),
            before: self.batch.last,
            floor: open.first().copied().unwrap_or(*seq + 1),
            last: *seq,
        };
        !self.batch.bytes.is_empty()
    }

    fn rotate(&mut self, wall: Time, now: Mono) {
        let Output::Files { trail, rotate_bytes, rotate_every } = &mut self.output else { return };
        if now < self.next_rotation || !trail.is_due(*rotate_bytes, *rotate_every, wall) {
            return;
        }
        if let Some(prover) = &mut self.prover {
            // The old file is not synced again.
            if prover.sign(|| trail.sync()).is_err() || !prover.is_current() {
                tracing::warn!(path = %trail.path().display(), "the audit file is not rotated before its checkpoint is written");
                self.next_rotation = now.plus(RETRY_ROTATION_AFTER);
                return;
            }
        }
        let disk = &self.shared.disk;
        let (before, end, lines) = (trail.room(), trail.end(), self.batch.last);
        let more = disk.more(Active { end, room: before, lines });
        let wanted = disk.chunk().min(before.saturating_add(more)).max(before);
        // At least as much as before: whatever is claimed meanwhile is claimed of that.
        match trail.rotate((lines, self.batch.floor), (wanted, before), wall) {
            Ok(()) => {
                disk.rotated(end);
                self.shared.room.change(signed(trail.room()) - signed(before));
            }
            Err(error) => {
                tracing::warn!(path = %trail.path().display(), %error, "the audit file could not be rotated; it grows on");
                self.next_rotation = now.plus(RETRY_ROTATION_AFTER);
            }
        }
    }

    fn works(&mut self, now: Mono) {
        if let Some((since, _)) = self.failing.take() {
            let seconds = now.since(since).as_secs_f64();
            tracing::info!(seconds, "the audit trail is written again");
        }
    }

    fn fails(&mut self, error: &AuditError, now: Mono) {
        self.withdraw();
        self.refuse_waiting();
        let since = self.failing.map(|(since, _)| since);
        if since.is_none() {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "the audit trail cannot be written: requests are refused until it can");
        }
        self.failing = Some((since.unwrap_or(now), now.plus(RETRY_AFTER)));
    }

    fn error(&self, source: io::Error) -> AuditError {
        match &self.output {
            Output::Files { trail, .. } => AuditError::io(trail.path(), source),
            Output::Stream(_) => AuditError::io("standard output".as_ref(), source),
        }
    }
}
