//! The worker of one export: reads on from the cursor, hands over, moves the cursor. It decides when, and what becomes of a refusal.

mod lag;
mod probe;

use self::lag::Lag;
use self::probe::Probe;
use super::cursor::{Cursor, CursorFile};
use super::deliver::{Failed, Less, SetupError, Sink, Taken};
use super::record::{Head, MOST_RECORDS, Record, Source};
use crate::config::ExportConfig;
use crate::model::{ExportName, Time};
use crate::runtime::backoff::Backoff;
use crate::runtime::clock::wall;
use crate::runtime::metrics::ExportMetrics;
use parking_lot::Mutex;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a log at its end is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// After so many broken connections, less one for each batch that was taken, the receiver gets less at once.
const BREAKS: u32 = 3;
/// How often the lag is told while something takes long.
const TELL: Duration = Duration::from_secs(1);

/// What is told of an export while it works.
struct Watch {
    metrics: ExportMetrics,
    head: Head,
    confirmed: AtomicU64,
    lag: Mutex<Lag>,
}

impl Watch {
    /// Tells how far the receiver is behind; `oldest` is when the first line that it lacks was written, if one is known.
    fn tell(&self, oldest: Option<Time>) {
        let (head, confirmed) = ((self.head)(), self.confirmed.load(Ordering::Relaxed));
        let behind = head.saturating_sub(confirmed);
        self.metrics.lag_lines.set(i64::try_from(behind).unwrap_or(i64::MAX));
        let waited = self.lag.lock().at(wall(), head, confirmed, oldest).as_secs();
        self.metrics.lag_seconds.set(i64::try_from(waited).unwrap_or(i64::MAX));
    }

    /// The output of `work`, unless it was stopped first.
    async fn over<T>(
        &self,
        stop: &CancellationToken,
        oldest: Option<Time>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                done = &mut work => return Some(done),
                () = tokio::time::sleep(TELL) => self.tell(oldest),
            }
        }
    }
}

/// One export of one log.
pub struct Exporter<S> {
    name: ExportName,
    source: S,
    sink: Sink,
    file: CursorFile,
    cursor: Cursor,
    watch: Watch,
    backoff: Backoff,
    /// So many records at once: fewer while a receiver refuses, to find the one that it does not take.
    most: usize,
    /// Since when the receiver has been failing.
    failing: bool,
    /// How often the connection broke, without the batches that were taken since.
    breaks: u32,
    probe: Probe,
}

impl<S: Source> Exporter<S> {
    /// The export of the log at `log`, from where it was left.
    ///
    /// # Errors
    /// [`SetupError`], when a file that the configuration names cannot be used.
    pub fn new(
        config: &ExportConfig,
        log: &Path,
        source: S,
        metrics: ExportMetrics,
    ) -> Result<Self, SetupError> {
        let failed = |source| SetupError { name: config.name.to_string(), source };
        let sink = Sink::new(config, source.origin(), source.host()).map_err(failed)?;
        let file = CursorFile::of(log, &config.name, source.generation());
        let mut cursor = file.load();
        let head = source.head();
        if cursor.seq > head() {
            tracing::error!(export = %config.name, cursor = cursor.seq, head = head(), "the log is shorter than what was exported of it; everything that it holds is exported again");
            cursor = Cursor::default();
            // Whoever removes old files must not take it for what this log confirmed.
            if let Err(error) = file.store(cursor) {
                tracing::error!(export = %config.name, %error, "the cursor of an export cannot be stored");
            }
        }
        let (name, backoff) = (config.name.clone(), Backoff::default());
        let confirmed = AtomicU64::new(cursor.seq);
        let watch = Watch { metrics, head, confirmed, lag: Mutex::default() };
        let (most, failing, breaks, probe) = (MOST_RECORDS, false, 0, Probe::default());
        Ok(Self { name, source, sink, file, cursor, watch, backoff, most, failing, breaks, probe })
    }

