//! Where lines go: one writer, a bounded queue, and room set aside before a request is admitted.
//!
//! A [`Claim`] is the promise of product law 7: a place in the queue *and* space on the disk. It is two atomic operations;
//! no caller ever waits for the disk. A request that gets no promise is refused, counted, and told of in one `summary` line when the
//! trail can be written again. Lines about refused requests and handshakes come out of a budget of their own.

use super::budget::Budget;
use super::disk::Disk;
use super::herald;
pub use super::keeper::Exported;
use super::keeper::{self, Keeper};
use super::line;
use super::pack::Packer;
use super::proof::Prover;
use super::queue::{Queue, Shared, Stage, Tied};
use super::record::{Handshake, Kind};
use super::recording::Recorder;
use super::room::Room;
pub use super::settings::{AuditConfig, AuditError, DenialBudget, Target};
use super::trail::Trail;
use super::unfinished;
use super::writer::{LOW_ROOM, Output, Writer};
use crate::config::RetentionConfig;
use crate::model::{AuditHealth, Time};
use crate::notary::Latest;
use crate::runtime::clock::{Mono, wall};
use crate::runtime::metrics::Metrics;
use parking_lot::{Condvar, Mutex};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// A sink that nobody closed gets this long to write what is left.
const DROP_DEADLINE: Duration = Duration::from_secs(2);
/// When every line is written, the thread that writes recordings has nothing left to do.
const STOP_RECORDER: Duration = Duration::from_secs(1);

/// The trail cannot take another line: refuse the request with `audit_unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail cannot be written; free space at its folder or check its disk")]
pub struct Unavailable;

/// Lines were left unwritten at shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit trail could not be written to its end before the deadline; `{lines}` lines or more are lost"
)]
pub struct CloseError {
    /// How many lines had been queued.
    pub lines: u64,
}

/// Ready when a line is on disk; an error when it will not be.
pub type OnDisk = oneshot::Receiver<()>;

/// The trail of one process.
pub struct AuditSink {
    shared: Arc<Shared>,
    latest: Option<Arc<Latest>>,
    recorder: Option<Recorder>,
    packer: Mutex<Option<Packer>>,
}

impl AuditSink {
    /// Opens or continues the trail and starts its writer.
    ///
    /// # Errors
    /// [`AuditError`] when it cannot be opened, locked or continued, or the disk is full.
    pub fn open(config: AuditConfig, metrics: Arc<Metrics>) -> Result<Arc<Self>, AuditError> {
        Self::open_exported(config, Box::new(|| None), metrics)
    }

    /// The same for a trail that is exported: no line is removed that an export has not confirmed.
    ///
    /// # Errors
    /// [`AuditError`], as for [`Self::open`].
    pub fn open_exported(
        config: AuditConfig,
        exported: Exported,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, AuditError> {
        let path = match &config.target {
            Target::File(path) => path.clone(),
            Target::Stdout => "standard output".into(),
        };
        let recording = config.recording.clone();
        let (compress, is_file) = (config.compress, matches!(config.target, Target::File(_)));
        let (retention, followed) = (config.retention, config.followed);
        let (mut sink, writer) = Self::with_writer(config, Arc::clone(&metrics), wall(), Mono::now())?;
        let clock = || (Arc::clone(&sink.shared.clock), followed);
        let recorder = recording.map(|config| Recorder::open(&config, clock(), metrics)).transpose()?;
        sink.recorder = recorder;
        if is_file {
            let keeper = sink.keeper(&path, (retention, exported, followed));
            let packer =
                writer.share_lock().and_then(|lock| Packer::start(path.clone(), compress, keeper, lock));
            let packer = packer.map_err(|source| AuditError::io(&path, source))?;
            sink.packer = Mutex::new(Some(packer));
        }
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run())
            .map_err(|source| AuditError::io(&path, source))?;
        // Set once, here; a wake-up before that would only have been early.
        sink.shared.pace.sets(thread.thread());
        Ok(Arc::new(sink))
    }

    /// Who keeps the files of the trail at `path`.
    pub(super) fn keeper(&self, path: &Path, rules: (RetentionConfig, Exported, bool)) -> Keeper {
        Keeper::new(path, Arc::clone(&self.shared), self.latest.clone(), rules)
    }

