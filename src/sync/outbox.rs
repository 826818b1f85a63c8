//! What the control plane has to be told and has not been seen to know: acknowledgements and usage. A stream may break with either
//! still under way; whatever was sent before ping `n` has arrived when pong `n` is there, the rest is sent again.
//!
//! Bounded: acknowledgements that pile up are merged (the later revision, the sum of the streams), usage is one total a grant.

use crate::model::{GrantId, Revision};
use crate::wire::message::{Ack, GrantUsage, Up};
use std::collections::{BTreeMap, VecDeque};

/// Most cuts under way, and most acknowledgements without an answer, that are kept apart.
const KEPT: usize = 1_024;
/// Most grants whose usage waits for an answer.
const KEPT_USAGE: usize = 200_000;
/// Usage entries in one message.
const USAGE_IN_MESSAGE: usize = 8_192;

/// Names one change of the table, until everything that it ended is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutTicket(u64);

#[cfg(test)]
impl CutTicket {
    /// The first ticket of a replica.
    pub(super) fn first() -> Self {
        Self(1)
    }
}

/// A change of the table whose cut is not known to be over.
struct Cutting {
    last: CutTicket,
    /// What it allows to be acknowledged; `None` after the epoch that it belonged to.
    up_to: Option<Revision>,
    waiting: u32,
    streams_cut: u64,
    /// Whether somebody may wait for its acknowledgement; if not, it is told beside the next ping.
    urgent: bool,
}

/// How far something that was queued has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    No,
    Yes,
    BeforePing(u64),
}

/// Acknowledgements and usage on their way.
#[derive(Default)]
pub(super) struct Outbox {
    next_ticket: u64,
    cutting: VecDeque<Cutting>,
    acks: VecDeque<(Ack, Sent)>,
    quiet: Option<Revision>,
    /// The last that was ever due: said anew on each stream, since a control plane may forget what it has not logged.
    reached: Option<Revision>,
    usage: BTreeMap<GrantId, (GrantUsage, Option<u64>)>,
}

impl Outbox {
    /// A change to `up_to` is about to be applied.
    pub(super) fn begin(&mut self, up_to: Revision, urgent: bool) -> CutTicket {
        self.next_ticket = self.next_ticket.saturating_add(1);
        let ticket = CutTicket(self.next_ticket);
        let full = self.cutting.len() >= KEPT;
        match self.cutting.back_mut() {
            Some(back) if full => {
                back.last = ticket;
                back.up_to = Some(up_to);
                back.waiting = back.waiting.saturating_add(1);
                back.urgent |= urgent;
            }
            _ => self.cutting.push_back(Cutting {
                last: ticket,
                up_to: Some(up_to),
                waiting: 1,
                streams_cut: 0,
                urgent,
            }),
        }
        ticket
    }

    /// Everything that a change ended is gone. What may be acknowledged now is queued, in order: a later change that was faster
    /// waits for the earlier one.
    pub(super) fn done(&mut self, ticket: CutTicket, streams_cut: u64) {
        if let Some(cutting) = self.cutting.iter_mut().find(|cutting| cutting.last >= ticket) {
            cutting.waiting = cutting.waiting.saturating_sub(1);
            cutting.streams_cut = cutting.streams_cut.saturating_add(streams_cut);
        }
        while let Some(first) = self.cutting.pop_front_if(|first| first.waiting == 0) {
            let Some(revision) = first.up_to else { continue };
            self.reached = Some(revision);
            if first.urgent || first.streams_cut > 0 {
                self.push(Ack { revision, streams_cut: first.streams_cut });
            } else {
                self.quiet = Some(revision);
            }
        }
    }

    /// The table refused a change: it allows nothing to be acknowledged. The snapshot that must follow does.
    pub(super) fn refused(&mut self, ticket: CutTicket) {
        if let Some(cutting) = self.cutting.iter_mut().find(|cutting| cutting.last >= ticket) {
            cutting.up_to = None;
        }
        self.done(ticket, 0);
    }

    fn push(&mut self, ack: Ack) {
        self.quiet = None;
        let full = self.acks.len() >= KEPT;
        match self.acks.back_mut() {
            Some((last, sent)) if full => {
                *sent = Sent::No;
                last.revision = ack.revision;
                last.streams_cut = last.streams_cut.saturating_add(ack.streams_cut);
            }
            _ => self.acks.push_back((ack, Sent::No)),
        }
    }

    /// Keeps totals of use until they are known to have arrived.
    pub(super) fn used(&mut self, usage: Vec<GrantUsage>) {
        for entry in usage {
            if self.usage.len() < KEPT_USAGE || self.usage.contains_key(&entry.grant) {
                self.usage.insert(entry.grant, (entry, None));
            }
        }
    }

    /// The acknowledgements that have not been sent on this stream.
    pub(super) fn unsent(&mut self) -> impl Iterator<Item = Up> {
        self.acks.iter_mut().filter(|(_, sent)| *sent == Sent::No).map(|(ack, sent)| {
            *sent = Sent::Yes;
            Up::Ack(*ack)
        })
    }

