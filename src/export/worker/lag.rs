//! How long the oldest line that a receiver lacks has waited, also while nobody can read when it was written. Pure.

use crate::model::Time;
use std::time::Duration;

/// Since when nothing came of it.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// What was confirmed, and since when there has been more than that.
    since: Option<(u64, Time)>,
}

impl Lag {
    /// By `oldest`, when the first line that the receiver lacks was written. Where that is not known, for how long nothing more was confirmed
    /// although the log has more: an export of a log that cannot be read is late as well.
    pub(super) fn at(&mut self, now: Time, head: u64, confirmed: u64, oldest: Option<Time>) -> Duration {
        if head <= confirmed {
            self.since = None;
            return Duration::ZERO;
        }
        let since = match self.since {
            Some((at, since)) if at == confirmed => since,
            Some(_) | None => now,
        };
        self.since = Some((confirmed, since));
        now.since(oldest.unwrap_or(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_late_since_nothing_came_of_it() {
        let at = |seconds: i64| Time::from_micros(seconds * 1_000_000);
        let mut lag = Lag::default();
        let mut seconds = |now, head, confirmed, oldest: Option<i64>| {
            lag.at(at(now), head, confirmed, oldest.map(at)).as_secs()
        };
        assert_eq!(seconds(100, 4, 4, None), 0);
        assert_eq!(seconds(200, 5, 4, None), 0, "it has just come");
        assert_eq!(seconds(290, 9, 4, None), 90);
        assert_eq!(seconds(300, 9, 4, Some(180)), 120, "its own time is the truth");
        assert_eq!(seconds(310, 9, 4, None), 110);
        assert_eq!(seconds(320, 9, 7, None), 0, "it came further");
        assert_eq!(seconds(330, 9, 7, None), 10);
        assert_eq!(seconds(340, 9, 9, None), 0);
        assert_eq!(seconds(350, 10, 9, None), 0);
        assert_eq!(seconds(340, 10, 9, None), 0, "a clock that was set back");
    }
}
