//! How long to wait after attempts that failed: longer each time, up to a cap, never all at the same moment. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// A receiver may ask for more, up to this: it must not be able to end the export.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// The pauses after the failures of one receiver.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure: half of the step for sure, the other half by `jitter`; at least what was `asked` for.
    pub fn next(&mut self, jitter: u32, asked: Option<Duration>) -> Duration {
        let step = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = step / 2;
        let pause = half + half.mul_f64(f64::from(jitter) / f64::from(u32::MAX));
        pause.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_cap_and_begin_anew() {
        let mut backoff = Backoff::default();
        let most: Vec<_> = (0..9).map(|_| backoff.next(u32::MAX, None).as_millis()).collect();
        assert_eq!(most, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        assert_eq!(backoff.next(0, None), LONGEST / 2);
        for _ in 0..100 {
            backoff.next(0, None);
        }
        backoff.reset();
        assert_eq!(backoff.next(0, None), FIRST / 2);
    }

    #[test]
    fn a_receiver_may_ask_for_more_but_not_for_ever() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff.next(0, Some(Duration::from_secs(1 << 40))), LONGEST_ASKED);
    }
}