    /// Everything that is to be sent before ping `n`.
    pub(super) fn before_ping(&mut self, n: u64) -> Vec<Up> {
        if let Some(revision) = self.quiet.take() {
            self.push(Ack { revision, streams_cut: 0 });
        }
        let mut messages: Vec<_> = self.unsent().collect();
        for (_, sent) in &mut self.acks {
            if *sent == Sent::Yes {
                *sent = Sent::BeforePing(n);
            }
        }
        let mut entries = Vec::new();
        for (entry, sent) in self.usage.values_mut().filter(|(_, sent)| sent.is_none()) {
            *sent = Some(n);
            entries.push(*entry);
        }
        messages.extend(entries.chunks(USAGE_IN_MESSAGE).map(|part| Up::Usage(part.to_vec())));
        messages
    }

    /// Pong `n` has come.
    pub(super) fn confirmed(&mut self, n: u64) {
        self.acks.retain(|(_, sent)| !matches!(sent, Sent::BeforePing(before) if *before <= n));
        self.usage.retain(|_, (_, sent)| sent.is_none_or(|before| before > n));
    }

    /// The stream is gone; what has no answer is to be sent again.
    pub(super) fn disconnected(&mut self) {
        self.acks.iter_mut().for_each(|(_, sent)| *sent = Sent::No);
        self.usage.values_mut().for_each(|(_, sent)| *sent = None);
        if self.acks.is_empty() {
            self.quiet = self.reached;
        }
    }

    /// A new epoch: revisions of the old one mean nothing any more. Its cuts still hold back later acknowledgements.
    pub(super) fn new_epoch(&mut self) {
        self.acks.clear();
        self.quiet = None;
        self.reached = None;
        self.cutting.iter_mut().for_each(|cutting| cutting.up_to = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revisions(messages: impl IntoIterator<Item = Up>) -> Vec<(u64, u64)> {
        let ack = |message| match message {
            Up::Ack(ack) => Some((ack.revision.0, ack.streams_cut)),
            Up::Hello(_)
            | Up::Ping { .. }
            | Up::Usage(_)
            | Up::ReserveUses { .. }
            | Up::Checkpoint(_)
            | Up::LogKept(_) => None,
        };
        messages.into_iter().filter_map(ack).collect()
    }

    #[test]
    fn a_fast_cut_waits_for_an_earlier_slow_one() {
        let mut outbox = Outbox::default();
        let (slow, fast) = (outbox.begin(Revision(5), true), outbox.begin(Revision(6), true));
        outbox.done(fast, 2);
        assert_eq!(revisions(outbox.unsent()), []);
        outbox.done(slow, 1);
        assert_eq!(revisions(outbox.unsent()), [(5, 1), (6, 2)]);
        assert_eq!(revisions(outbox.unsent()), []);
    }

    #[test]
    fn what_has_no_answer_is_sent_again() {
        let mut outbox = Outbox::default();
        let first = outbox.begin(Revision(5), true);
        outbox.done(first, 1);
        assert_eq!(revisions(outbox.before_ping(1)), [(5, 1)]);
        let second = outbox.begin(Revision(6), true);
        outbox.done(second, 0);
        assert_eq!(revisions(outbox.unsent()), [(6, 0)]);
        outbox.confirmed(1);
        outbox.disconnected();
        assert_eq!(revisions(outbox.unsent()), [(6, 0)], "5 had arrived before ping 1");
    }

    #[test]
    fn changes_that_end_nothing_are_told_beside_the_next_ping() {
        let mut outbox = Outbox::default();
        for revision in 1..=3 {
            let ticket = outbox.begin(Revision(revision), false);
            outbox.done(ticket, 0);
        }
        assert_eq!(revisions(outbox.unsent()), []);
        assert_eq!(revisions(outbox.before_ping(1)), [(3, 0)]);
    }

    #[test]
    fn a_new_epoch_forgets_the_revisions_but_still_waits_for_the_cuts() {
        let mut outbox = Outbox::default();
        let old = outbox.begin(Revision(500), true);
        outbox.new_epoch();
        let new = outbox.begin(Revision(3), true);
        outbox.done(new, 0);
        assert_eq!(revisions(outbox.unsent()), []);
        outbox.done(old, 4);
        assert_eq!(revisions(outbox.unsent()), [(3, 0)]);
    }

    #[test]
    fn cuts_that_pile_up_are_merged_and_nothing_is_acknowledged_early() {
        let mut outbox = Outbox::default();
        let tickets: Vec<_> = (1..=KEPT as u64 + 10).map(|r| outbox.begin(Revision(r), true)).collect();
        let (last, others) = tickets.split_last().unwrap();
        others.iter().for_each(|ticket| outbox.done(*ticket, 1));
        let acknowledged = revisions(outbox.unsent());
        assert_eq!(acknowledged.len(), KEPT - 1);
        outbox.done(*last, 1);
        assert_eq!(revisions(outbox.unsent()), [(KEPT as u64 + 10, 11)]);
    }

    #[test]
    fn usage_is_kept_until_it_has_arrived() {
        let usage = |bytes| GrantUsage { grant: GrantId::from_bits(1), requests: 1, bytes, running: 0 };
        let mut outbox = Outbox::default();
        outbox.used(vec![usage(10)]);
        assert_eq!(outbox.before_ping(1), [Up::Usage(vec![usage(10)])]);
        outbox.used(vec![usage(20)]);
        outbox.confirmed(1);
        assert_eq!(outbox.before_ping(2), [Up::Usage(vec![usage(20)])], "newer than what ping 1 confirms");
        assert_eq!(outbox.before_ping(3), []);
        outbox.disconnected();
        assert_eq!(outbox.before_ping(1), [Up::Usage(vec![usage(20)])]);
    }
}
