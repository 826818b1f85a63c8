//! Reads a proxy's trail on from a position, over its active, rotated and compressed files, up to what a checkpoint vouches for.

use super::record::{Batch, Form, Head, MOST_BYTES, MOST_RECORDS, Record, Source};
use super::request;
use crate::audit::segments::{self, Lines};
use crate::notary::Latest;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A file that cannot be read is tried so often before its lines count as lost.
const TRIES: u32 = 8;

/// A trail that is exported.
pub struct TrailSource {
    trail: PathBuf,
    proxy: String,
    origin: String,
    vouched: Head,
    stop: CancellationToken,
    open: Option<Open>,
    /// How often in a row reading failed, and at which file.
    failed: (u32, Option<u64>),
}

/// A file that is being read.
struct Open {
    lines: Lines,
    /// The number that the next line must have.
    expected: u64,
    /// A line that was read already, and its number.
    held: Option<(u64, Vec<u8>)>,
    /// The last line of the file, if it is written to no more.
    last: Option<u64>,
}

impl TrailSource {
    /// The trail at `trail`, written by this process, as far as its checkpoints go. Reading ends early when `stop` is cancelled.
    #[must_use]
    pub fn new(trail: &Path, proxy: &str, latest: &Arc<Latest>, stop: CancellationToken) -> Self {
        let (origin, latest) = (latest.key().name().to_owned(), Arc::clone(latest));
        let vouched = Arc::new(move || latest.size());
        Self::with(trail, proxy, origin, vouched, stop)
    }

    fn with(trail: &Path, proxy: &str, origin: String, vouched: Head, stop: CancellationToken) -> Self {
        let (trail, proxy) = (trail.to_owned(), proxy.to_owned());
        Self { trail, proxy, origin, vouched, stop, open: None, failed: (0, None) }
    }

    /// The file that holds the first line after `after` that is left, at that line; `None` if there is no such line yet.
    fn seek(&self, after: u64) -> io::Result<Option<Open>> {
        for segment in segments::list(&self.trail)? {
            if segment.last().is_some_and(|last| last <= after) {
                continue;
            }
            let (lines, last) = (segment.open()?, segment.last());
            let mut open = Open { lines, expected: after + 1, held: None, last };
            while let Some((seq, line)) = open.take()? {
                if seq > after {
                    open.held = Some((seq, line));
                    return Ok(Some(open));
                }
                if self.stop.is_cancelled() {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn read_on(&mut self, batch: &mut Batch, form: Form) -> io::Result<()> {
        let vouched = (self.vouched)();
        let mut bytes = 0;
        while batch.to < vouched && batch.records.len() < MOST_RECORDS && bytes < MOST_BYTES {
            let next = batch.to + 1;
            let mut open = match self.open.take() {
                Some(open) if open.expected == next => open,
                Some(_) | None => match self.seek(batch.to)? {
                    Some(open) => open,
                    None => break,
                },
            };
            let Some((seq, line)) = open.take()? else {
                // Its lines are read; those that follow are in another file.
                match self.seek(batch.to)? {
                    Some(further) => self.open = Some(Open { expected: next, ..further }),
                    None => break,
                }
                continue;
            };
            if seq > vouched || self.stop.is_cancelled() {
                open.held = Some((seq, line));
                self.open = Some(open);
                break;
            }
            if seq >= next {
                batch.lost += seq - next;
                bytes += line.len();
                batch.records.extend(self.record(seq, line, form, &mut batch.lost));
                batch.to = seq;
            }
            open.expected = batch.to + 1;
            self.open = Some(open);
        }
        Ok(())
    }

    fn record(&self, seq: u64, line: Vec<u8>, form: Form, lost: &mut u64) -> Option<Record> {
        let record =
            String::from_utf8(line).ok().and_then(|line| request::record(seq, line, form, &self.origin));
        if record.is_none() {
            *lost += 1;
            tracing::error!(seq, path = %self.trail.display(), "a line of the audit trail is damaged and not exported: `jitgate audit verify` shows how");
        }
        record
    }

    /// What to make of a failure: a rotated file whose content stays unreadable must not end the export. What the system refuses, it may
    /// give later: nothing is given up for that.
    fn gave_up(&mut self, error: &io::Error, after: u64) -> Option<Batch> {
        if error.raw_os_error().is_some() && error.kind() != io::ErrorKind::NotFound {
            return None;
        }
        let last = segments::list(&self.trail)
            .ok()?
            .iter()
            .filter_map(segments::Segment::last)
            .find(|last| *last > after)?;
        let tries = if self.failed.1 == Some(last) { self.failed.0 + 1 } else { 1 };
        self.failed = (tries, Some(last));
        (tries >= TRIES).then(|| Batch { to: last, lost: last - after, records: Vec::new() })
    }
}

impl Open {
    /// The next line that has a number; what has none is no line of a trail. Nor is what has one beyond the file's end: its number is
    /// damaged, and whoever waited for a checkpoint over it would wait for ever.
    fn take(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        while let Some(line) = self.lines.line()? {
            if let Some(seq) = segments::seq(line).filter(|seq| self.last.is_none_or(|last| *seq <= last)) {
                return Ok(Some((seq, line.to_vec())));
            }
        }
        Ok(None)
    }
}

impl Source for TrailSource {
    async fn read(&mut self, after: u64, form: Form) -> io::Result<Batch> {
        let mut batch = Batch { to: after, ..Batch::default() };
        match self.read_on(&mut batch, form) {
            Ok(()) => {
                if batch.to > after {
                    self.failed = (0, None);
                }
                Ok(batch)
            }
            // What was read before it is good.
            Err(_) if batch.to > after => {
                self.open = None;
                Ok(batch)
            }
            Err(error) => {
                self.open = None;
                match self.gave_up(&error, after) {
                    Some(batch) => {
                        tracing::error!(%error, path = %self.trail.display(), "a file of the audit trail cannot be read; its lines are not exported");
                        Ok(batch)
                    }
                    None => Err(error),
                }
            }
        }
    }

    fn head(&self) -> Head {
        Arc::clone(&self.vouched)
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    fn host(&self) -> &str {
        &self.proxy
    }
}

#[cfg(test)]
mod tests;
