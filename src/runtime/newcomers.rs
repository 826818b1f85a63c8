//! Connections of which nobody knows yet whose they are: how many may be shaking hands at once, in all and from one address.
//!
//! Opening a socket costs a stranger nothing, so that it must take nothing that a caller with a certificate needs. Invariants: a
//! newcomer has no place among the connections; whoever is fast, as everybody is who means it, finds room as long as its
//! address does; where there is none, one that has taken longer than [`GRACE`] makes room for the next. `now` is an argument.

use crate::runtime::clock::Mono;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a handshake is left alone, however many wait: many times what it takes.
pub const GRACE: Duration = Duration::from_secs(1);

/// Everybody who is shaking hands.
#[derive(Debug)]
pub struct Newcomers {
    all: usize,
    each: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By when they came.
    all: BTreeMap<u64, Waits>,
    by_network: HashMap<IpAddr, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Waits {
    network: IpAddr,
    since: Mono,
    end: CancellationToken,
}

impl Newcomers {
    /// At most so many in `all`, and `each` from one address (IPv6: one /64, which one host has for itself).
    #[must_use]
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, waiting: Mutex::default() })
    }

    /// Takes one more in, or not.
    #[must_use]
    pub fn enter(self: &Arc<Self>, source: IpAddr, now: Mono) -> Option<Newcomer> {
        let network = network(source);
        let mut waiting = self.waiting.lock();
        let of_network = waiting.by_network.get(&network);
        let oldest = if of_network.is_some_and(|own| own.len() >= self.each) {
            Some(of_network.and_then(|own| own.first()).copied())
        } else if waiting.all.len() >= self.all {
            Some(waiting.all.first_key_value().map(|(number, _)| *number))
        } else {
            None
        };
        if let Some(oldest) = oldest {
            let oldest = oldest?;
            if now.since(waiting.all.get(&oldest)?.since) < GRACE {
                return None;
            }
            waiting.leave(oldest)?.end.cancel();
        }
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        let end = CancellationToken::new();
        waiting.by_network.entry(network).or_default().insert(number);
        waiting.all.insert(number, Waits { network, since: now, end: end.clone() });
        Some(Newcomer { number, end, newcomers: Arc::clone(self) })
    }
}

impl Waiting {
    fn leave(&mut self, number: u64) -> Option<Waits> {
        let left = self.all.remove(&number)?;
        if let Some(own) = self.by_network.get_mut(&left.network) {
            own.remove(&number);
            if own.is_empty() {
                self.by_network.remove(&left.network);
            }
        }
        Some(left)
    }
}

/// What one host has for itself.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// One that is shaking hands, until it is dropped.
#[derive(Debug)]
pub struct Newcomer {
    number: u64,
    end: CancellationToken,
    newcomers: Arc<Newcomers>,
}

impl Newcomer {
    /// Resolves when it has to make room.
    pub async fn ended(&self) {
        self.end.cancelled().await;
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let _left = self.newcomers.waiting.lock().leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_address_has_its_part_and_all_have_theirs() {
        let newcomers = Newcomers::new(5, 3);
        let now = Mono::now();
        let mut first: Vec<_> = (0..3).map(|_| newcomers.enter(from(1), now).unwrap()).collect();
        assert!(newcomers.enter(from(1), now).is_none(), "its part is taken");
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert!(newcomers.enter(mapped, now).is_none(), "the same address");
        let _second: Vec<_> = (0..2).map(|_| newcomers.enter(from(2), now).unwrap()).collect();
        assert!(newcomers.enter(from(3), now).is_none(), "all are taken");
        first.pop();
        let _third = newcomers.enter(from(3), now).unwrap();
        drop((first, _second, _third));
        let waiting = newcomers.waiting.lock();
        assert!(waiting.all.is_empty() && waiting.by_network.is_empty());
    }

    #[test]
    fn one_host_has_one_network_of_ipv6() {
        let newcomers = Newcomers::new(5, 1);
        let now = Mono::now();
        let _one = newcomers.enter("2001:db8:0:1::1".parse().unwrap(), now).unwrap();
        assert!(newcomers.enter("2001:db8:0:1:ffff::2".parse().unwrap(), now).is_none());
        assert!(newcomers.enter("2001:db8:0:2::1".parse().unwrap(), now).is_some());
    }

    #[test]
    fn whoever_takes_long_makes_room() {
        let newcomers = Newcomers::new(3, 2);
        let start = Mono::now();
        let later = start.plus(GRACE);
        let slow = newcomers.enter(from(1), start).unwrap();
        let next = newcomers.enter(from(1), start).unwrap();
        assert!(newcomers.enter(from(1), start.plus(GRACE / 2)).is_none(), "too early");
        let in_its_place = newcomers.enter(from(1), later).unwrap();
        assert!(slow.end.is_cancelled() && !next.end.is_cancelled() && !in_its_place.end.is_cancelled());
        // What has left already takes nobody's place.
        drop(slow);
        let other = newcomers.enter(from(2), later).unwrap();
        // Where all are taken the oldest of all goes.
        let last = newcomers.enter(from(3), later).unwrap();
        assert!(next.end.is_cancelled() && !other.end.is_cancelled() && !last.end.is_cancelled());
        assert_eq!(newcomers.waiting.lock().all.len(), 3);
    }
}
