//! The end of the log in memory, so that followers need not read back what was just written. Bounded by what the events name.

use crate::control::log::Recorded;
use crate::model::Revision;
use std::collections::VecDeque;

/// Events and grants that are kept.
const KEPT: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Recent {
    events: VecDeque<Recorded>,
    weight: usize,
}

impl Recent {
    /// Adds the next event.
    pub(super) fn push(&mut self, recorded: Recorded) {
        if self.events.back().is_some_and(|last| last.revision.next() != recorded.revision) {
            self.events.clear();
            self.weight = 0;
        }
        self.weight = self.weight.saturating_add(weight(&recorded));
        self.events.push_back(recorded);
        while self.weight > KEPT {
            let Some(oldest) = self.events.pop_front() else { break };
            self.weight = self.weight.saturating_sub(weight(&oldest));
        }
    }

    /// Up to `limit` events after a revision, if they are all here.
    pub(super) fn read(&self, after: Revision, limit: usize) -> Option<Vec<Recorded>> {
        let first = self.events.front()?.revision;
        let skip = after.next().0.checked_sub(first.0)?;
        let skip = usize::try_from(skip).ok()?;
        Some(self.events.iter().skip(skip).take(limit).cloned().collect())
    }
}

fn weight(recorded: &Recorded) -> usize {
    let body = &recorded.event.body;
    let ended = body.ended().map_or(0, |(grants, _)| grants.len());
    body.issued().len().saturating_add(ended).saturating_add(1)
}
