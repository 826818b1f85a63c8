//! Lines that stand for many: of refusals, and of outages that are over.

use super::{OUTAGE_EVERY, SUMMARY_EVERY, Writer};
use crate::audit::line::{self, Summary};
use crate::audit::queue::{RemovalLine, Shared, Stage, Tied};
use crate::audit::record::Kind;
use crate::model::Time;
use crate::runtime::clock::Mono;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Writer {
    /// Queues the line of a removal that is asked for.
    pub(super) fn record_removal(&mut self, wall: Time) {
        let shared = Arc::clone(&self.shared);
        let mut removal = shared.removal.lock();
        let RemovalLine::Wanted(removed) = *removal else { return };
        let mut text = Vec::with_capacity(1024);
        line::removal(&mut text, &shared.proxy, &removed, wall);
        let claimed = text.len() + 32;
        if shared.room.claim_summary(claimed).is_none() {
            self.give_up_held();
            if shared.room.claim_summary(claimed).is_none() {
                return;
            }
        }
        let (told, on_disk) = oneshot::channel();
        let tied = Tied { closes: None, waits: Some(told) };
        let seq = shared.push_for(tied, Kind::Summary, claimed, |out| out.extend_from_slice(&text));
        *removal = RemovalLine::Queued { seq, on_disk };
    }

    /// Queues summary lines: of refusals every few seconds, of an outage when it is over.
    pub(super) fn summarise(&mut self, wall: Time, now: Mono) {
        let closing = *self.shared.stage.lock() != Stage::Running;
        let shared = Arc::clone(&self.shared);
        let mut budget = shared.budget.lock();
        let refused = budget.refused();
        if refused != self.refused {
            (self.refused, self.quiet_since) = (refused, now);
        }
        // Room may come back only because lines were shorter than promised: then it takes a while without refusals.
        let quiet = shared.room.is_open() && now.since(self.quiet_since) >= OUTAGE_EVERY;
        let over = (!self.short || quiet) && shared.room.is_calm() && now >= self.next_outage;
        if (over || closing)
            && let Some(outage) = budget.take_outage()
        {
            self.next_outage = now.plus(OUTAGE_EVERY);
            if !queue_summary(&shared, &outage, wall) {
                budget.put_back_outage(&outage);
            }
        }
        if closing || now >= self.next_summary {
            self.next_summary = now.plus(SUMMARY_EVERY);
            budget.take_summaries(|summary| queue_summary(&shared, summary, wall));
        }
    }
}

fn queue_summary(shared: &Shared, summary: &Summary, wall: Time) -> bool {
    let mut text = Vec::with_capacity(512);
    line::summary(&mut text, &shared.proxy, summary, wall);
    // Its number and newline are not in `text` yet.
    let claimed = text.len() + 32;
    if shared.room.claim_summary(claimed).is_none() {
        return false;
    }
    shared.push(Kind::Summary, claimed, |out| out.extend_from_slice(&text));
    true
}
