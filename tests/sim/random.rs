//! The only source of chance in a run.

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// In `low..high`.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low).max(1)
    }

    /// True `n` times in a hundred.
    pub(crate) fn percent(&mut self, n: u64) -> bool {
        self.next() % 100 < n
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.next() as usize % from.len().max(1);
        from.get(at)
    }

    /// Mostly short, sometimes very long: what networks and schedulers do.
    pub(crate) fn delay(&mut self) -> u64 {
        use crate::world::{MS, SECOND};
        match self.range(0, 100) {
            0..70 => self.range(MS / 10, 5 * MS),
            70..90 => self.range(5 * MS, 200 * MS),
            90..97 => self.range(200 * MS, 2 * SECOND),
            _ => self.range(2 * SECOND, 12 * SECOND),
        }
    }
}