    /// The sink and its writer, which the caller drives.
    pub(super) fn with_writer(
        config: AuditConfig,
        metrics: Arc<Metrics>,
        wall: Time,
        now: Mono,
    ) -> Result<(Self, Writer), AuditError> {
        let mut prover = None;
        let (output, seq) = match &config.target {
            Target::File(path) => {
                let (mut trail, last) = Trail::open(path, wall)?;
                if let Some(origin) = &config.origin {
                    prover = Some(Prover::open(path, origin, last)?);
                }
                let last = close_unfinished(&mut trail, prover.as_mut(), last, wall)?;
                let AuditConfig { rotate_bytes, rotate_every, .. } = config;
                (Output::Files { trail, rotate_bytes, rotate_every }, last)
            }
            Target::Stdout => {
                let stdout = io::stdout().as_fd().try_clone_to_owned();
                (
                    Output::Stream(
                        stdout.map_err(|source| AuditError::io("standard output".as_ref(), source))?,
                    ),
                    0,
                )
            }
        };
        let others = match &config.target {
            Target::File(path) => keeper::others(path).map_err(|source| AuditError::io(path, source))?,
            Target::Stdout => 0,
        };
        let (mut sink, mut writer) = Self::with_output(&config, output, (seq, others), metrics, now)?;
        sink.latest = prover.as_ref().map(Prover::latest);
        writer.prove_with(prover);
        Ok((sink, writer))
    }

    pub(super) fn with_output(
        config: &AuditConfig,
        output: Output,
        (seq, others): (u64, u64),
        metrics: Arc<Metrics>,
        now: Mono,
    ) -> Result<(Self, Writer), AuditError> {
        let disk = Disk::new(config.retention, config.rotate_bytes, config.compress);
        disk.counted(others, 0);
        let shared = Arc::new(Shared {
            proxy: line::proxy(config.proxy.as_str()),
            name: config.proxy.clone(),
            room: Room::new(config.queue_lines),
            queue: Mutex::new(Queue { seq, ..Queue::default() }),
            budget: Mutex::new(Budget::new(config.denials)),
            stage: Mutex::new(Stage::Running),
            stage_changed: Condvar::new(),
            metrics,
            pace: Arc::default(),
            short: AtomicBool::new(false),
            disk,
            open: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            clock: Arc::default(),
            removal: Mutex::default(),
        });
        let writer = Writer::new(Arc::clone(&shared), output, now)?;
        Ok((Self { shared, latest: None, recorder: None, packer: Mutex::new(None) }, writer))
    }

    /// Sets aside a place and space for one line of at most `bytes` bytes. A refusal has been counted.
    pub(super) fn claim(&self, bytes: usize) -> Result<Claim, Unavailable> {
        let Some(left) = self.shared.room.claim(bytes) else {
            self.shared.metrics.audit_failures.inc();
            self.shared.budget.lock().count_outage(wall());
            self.shared.pace.wake();
            return Err(Unavailable);
        };
        if left.0 < LOW_ROOM / 2 {
            self.shared.pace.wake();
        }
        Ok(Claim { bytes })
    }

    /// Queues the line that the claim was for; returns its number.
    pub(super) fn write(&self, claim: &Claim, kind: Kind, line: impl FnOnce(&mut Vec<u8>)) -> u64 {
        self.shared.push(kind, claim.bytes, line)
    }

    /// Queues the `end` line of a request, which may have an `admit` line.
    pub(super) fn close_request(&self, claim: &Claim, admit: Option<u64>, line: impl FnOnce(&mut Vec<u8>)) {
        self.shared.push_for(Tied { closes: admit, waits: None }, Kind::End, claim.bytes, line);
    }

    /// Queues a line; its number, and what is ready when it is on disk, and fails when it will not be.
    pub(super) fn write_awaited(
        &self,
        claim: &Claim,
        kind: Kind,
        line: impl FnOnce(&mut Vec<u8>),
    ) -> (u64, OnDisk) {
        let (told, on_disk) = oneshot::channel();
        let tied = Tied { closes: None, waits: Some(told) };
        (self.shared.push_for(tied, kind, claim.bytes, line), on_disk)
    }

    /// Runs on each thread that serves requests, as long as it does: so that those who wait there for the disk are told together.
    /// Without it each is told alone.
    pub fn herald(&self) -> impl Future<Output = Infallible> + use<> {
        herald::run_for(Arc::clone(&self.shared.pace))
    }

    /// A handshake was refused: one line, or one more of a summary.
    pub fn handshake(&self, refused: &Handshake) {
        let now = wall();
        let write = |out: &mut Vec<u8>| line::handshake(out, self.proxy(), refused, now);
        self.refusal(Kind::Handshake, refused.source.ip(), refused.reason, now, line::HANDSHAKE_LEN, write);
    }

    /// A refusal: one line of at most `bytes` if the budget and the room allow it, or one more of a summary.
    pub(super) fn refusal(
        &self,
        kind: Kind,
        source: IpAddr,
        reason: &'static str,
        now: Time,
        bytes: usize,
        line: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut budget = self.shared.budget.lock();
        if budget.spend(source, Mono::now()) && self.shared.room.claim_spare(bytes).is_some() {
            drop(budget);
            self.shared.push(kind, bytes, line);
        } else {
            budget.count(kind, source, reason, now);
        }
    }

