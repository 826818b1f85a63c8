//! Control time: the time that grants are issued and end by.
//!
//! It follows the wall clock forward, but never runs below the last event nor slower than CLOCK_BOOTTIME since then: a wall clock
//! that is set back does not prolong any grant. Bounds that must hold whatever the wall clock does (leases, receipts) are kept
//! in [`Mono`] instead.

use crate::model::Time;
use crate::runtime::clock::{Mono, wall};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Reads both clocks.
pub type Source = Arc<dyn Fn() -> (Time, Mono) + Send + Sync>;

/// The control clock. Clones share one floor.
#[derive(Clone)]
pub struct ControlClock {
    source: Source,
    floor: Arc<Mutex<(Time, Mono)>>,
}

impl fmt::Debug for ControlClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlClock").field("floor", &*self.floor.lock()).finish_non_exhaustive()
    }
}

impl Default for ControlClock {
    fn default() -> Self {
        Self::new(Arc::new(|| (wall(), Mono::now())))
    }
}

impl ControlClock {
    /// A clock over these sources.
    #[must_use]
    pub fn new(source: Source) -> Self {
        let start = source();
        Self { source, floor: Arc::new(Mutex::new(start)) }
    }

    /// Control time now.
    #[must_use]
    pub fn now(&self) -> Time {
        let (wall, mono) = (self.source)();
        let (floor, since) = *self.floor.lock();
        wall.max(floor.plus(mono.since(since)))
    }

    /// CLOCK_BOOTTIME now.
    #[must_use]
    pub fn mono(&self) -> Mono {
        (self.source)().1
    }

    /// Notes the time of an event: from now on it is never earlier.
    pub fn observe(&self, event: Time) {
        let (_, mono) = (self.source)();
        let mut floor = self.floor.lock();
        let reached = floor.0.plus(mono.since(floor.1));
        *floor = (event.max(reached), mono);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn never_below_an_event_and_never_slower_than_boottime() {
        let clocks = Arc::new(Mutex::new((Time::from_micros(100_000_000), Mono::from_nanos(0))));
        let source = Arc::clone(&clocks);
        let clock = ControlClock::new(Arc::new(move || *source.lock()));
        assert_eq!(clock.now(), Time::from_micros(100_000_000));
        // An event from another replica, or from before a restart with a wrong clock.
        clock.observe(Time::from_micros(200_000_000));
        assert_eq!(clock.now(), Time::from_micros(200_000_000));
        // The wall clock is set back by a minute while two seconds pass.
        *clocks.lock() = (Time::from_micros(40_000_000), Mono::from_nanos(0).plus(Duration::from_secs(2)));
        assert_eq!(clock.now(), Time::from_micros(202_000_000));
        // Forward is followed.
        clocks.lock().0 = Time::from_micros(900_000_000);
        assert_eq!(clock.now(), Time::from_micros(900_000_000));
    }
}
