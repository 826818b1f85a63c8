//! What waits to be delivered to one receiver, as a pure state machine: the time and the jitter are arguments, effects come out.
//!
//! Invariants: at most [`MOST_WAITING`] wait and [`MOST_DEAD`] dead letters are kept; a message keeps its id and body over all
//! attempts; what was given up stays a dead letter until somebody sends it again or a newer one takes its place.

use crate::model::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most messages that wait for one receiver; after that the log itself is the queue.
pub const MOST_WAITING: usize = 1_000;
/// Most dead letters that are kept for one receiver.
pub const MOST_DEAD: usize = 1_000;
/// Attempts before a message is given up.
pub const ATTEMPTS: u32 = 10;
/// How old a message may grow before it is given up.
pub const OLDEST: Duration = Duration::from_secs(3 * 86_400);
/// The wait after the first attempt; each later one is four times as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);
/// A receiver's `Retry-After` is believed up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// One message on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// `webhook-id`: the same for all attempts, whatever happens in between.
    pub id: String,
    /// The `type` of the message.
    pub kind: String,
    /// What is sent, byte for byte.
    pub body: String,
    /// When it was made, control time; when it was last put back into the queue by an operator.
    pub since: Time,
    /// Attempts that failed.
    pub attempts: u32,
    /// When the next attempt is due; `None` of a dead letter.
    pub next: Option<Time>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The receiver has it.
    Delivered,
    /// It does not, and may later; it may have said when.
    Failed {
        /// Why; nothing of what the receiver said.
        why: String,
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// It said that it never will.
    Gone,
}

/// What the store is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Keep this, in place of what has the same id.
    Put(Delivery),
    /// Forget it.
    Remove(String),
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Attempt this.
    Send(Delivery),
    /// Nothing before then.
    Wait(Time),
    /// Nothing at all.
    Idle,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: BTreeMap<(Time, u64), Delivery>,
    dead: BTreeMap<u64, Delivery>,
    paused_until: Time,
    number: u64,
}

impl Queue {
    /// From what a store kept.
    #[must_use]
    pub fn new(kept: Vec<Delivery>) -> Self {
        let mut queue = Self::default();
        kept.into_iter().for_each(|delivery| queue.keep(delivery));
        queue
    }

    fn keep(&mut self, delivery: Delivery) {
        self.number = self.number.saturating_add(1);
        match delivery.next {
            Some(next) => self.waiting.insert((next, self.number), delivery),
            None => self.dead.insert(self.number, delivery),
        };
    }

    /// Whether more may be added.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.waiting.len() < MOST_WAITING
    }

    /// Adds what is new.
    pub fn add(&mut self, delivery: Delivery) {
        self.keep(delivery);
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What was given up, oldest first.
    pub fn dead(&self) -> impl ExactSizeIterator<Item = &Delivery> {
        self.dead.values()
    }

    /// What is to be done at `now`.
    #[must_use]
    pub fn next(&self, now: Time) -> Next {
        let Some(((due, _), delivery)) = self.waiting.first_key_value() else { return Next::Idle };
        let due = (*due).max(self.paused_until);
        if due <= now { Next::Send(delivery.clone()) } else { Next::Wait(due) }
    }

    /// An attempt is over. `jitter` spreads what would otherwise come back at once: from 0 to `u32::MAX`.
    #[must_use]
    pub fn finished(&mut self, id: &str, attempt: Attempt, now: Time, jitter: u32) -> Vec<Change> {
        let Some(key) = self.waiting.iter().find(|(_, delivery)| delivery.id == id).map(|(key, _)| *key)
        else {
            return Vec::new();
        };
        let Some(mut delivery) = self.waiting.remove(&key) else { return Vec::new() };
        let (why, retry_after) = match attempt {
            Attempt::Delivered => return vec![Change::Remove(delivery.id)],
            Attempt::Gone => (Some("the receiver answered 410".to_owned()), None),
            Attempt::Failed { why, retry_after } => {
                let gives_up =
                    delivery.attempts.saturating_add(1) >= ATTEMPTS || delivery.since.plus(OLDEST) <= now;
                let wait = wait(delivery.attempts, jitter);
                let pause = retry_after.map(|asked| asked.min(LONGEST_PAUSE));
                delivery.next = (!gives_up).then(|| now.plus(pause.map_or(wait, |pause| pause.max(wait))));
                delivery.attempts = delivery.attempts.saturating_add(1);
                delivery.failure = Some(why);
                (None, pause)
            }
        };
        if let Some(why) = why {
            delivery.attempts = delivery.attempts.saturating_add(1);
            (delivery.next, delivery.failure) = (None, Some(why));
        }
        if let Some(pause) = retry_after {
            // It asked to be left alone, not only with this message.
            self.paused_until = self.paused_until.max(now.plus(pause));
        }
        let mut changes = vec![Change::Put(delivery.clone())];
        self.keep(delivery);
        while self.dead.len() > MOST_DEAD {
            let Some((_, oldest)) = self.dead.pop_first() else { break };
            changes.push(Change::Remove(oldest.id));
        }
        changes
    }

    /// Puts dead letters back into the queue, as many as there is room for, with all their attempts before them.
    #[must_use]
    pub fn redeliver(&mut self, now: Time) -> Vec<Change> {
        let mut changes = Vec::new();
        while self.has_room()
            && let Some((_, mut delivery)) = self.dead.pop_first()
        {
            (delivery.attempts, delivery.next, delivery.since) = (0, Some(now), now);
            changes.push(Change::Put(delivery.clone()));
            self.keep(delivery);
        }
        changes
    }
}

