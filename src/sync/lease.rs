//! Pings asked and leases offered (law 6). A pong is an *offer*: it counts once the table has everything that took something away
//! before the ping was answered (the revision that the pong needs), and then from the time of asking. Whatever happened to the answer on its way only makes the lease shorter.

use crate::model::{Revision, Time};
use crate::runtime::clock::Mono;
use crate::wire::message::{LeaseLength, Pong};
use std::collections::VecDeque;
use std::marker::PhantomData;

/// Most pings without an answer, and most answers that wait for the revision that they need.
const KEPT: usize = 64;

/// Where a lease begins. There is one right answer, [`FromAsking`]; it is a parameter so that the simulation can show that it
/// finds a wrong one.
pub trait LeaseRule: Send + 'static {
    /// The beginning of a lease that was asked for and answered at these times.
    fn begins(asked: Mono, answered: Mono) -> Mono;
}

/// A lease begins when it was asked for: the head that the pong names was read after that.
#[derive(Debug, Clone, Copy)]
pub struct FromAsking;

impl LeaseRule for FromAsking {
    fn begins(asked: Mono, _answered: Mono) -> Mono {
        asked
    }
}

/// A lease that may be enforced under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) control_time: Time,
    pub(super) asked: Mono,
    pub(super) until: Mono,
}

struct Offer {
    needed: Revision,
    granted: Granted,
}

/// The pings of one connection.
pub(super) struct Leases<R> {
    last_n: u64,
    asked: VecDeque<(u64, Mono)>,
    offers: VecDeque<Offer>,
    rule: PhantomData<R>,
}

impl<R: LeaseRule> Leases<R> {
    pub(super) fn new() -> Self {
        Self { last_n: 0, asked: VecDeque::new(), offers: VecDeque::new(), rule: PhantomData }
    }

    /// The number of the next ping, which is sent now.
    pub(super) fn ask(&mut self, now: Mono) -> u64 {
        self.last_n = self.last_n.saturating_add(1);
        if self.asked.len() >= KEPT {
            self.asked.pop_front();
        }
        self.asked.push_back((self.last_n, now));
        self.last_n
    }

    /// When the oldest ping that has no answer was sent.
    pub(super) fn oldest(&self) -> Option<Mono> {
        self.asked.front().map(|(_, asked)| *asked)
    }

    /// Takes an answer in; one to a ping that was not sent, or was answered, is worth nothing.
    pub(super) fn answer(&mut self, pong: &Pong, now: Mono) {
        while let Some((n, asked)) = self.asked.front().copied() {
            if n > pong.n {
                return;
            }
            self.asked.pop_front();
            if n == pong.n {
                self.offer(pong, asked, R::begins(asked, now));
            }
        }
    }

    fn offer(&mut self, pong: &Pong, asked: Mono, begins: Mono) {
        if self.offers.len() >= KEPT {
            self.offers.pop_front();
        }
        let granted =
            Granted { control_time: pong.control_time, asked, until: begins.plus(pong.lease.get()) };
        self.offers.push_back(Offer { needed: pong.needed, granted });
    }

    /// The longest lease that a table at `revision` is entitled to, if there is a new one.
    pub(super) fn take(&mut self, revision: Revision) -> Option<Granted> {
        let mut best: Option<Granted> = None;
        self.offers.retain(|offer| {
            let due = offer.needed <= revision;
            if due && best.is_none_or(|best| best.until < offer.granted.until) {
                best = Some(offer.granted);
            }
            !due
        });
        best
    }
}

/// How often a lease of this length is renewed.
pub(super) fn ping_every(lease: LeaseLength) -> std::time::Duration {
    lease.get() / 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use std::time::Duration;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    fn pong(n: u64, needed: u64) -> Pong {
        Pong {
            n,
            head: Revision(needed + 100),
            needed: Revision(needed),
            control_time: Time::from_micros(1),
            lease: LeaseLength::DEFAULT,
            digest_revision: Revision(0),
            digest: Digest::default(),
        }
    }

    #[test]
    fn begins_at_asking_however_late_the_answer() {
        let mut leases = Leases::<FromAsking>::new();
        let n = leases.ask(at(100));
        leases.answer(&pong(n, 5), at(114));
        let granted = leases.take(Revision(5)).unwrap();
        assert_eq!((granted.asked, granted.until), (at(100), at(100).plus(Duration::from_secs(15))));
    }

    #[test]
    fn counts_only_once_what_it_needs_is_applied() {
        let mut leases = Leases::<FromAsking>::new();
        let (first, second) = (leases.ask(at(1)), leases.ask(at(2)));
        leases.answer(&pong(first, 5), at(3));
        leases.answer(&pong(second, 7), at(3));
        assert_eq!(leases.take(Revision(4)), None);
        assert_eq!(leases.take(Revision(6)).unwrap().asked, at(1));
        assert_eq!(leases.take(Revision(6)), None);
        assert_eq!(leases.take(Revision(8)).unwrap().asked, at(2));
    }

    #[test]
    fn an_answer_to_no_ping_of_ours_is_worth_nothing() {
        let mut leases = Leases::<FromAsking>::new();
        leases.answer(&pong(1, 0), at(1));
        let n = leases.ask(at(1));
        leases.answer(&pong(n + 1, 0), at(1));
        assert_eq!(leases.take(Revision(9)), None, "an unknown number, and it swallowed the ping before it");
        let n = leases.ask(at(2));
        leases.answer(&pong(n, 0), at(3));
        leases.answer(&pong(n, 0), at(4));
        assert!(leases.take(Revision(9)).is_some());
        assert_eq!(leases.take(Revision(9)), None);
    }
}
