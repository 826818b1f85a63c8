//! The only place that reads a clock. Two kinds that cannot be mixed up: [`Mono`] only ever runs forward and also counts while the
//! machine is suspended (CLOCK_BOOTTIME); wall time ([`wall`]) may jump and decides nothing at a proxy about grants.

use crate::model::Time;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds of CLOCK_BOOTTIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(u64);

impl Mono {
    /// Reads CLOCK_BOOTTIME.
    #[must_use]
    pub fn now() -> Self {
        let spec = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(spec.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(spec.tv_nsec).unwrap_or(0);
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// From nanoseconds; for simulations and atomics.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, length: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Reads the wall clock (CLOCK_REALTIME).
#[must_use]
pub fn wall() -> Time {
    let spec = clock_gettime(ClockId::Realtime);
    Time::from_micros(spec.tv_sec.saturating_mul(1_000_000).saturating_add(spec.tv_nsec / 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_forward() {
        let first = Mono::now();
        let second = Mono::now();
        assert!(second >= first && second.since(first) < Duration::from_secs(60));
        assert!(wall() > Time::from_micros(1_700_000_000_000_000));
    }
}