/// How long to wait after this many failures before: half of it fixed, half of it by the jitter.
fn wait(failures: u32, jitter: u32) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(4_u32.saturating_pow(failures.min(16))).min(LONGEST_WAIT);
    let half = whole / 2;
    half.saturating_add(half.mul_f64(f64::from(jitter) / f64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn message(id: &str) -> Delivery {
        let (id, kind, body) = (id.to_owned(), "grant.revoked".to_owned(), "{}".to_owned());
        Delivery { id, kind, body, since: at(0), attempts: 0, next: Some(at(0)), failure: None }
    }

    fn failed(retry_after: Option<u64>) -> Attempt {
        Attempt::Failed { why: "no".into(), retry_after: retry_after.map(Duration::from_secs) }
    }

    fn sent(queue: &Queue, now: Time) -> String {
        match queue.next(now) {
            Next::Send(delivery) => delivery.id,
            other @ (Next::Wait(_) | Next::Idle) => panic!("{other:?}"),
        }
    }

    #[test]
    fn waits_longer_after_each_failure_and_gives_up_in_the_end() {
        let mut queue = Queue::new(vec![message("a")]);
        let mut now = at(0);
        let mut waits = Vec::new();
        for attempt in 1..=ATTEMPTS {
            assert_eq!(sent(&queue, now), "a");
            let changes = queue.finished("a", failed(None), now, u32::MAX);
            let [Change::Put(kept)] = &changes[..] else { panic!("{changes:?}") };
            assert_eq!(kept.attempts, attempt);
            match queue.next(now) {
                Next::Wait(next) => {
                    waits.push(next.since(now).as_secs());
                    now = next;
                }
                Next::Idle => assert_eq!((attempt, kept.next), (ATTEMPTS, None)),
                Next::Send(_) => panic!("at once"),
            }
        }
        assert_eq!(waits, [5, 20, 80, 320, 1_280, 5_120, 20_480, 21_600, 21_600]);
        assert_eq!((queue.waiting(), queue.dead().len()), (0, 1));
        // An operator sends it again, with the same id and body.
        assert_eq!(queue.redeliver(now).len(), 1);
        assert_eq!(sent(&queue, now), "a");
        assert_eq!(queue.finished("a", Attempt::Delivered, now, 0), [Change::Remove("a".into())]);
        assert_eq!((queue.next(now), queue.dead().len()), (Next::Idle, 0));
    }

    #[test]
    fn jitter_takes_at_most_half_of_a_wait() {
        assert_eq!(wait(0, 0), Duration::from_millis(2_500));
        assert_eq!(wait(0, u32::MAX), Duration::from_secs(5));
        assert_eq!(wait(u32::MAX, u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn a_message_that_fails_holds_up_no_other_and_an_old_one_is_given_up() {
        let mut queue = Queue::new(vec![message("a"), message("b")]);
        assert_eq!(sent(&queue, at(1)), "a");
        let _ = queue.finished("a", failed(None), at(1), 0);
        assert_eq!(sent(&queue, at(1)), "b");
        let late = at(0).plus(OLDEST);
        let _ = queue.finished("b", failed(None), late, 0);
        assert_eq!(queue.dead().map(|dead| dead.id.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn retry_after_pauses_the_receiver_within_a_bound() {
        let mut queue = Queue::new(vec![message("a"), message("b")]);
        let _ = queue.finished("a", failed(Some(60)), at(1), 0);
        assert_eq!(queue.next(at(1)), Next::Wait(at(61)));
        assert_eq!(sent(&queue, at(61)), "b");
        let _ = queue.finished("b", failed(Some(u64::MAX)), at(61), 0);
        assert_eq!(queue.next(at(61)), Next::Wait(at(61).plus(LONGEST_PAUSE)));
    }

    #[test]
    fn gone_is_given_up_at_once_and_dead_letters_are_bounded() {
        let mut queue = Queue::default();
        let mut removed = 0;
        for number in 0..MOST_DEAD + 5 {
            queue.add(message(&number.to_string()));
            let changes = queue.finished(&number.to_string(), Attempt::Gone, at(1), 0);
            removed += changes.iter().filter(|change| matches!(change, Change::Remove(_))).count();
        }
        assert_eq!((queue.dead().len(), removed), (MOST_DEAD, 5));
        assert_eq!(queue.redeliver(at(2)).len(), MOST_WAITING);
        assert!(!queue.has_room());
    }
}
