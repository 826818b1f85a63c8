//! Whose fault a refusal is. The receiver is asked for another line: the last that it took, which says nothing of what it takes now, or
//! one that follows. It takes that, and still not the first: so it is the line. It takes none: so it is the receiver, and nothing is
//! passed over.

use super::Exporter;
use crate::export::deliver::{Failed, Taken};
use crate::export::record::{Record, Source};
use tokio_util::sync::CancellationToken;

/// What is known since a line was last taken in its turn.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// A line that the receiver took when it was asked.
    known: Option<Record>,
    /// How often another line was looked for: each time another one.
    turn: usize,
}

impl Probe {
    /// It has just taken this one.
    pub(super) fn knows(&mut self, taken: Option<&Record>) {
        self.known = taken.cloned();
    }
}

impl<S: Source> Exporter<S> {
    /// Whether the receiver takes another line than the one that it refused, and then refuses that one again; `None` if it was stopped.
    /// What is taken here comes twice.
    pub(super) async fn refuses_only_this(
        &mut self,
        refused: &Record,
        stop: &CancellationToken,
    ) -> Option<bool> {
        let other = match self.probe.known.take() {
            Some(known) => Some(known),
            None => self.another(refused).await,
        };
        let Some(other) = other else { return Some(false) };
        let sent = self.sink.deliver(std::slice::from_ref(&other));
        match self.watch.over(stop, Some(refused.time), sent).await? {
            Ok(Taken { rejected: 0 }) => {}
            Ok(Taken { .. }) | Err(Failed::Refused { .. } | Failed::Later { .. }) => return Some(false),
        }
        self.backoff.reset();
        self.cursor.taken = Some(other.seq);
        self.probe.known = Some(other);
        // It may have been mended between the two.
        let again = self.sink.deliver(std::slice::from_ref(refused));
        match self.watch.over(stop, Some(refused.time), again).await? {
            Err(Failed::Refused { .. }) => Some(true),
            Ok(Taken { .. }) | Err(Failed::Later { .. }) => Some(false),
        }
    }

    /// In turn the last that was taken, since it may be gone or be refused by now, and those that follow.
    async fn another(&mut self, refused: &Record) -> Option<Record> {
        let form = self.sink.form();
        let turn = self.probe.turn;
        self.probe.turn = turn.wrapping_add(1);
        // A cursor that an earlier version left does not name it; then it is the one before the one that was passed over.
        let last = self.cursor.taken.or(self.cursor.seq.checked_sub(1)).filter(|last| *last > 0);
        if turn.is_multiple_of(2)
            && let Some(last) = last
            && let Ok(batch) = self.source.read(last - 1, form).await
            && let Some(again) = batch.records.into_iter().next().filter(|record| record.seq == last)
        {
            return Some(again);
        }
        let later = self.source.read(refused.seq, form).await.ok()?.records;
        let at = (turn / 2).checked_rem(later.len())?;
        later.into_iter().nth(at)
    }
}
