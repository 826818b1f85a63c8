//! Which endpoint to try when: round the list, at once the first time, then with a growing, jittered wait. The wait stays short
//! beside a lease, so that a control plane that restarts within one finds its proxies back in time.

use crate::runtime::clock::Mono;
use std::num::NonZeroUsize;
use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Rounds after which the wait no longer grows.
const GROWTH: u32 = 6;

/// Chooses endpoints and waits.
pub(super) struct Dialer {
    endpoints: NonZeroUsize,
    next: usize,
    failures: u32,
    random: u64,
}

impl Dialer {
    /// The seed makes proxies that lost the same control plane come back at different times.
    pub(super) fn new(endpoints: NonZeroUsize, seed: u64) -> Self {
        Self { endpoints, next: 0, failures: 0, random: seed }
    }

    /// The endpoint to try now.
    pub(super) fn endpoint(&self) -> usize {
        self.next % self.endpoints.get()
    }

    /// The connection did its job: the next failure begins anew.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The connection failed or ended: moves on to the next endpoint and says when.
    pub(super) fn failed(&mut self, now: Mono) -> Mono {
        self.next = self.next.wrapping_add(1);
        self.failures = self.failures.saturating_add(1);
        let rounds = self.failures / u32::try_from(self.endpoints.get()).unwrap_or(u32::MAX);
        if self.failures == 1 || rounds == 0 {
            return now;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << rounds.min(GROWTH)).min(LONGEST_WAIT);
        now.plus(wait / 2 + self.jitter(wait / 2))
    }

    fn jitter(&mut self, up_to: Duration) -> Duration {
        // xorshift64*: spreading, not secrecy.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let part = (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 48) as u32;
        up_to.saturating_mul(part) / 65_536
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_every_endpoint_at_once_and_then_waits_longer_and_longer() {
        let mut dialer = Dialer::new(NonZeroUsize::new(3).unwrap(), 7);
        let now = Mono::from_nanos(1);
        let mut tried = vec![dialer.endpoint()];
        for _ in 0..2 {
            assert_eq!(dialer.failed(now), now);
            tried.push(dialer.endpoint());
        }
        assert_eq!(tried, [0, 1, 2]);
        let first = dialer.failed(now).since(now);
        assert!(first >= FIRST_WAIT && first <= FIRST_WAIT * 2, "{first:?}");
        let waits: Vec<_> = (0..60).map(|_| dialer.failed(now).since(now)).collect();
        let last = waits[59];
        assert!(last >= LONGEST_WAIT / 2 && last <= LONGEST_WAIT);
        assert!(waits[50..].windows(2).any(|pair| pair[0] != pair[1]), "jittered");
        dialer.succeeded();
        assert_eq!(dialer.failed(now), now);
    }
}