    /// Works until it is stopped. What was sent and not confirmed by then is sent again after the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let read = self.source.read(self.cursor.seq, self.sink.form()).await;
            if stop.is_cancelled() {
                return;
            }
            let batch = match read {
                Ok(batch) => batch,
                Err(error) => {
                    self.watch.tell(None);
                    self.failed(&format!("the log cannot be read: {error}"));
                    let pause = self.pause(None);
                    if self.watch.over(&stop, None, tokio::time::sleep(pause)).await.is_none() {
                        return;
                    }
                    continue;
                }
            };
            if batch.lost > 0 {
                self.watch.metrics.lost.inc_by(batch.lost);
                tracing::error!(export = %self.name, lines = batch.lost, after = self.cursor.seq, "lines are gone that were not exported: their files were removed or are damaged");
            }
            if batch.to == self.cursor.seq {
                self.watch.tell(None);
                if self.watch.over(&stop, None, tokio::time::sleep(LOOK)).await.is_none() {
                    return;
                }
                continue;
            }
            if self.hand_over(&batch.records, &stop).await.is_none() {
                return;
            }
            self.move_to(Cursor { seq: batch.to, ..self.cursor });
        }
    }

    /// Until all of them are taken or passed over; `None` if it was stopped.
    async fn hand_over(&mut self, mut records: &[Record], stop: &CancellationToken) -> Option<()> {
        while let Some(first) = records.first() {
            let oldest = first.time;
            let (now, later) = records.split_at(records.len().min(self.most));
            self.watch.tell(Some(oldest));
            match self.watch.over(stop, Some(oldest), self.sink.deliver(now)).await? {
                Ok(Taken { rejected }) => {
                    self.worked(now.len(), rejected);
                    if rejected == 0 {
                        // Whoever refuses the next is asked for this one, which has not to be read again.
                        self.probe.knows(now.last());
                    }
                    if let Some(last) = now.last() {
                        let taken = if rejected == 0 { Some(last.seq) } else { self.cursor.taken };
                        self.move_to(Cursor { seq: last.seq, taken, ..self.cursor });
                    }
                    records = later;
                }
                Err(Failed::Refused { why }) if now.len() > 1 => {
                    tracing::warn!(export = %self.name, why, lines = now.len(), "a receiver refused lines; looking for the one that it does not take");
                    self.watch.metrics.failures.inc();
                    self.most = now.len().div_ceil(2);
                }
                Err(failed) => {
                    let (why, after, less) = match failed {
                        Failed::Later { why, after, less } => (why, after, less),
                        Failed::Refused { why } => {
                            if self.refuses_only_this(first, stop).await? {
                                self.pass_over(first.seq, &why);
                                records = records.get(1..).unwrap_or_default();
                                continue;
                            }
                            (why, None, Less::No)
                        }
                    };
                    if self.should_send_less(less) {
                        // It may have taken them all the same, and gets them again: fewer, so that it comes further.
                        self.most = now.len().div_ceil(2);
                    }
                    self.failed(&why);
                    let pause = self.pause(after);
                    self.watch.over(stop, Some(oldest), tokio::time::sleep(pause)).await?;
                }
            }
        }
        Some(())
    }

    fn pass_over(&mut self, seq: u64, why: &str) {
        tracing::error!(export = %self.name, why, seq, "a receiver refused this line and takes others; it is passed over and stays in the log");
        self.watch.metrics.refused.inc();
        self.move_to(Cursor { seq, refused: Some(seq), ..self.cursor });
    }

    fn should_send_less(&mut self, less: Less) -> bool {
        match less {
            Less::No => false,
            Less::Yes => true,
            Less::Perhaps => {
                self.breaks = self.breaks.saturating_add(1).min(BREAKS);
                self.breaks == BREAKS
            }
        }
    }

    fn worked(&mut self, lines: usize, rejected: u64) {
        self.backoff.reset();
        self.probe = Probe::default();
        // Not forgotten at once: as `most` grows again it breaks again, and that is then known the sooner.
        self.breaks = self.breaks.saturating_sub(1);
        self.most = self.most.saturating_mul(2).min(MOST_RECORDS);
        self.watch.metrics.lines.inc_by((lines as u64).saturating_sub(rejected));
        self.watch.metrics.refused.inc_by(rejected);
        if std::mem::take(&mut self.failing) {
            tracing::info!(export = %self.name, "a receiver takes lines again");
        }
    }

    /// Begin and end are logged; between them the metrics tell.
    fn failed(&mut self, why: &str) {
        self.watch.metrics.failures.inc();
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(export = %self.name, why, "an export failed; nothing is lost while the log is kept, it is tried again and again");
        }
    }

    fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let mut jitter = [0; 4];
        // Without random numbers all wait the longest.
        let jitter = getrandom::fill(&mut jitter).map_or(u32::MAX, |()| u32::from_ne_bytes(jitter));
        self.backoff.next(jitter, asked)
    }

    /// If it cannot be kept, what follows is sent once more after a restart.
    fn move_to(&mut self, cursor: Cursor) {
        if cursor == self.cursor {
            return;
        }
        self.cursor = cursor;
        self.watch.confirmed.store(cursor.seq, Ordering::Relaxed);
        if let Err(error) = self.file.store(cursor) {
            tracing::error!(export = %self.name, %error, "the cursor of an export cannot be written; lines are sent again after a restart");
        }
    }
}

#[cfg(test)]
mod tests;
