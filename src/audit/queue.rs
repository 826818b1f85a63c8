//! The lines that wait for the writer, and what requests and the writer share.
//!
//! Owns the order of lines: a line gets its number when it is queued, under the same lock, so that numbers have no gaps and follow
//! the order of the file. Refuses to know the disk: nothing here waits for it.

use super::budget::Budget;
use super::clock::Clock;
use super::disk::Disk;
use super::herald::Waiting;
use super::line;
use super::pace::{self, Pace};
use super::record::Kind;
use super::removal::Removed;
use super::room::Room;
use crate::model::ProxyName;
use crate::runtime::metrics::Metrics;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use tokio::sync::oneshot;

/// So many queued bytes wake the writer before its time.
const WAKE_BYTES: usize = 256 << 10;

/// Complete lines in order, and how many of each kind.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Lines,
    /// The number of the last line that was queued.
    pub(super) seq: u64,
    /// The numbers of the `admit` lines whose requests have not ended.
    pub(super) open: BTreeSet<u64>,
    /// Who waits until a line of these is on disk.
    pub(super) waiting: Vec<Waiting>,
}

/// What depends on a line.
#[derive(Debug, Default)]
pub(super) struct Tied {
    /// The number of the `admit` line whose request it ends.
    pub(super) closes: Option<u64>,
    /// Who waits until it is on disk.
    pub(super) waits: Option<oneshot::Sender<()>>,
}

/// How many lines of each kind.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Lines {
    admit: u32,
    end: u32,
    handshake: u32,
    summary: u32,
}

impl Lines {
    fn add(&mut self, kind: Kind) {
        let counter = match kind {
            Kind::Admit => &mut self.admit,
            Kind::End => &mut self.end,
            Kind::Handshake => &mut self.handshake,
            Kind::Summary => &mut self.summary,
        };
        *counter = counter.saturating_add(1);
    }

    pub(super) fn total(self) -> u64 {
        [self.admit, self.end, self.handshake, self.summary].into_iter().map(u64::from).sum()
    }

    pub(super) fn count(self, metrics: &Metrics) {
        let lines = &metrics.audit_lines;
        lines.admit.inc_by(self.admit.into());
        lines.end.inc_by(self.end.into());
        lines.handshake.inc_by(self.handshake.into());
        lines.summary.inc_by(self.summary.into());
    }
}

/// How far the end of the sink has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Lines are taken.
    Running,
    /// No request is admitted; the writer stops when nothing is owed any more.
    Closing,
    /// The writer stops now.
    Abandoned,
    /// The writer has stopped; what was left unwritten, in lines.
    Stopped(u64),
}

/// What requests and the writer share.
pub(super) struct Shared {
    pub(super) proxy: Vec<u8>,
    pub(super) name: ProxyName,
    pub(super) room: Room,
    pub(super) queue: Mutex<Queue>,
    pub(super) budget: Mutex<Budget>,
    pub(super) stage: Mutex<Stage>,
    pub(super) stage_changed: Condvar,
    pub(super) metrics: Arc<Metrics>,
    /// When the writer looks at what is queued.
    pub(super) pace: Arc<Pace>,
    /// No more space could be set aside when it was last tried, or no checkpoint be written.
    pub(super) short: AtomicBool,
    /// What the trail takes.
    pub(super) disk: Disk,
    /// Each request that was admitted before this line has ended in a line that is written; 0 at first.
    pub(super) open: AtomicU64,
    /// The control plane keeps a checkpoint over so many lines; 0 before it has said so.
    pub(super) acknowledged: AtomicU64,
    /// What time it is for what is old.
    pub(super) clock: Arc<Clock>,
    /// The line of a removal.
    pub(super) removal: Mutex<RemovalLine>,
}

/// A line that has to be written before files are removed: asked for by whoever removes them, written by the writer.
#[derive(Debug, Default)]
pub(super) enum RemovalLine {
    /// None is asked for.
    #[default]
    None,
    /// This one.
    Wanted(Removed),
    /// It is on its way.
    Queued {
        /// Its number.
        seq: u64,
        /// Ready when it is on disk.
        on_disk: oneshot::Receiver<()>,
    },
}

thread_local! {
    /// Lines are made outside the lock, in a buffer that each thread keeps.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Shared {
    /// Queues a line for which `claimed` bytes were claimed; returns its number.
    pub(super) fn push(&self, kind: Kind, claimed: usize, line: impl FnOnce(&mut Vec<u8>)) -> u64 {
        self.push_for(Tied::default(), kind, claimed, line)
    }

    /// The same for a line that others depend on.
    pub(super) fn push_for(
        &self,
        Tied { closes, waits }: Tied,
        kind: Kind,
        claimed: usize,
        make: impl FnOnce(&mut Vec<u8>),
    ) -> u64 {
        #[cfg(jitgate_bench_unaudited)]
        if super::unaudited::is_off() {
            self.room.settle(claimed, 0);
            self.room.free_places(1);
            return 0;
        }
        let (urgent, waits) = (waits.is_some(), waits.map(Waiting::here));
        // Not there any more while the thread ends; such a line makes its own buffer.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.clear();
        make(&mut scratch);
        let (used, queued, number_of_it) = {
            let mut queue = self.queue.lock();
            let Queue { bytes, lines, seq, waiting, open } = &mut *queue;
            let before = bytes.len();
            *seq += 1;
            line::numbered(bytes, *seq, &scratch);
            lines.add(kind);
            waiting.extend(waits);
            match kind {
                Kind::Admit => {
                    open.insert(*seq);
                }
                Kind::End | Kind::Handshake | Kind::Summary => {
                    if let Some(admit) = closes {
                        open.remove(&admit);
                    }
                }
            }
            (bytes.len() - before, bytes.len(), *seq)
        };
        debug_assert!(used <= claimed, "a line of {used} bytes had only {claimed}");
        self.room.settle(claimed, used);
        // At thread exit there is nowhere to keep it.
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
        if urgent {
            pace::added();
        }
        if urgent || queued >= WAKE_BYTES {
            self.pace.wake();
        }
        number_of_it
    }

    pub(super) fn enter(&self, stage: Stage) {
        *self.stage.lock() = stage;
        self.stage_changed.notify_all();
    }
}
