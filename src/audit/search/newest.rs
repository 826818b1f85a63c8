//! The last lines of a segment that fit, without parsing those that newer ones push out.

use super::{Hit, Matcher};
use std::collections::VecDeque;

/// Bytes of lines that wait to be parsed.
const WAITING: usize = 8 << 20;

/// Takes the lines that are worth parsing, in order; holds so many bytes, and no more hits than the limit.
pub(super) struct Newest<'a> {
    matcher: &'a Matcher<'a>,
    limit: usize,
    /// Lines that wait, one behind the other, and where each ends.
    raw: Vec<u8>,
    ends: Vec<usize>,
    /// Those before them that fit, oldest first.
    hits: VecDeque<Hit>,
    more: bool,
}

impl<'a> Newest<'a> {
    pub(super) fn new(matcher: &'a Matcher<'a>, limit: usize) -> Self {
        Self { matcher, limit, raw: Vec::new(), ends: Vec::new(), hits: VecDeque::new(), more: false }
    }

    pub(super) fn push(&mut self, line: &[u8]) {
        self.raw.extend_from_slice(line);
        self.ends.push(self.raw.len());
        if self.raw.len() >= WAITING {
            self.settle();
        }
    }

    /// What fits, newest first, and whether there may be more.
    pub(super) fn finish(mut self) -> (impl Iterator<Item = Hit>, bool) {
        self.settle();
        (self.hits.into_iter().rev(), self.more)
    }

    /// Parses what waits from its end, until there are enough: then nothing older counts.
    fn settle(&mut self) {
        let mut found = Vec::new();
        while found.len() < self.limit
            && let Some(end) = self.ends.pop()
        {
            let start = self.ends.last().copied().unwrap_or(0);
            found.extend(self.matcher.parsed(self.raw.get(start..end).unwrap_or_default()));
        }
        let room = self.limit.saturating_sub(found.len());
        let over = self.hits.len().saturating_sub(room);
        self.more |= over > 0 || !self.ends.is_empty();
        self.hits.drain(..over);
        self.hits.extend(found.into_iter().rev());
        self.raw.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Conditions, Field};
    use super::*;

    #[test]
    fn the_last_that_fit_are_kept_however_often_what_waits_is_parsed() {
        let conditions = Conditions::default().with(Field::Task, "t");
        let matcher = Matcher::new(&conditions);
        let long = "x".repeat(WAITING / 10);
        for (lines, limit) in [(0, 3), (2, 3), (3, 3), (45, 3), (45, 100)] {
            let mut newest = Newest::new(&matcher, limit);
            // Each other line only looks as if it fitted.
            for seq in 0..lines {
                let task = if seq % 2 == 0 { "t" } else { "other t" };
                newest.push(format!("{{\"seq\":{seq},\"task\":\"{task}\",\"path\":\"{long}\"}}").as_bytes());
            }
            let (hits, more) = newest.finish();
            let seen: Vec<i64> = hits.map(|hit| hit.value["seq"].as_i64().unwrap()).collect();
            let wanted: Vec<i64> = (0..lines).rev().filter(|seq| seq % 2 == 0).take(limit).collect();
            assert_eq!(seen, wanted, "{lines} lines, at most {limit}");
            let fit = usize::try_from(lines).unwrap().div_ceil(2);
            assert!(more || fit <= limit, "{lines} lines, at most {limit}");
        }
    }
}
