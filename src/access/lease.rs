//! How long the table may be believed, and what time it is for grants (laws 4 and 6).
//!
//! Control time here is *control time at the last answered ping* plus CLOCK_BOOTTIME since asking; the host's wall clock has no
//! part in it. Until the first [`Lease::set`], and from the end of the lease on, there is no time to decide by: [`Stale`].
//!
//! Two atomics, no lock: the offset is stored before the end, and read after it. A reader that sees the new end therefore sees
//! the new offset; one that sees the old end may see the new offset, which is as true and younger. Both offsets come from
//! answered pings, so that either is control time; that they may differ by the round trip is part of the stated drift.

use crate::model::Time;
use crate::runtime::clock::Mono;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The table may be out of date: nothing may be permitted from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease has run out: the grants in memory may be out of date")]
pub struct Stale;

/// The lease of one proxy. The default has run out.
#[derive(Debug, Default)]
pub struct Lease {
    /// Control time minus CLOCK_BOOTTIME, microseconds.
    offset: AtomicI64,
    /// First nanosecond of CLOCK_BOOTTIME at which the lease is over; 0 is the stale default.
    until: AtomicU64,
}

impl Lease {
    /// Renews the lease: it was `control_time` when `asked`, and the table may be believed before `until`. The end never moves
    /// back by a late answer: an earlier `until` than the present one is ignored.
    pub fn set(&self, control_time: Time, asked: Mono, until: Mono) {
        if until.as_nanos() <= self.until.load(Ordering::Acquire) {
            return;
        }
        self.offset.store(control_time.as_micros().saturating_sub(micros(asked)), Ordering::Release);
        self.until.store(until.as_nanos(), Ordering::Release);
    }

    /// Ends the lease at once.
    pub fn revoke(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Control time at `mono`.
    ///
    /// # Errors
    /// [`Stale`] if the lease is over.
    pub fn now(&self, mono: Mono) -> Result<Time, Stale> {
        self.check(mono)?;
        Ok(Time::from_micros(self.offset.load(Ordering::Acquire).saturating_add(micros(mono))))
    }

    /// Control time at `mono` as far as it was ever known, fresh or not: nothing may be permitted by it.
    #[must_use]
    pub fn reckoned(&self, mono: Mono) -> Option<Time> {
        let offset = self.offset.load(Ordering::Acquire);
        (offset != 0).then(|| Time::from_micros(offset.saturating_add(micros(mono))))
    }

    /// Whether the lease is fresh at `mono`.
    ///
    /// # Errors
    /// [`Stale`] if the lease is over.
    pub fn check(&self, mono: Mono) -> Result<(), Stale> {
        if mono.as_nanos() < self.until.load(Ordering::Acquire) { Ok(()) } else { Err(Stale) }
    }

    /// First point at which the lease is over; [`Mono::default`] before the first renewal.
    #[must_use]
    pub fn until(&self) -> Mono {
        Mono::from_nanos(self.until.load(Ordering::Acquire))
    }
}

fn micros(mono: Mono) -> i64 {
    i64::try_from(mono.as_nanos() / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * SECOND)
    }

    #[test]
    fn nothing_is_fresh_before_the_first_renewal() {
        let lease = Lease::default();
        assert_eq!(lease.now(at(0)), Err(Stale));
        assert_eq!(lease.check(at(1)), Err(Stale));
    }

    #[test]
    fn time_is_control_time_when_asked_plus_what_has_passed_since() {
        let lease = Lease::default();
        lease.set(Time::from_micros(5_000_000), at(100), at(115));
        assert_eq!(lease.now(at(103)), Ok(Time::from_micros(8_000_000)));
        assert_eq!(lease.now(Mono::from_nanos(115 * SECOND - 1)), Ok(Time::from_micros(19_999_999)));
        assert_eq!(lease.now(at(115)), Err(Stale), "the window is half-open");
        assert_eq!(lease.reckoned(at(115)), Some(Time::from_micros(20_000_000)));
        assert_eq!(Lease::default().reckoned(at(115)), None);
    }

    #[test]
    fn a_late_answer_does_not_move_the_end_back() {
        let lease = Lease::default();
        lease.set(Time::from_micros(5_000_000), at(100), at(115));
        lease.set(Time::from_micros(1), at(90), at(105));
        assert_eq!(lease.until(), at(115));
        assert_eq!(lease.now(at(100)), Ok(Time::from_micros(5_000_000)));
    }

    #[test]
    fn a_revoked_lease_is_stale_until_it_is_renewed() {
        let lease = Lease::default();
        lease.set(Time::from_micros(5_000_000), at(100), at(115));
        lease.revoke();
        assert_eq!(lease.check(at(101)), Err(Stale));
        lease.set(Time::from_micros(6_000_000), at(101), at(116));
        assert_eq!(lease.check(at(101)), Ok(()));
    }
}