    /// Whether requests can be admitted, for readiness.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.shared.room.is_open()
    }

    /// The latest checkpoint of the trail's tree, and its key; `None` where there is no tree.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&Arc<Latest>> {
        self.latest.as_ref()
    }

    /// The control plane has said that it keeps a checkpoint over so many lines. More than there are are of a trail that was here before.
    pub fn acknowledged(&self, lines: u64) {
        let vouched = self.latest.as_ref().map_or(0, |latest| latest.size());
        let lines = if lines > vouched { 0 } else { lines };
        self.shared.acknowledged.store(lines, Ordering::Relaxed);
    }

    /// The control plane has said what time it is: old files are judged by that.
    pub fn control_time(&self, time: Time, asked: Mono) {
        self.shared.clock.set(time, asked);
    }

    #[cfg(test)]
    pub(super) fn disk_for_tests(&self) -> (&Disk, u64) {
        (&self.shared.disk, self.shared.queue.lock().seq)
    }

    /// How the trail is, and the recordings, for whoever can do something about it.
    #[must_use]
    pub fn health(&self) -> AuditHealth {
        let recordings = self.recorder.as_ref().map_or(AuditHealth::Good, Recorder::health);
        let short = self.shared.short.load(Ordering::Relaxed) || self.shared.disk.is_low();
        if !self.is_available() || recordings == AuditHealth::Unwritable {
            AuditHealth::Unwritable
        } else if short || recordings == AuditHealth::LowSpace {
            AuditHealth::LowSpace
        } else {
            AuditHealth::Good
        }
    }

    /// How often an external witness has signed for other lines than the trail has, since this process started.
    #[must_use]
    pub fn witness_disputes(&self) -> u32 {
        self.latest.as_ref().map_or(0, |latest| latest.disputes())
    }

    /// Admits nobody any more, waits for the lines of those who were, writes what is left and stops the writer. Blocks; call it
    /// when all requests have ended.
    ///
    /// # Errors
    /// [`CloseError`] when lines are left at the deadline.
    pub fn close(&self, deadline: Duration) -> Result<(), CloseError> {
        if let Some(recorder) = &self.recorder {
            recorder.close();
        }
        let began = Mono::now();
        // What it has not done is done after the next start. Lines that wait are more urgent.
        if let Some(packer) = self.packer.lock().take() {
            packer.stop(deadline / 4);
        }
        let closed = self.close_trail(deadline.saturating_sub(Mono::now().since(began)));
        if let Some(recorder) = &self.recorder {
            recorder.stop(STOP_RECORDER);
        }
        closed
    }

    fn close_trail(&self, deadline: Duration) -> Result<(), CloseError> {
        let mut stage = self.shared.stage.lock();
        if *stage == Stage::Running {
            self.shared.room.shut();
            *stage = Stage::Closing;
            self.shared.pace.wake();
        }
        let stopped = |stage: &mut Stage| !matches!(stage, Stage::Stopped(_));
        let late = self.shared.stage_changed.wait_while_for(&mut stage, stopped, deadline).timed_out();
        match *stage {
            Stage::Stopped(0) => Ok(()),
            Stage::Stopped(lines) => Err(CloseError { lines }),
            Stage::Running | Stage::Closing | Stage::Abandoned => {
                debug_assert!(late, "only a deadline ends the wait before the writer has stopped");
                *stage = Stage::Abandoned;
                drop(stage);
                Err(CloseError { lines: self.shared.queue.lock().lines.total() })
            }
        }
    }

    /// Whoever writes recordings, where that is configured.
    pub(super) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// The name in each line.
    pub(super) fn name(&self) -> &str {
        self.shared.name.as_str()
    }

    pub(super) fn proxy(&self) -> &[u8] {
        &self.shared.proxy
    }
}

/// Closes what was open when the trail was last written, and signs for what is there. Returns the number of the last line.
fn close_unfinished(
    trail: &mut Trail,
    prover: Option<&mut Prover>,
    last: u64,
    now: Time,
) -> Result<u64, AuditError> {
    let path = trail.path().to_owned();
    let failed = |source| AuditError::io(&path, source);
    let (lines, count) = unfinished::closing(&path, trail.floor(), last, now).map_err(failed)?;
    if count > 0 {
        trail.append(&lines, now).map_err(failed)?;
        tracing::warn!(path = %path.display(), requests = count,
            "requests were open when this proxy last ended: their `end` lines say `unknown`");
    }
    if let Some(prover) = prover {
        prover.add(&lines);
        prover.sign(|| trail.sync()).map_err(failed)?;
    }
    Ok(last + count)
}

impl Drop for AuditSink {
    fn drop(&mut self) {
        // Without a thread (in tests that drive the writer) there is nobody to wait for.
        if self.shared.pace.has_writer()
            && let Err(error) = self.close(DROP_DEADLINE)
        {
            tracing::error!(%error, "the audit trail was closed in a hurry");
        }
    }
}

/// Room for one line. It is owed: only [`AuditSink::write`] gives it back, when the line is on its way.
#[derive(Debug)]
pub(super) struct Claim {
    bytes: usize,
}
