//! How much may still be promised: places in the queue, and bytes that are sure to fit on the disk.
//!
//! Pure atomics; refuses to know files. The writer adds what it has secured and takes back what it has lost; claims are taken by
//! requests at admission and given back when their line is on the disk (places) or turned out shorter (bytes).
//!
//! Invariant: while room is published, `bytes` = secured beyond the end of the file − claimed and not yet written. Writing a line
//! lessens both, so it changes nothing. While room is withdrawn, `bytes` = −claimed, so that every claim fails.
//! A claim that fails may for an instant make another fail that would have fitted; both are at the edge of refusal anyway.

use std::sync::atomic::{AtomicI64, Ordering};

/// Refused requests may not take the last of the room: what is below belongs to permits.
const SPARE_BYTES: i64 = 256 * 1024;
/// More than any line claims.
const LONGEST_LINE: i64 = 16 * 1024;
/// Taken from the places when the sink closes; larger than any number of places.
const SHUT: i64 = i64::MAX / 4;

/// See the module's comment.
#[derive(Debug)]
pub(super) struct Room {
    places: AtomicI64,
    bytes: AtomicI64,
    all_places: i64,
}

/// What a successful claim leaves, so that the claimer can wake the writer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left(pub(super) i64);

impl Room {
    /// With this many places and no bytes.
    pub(super) fn new(places: u32) -> Self {
        let all_places = i64::from(places);
        Self { places: AtomicI64::new(all_places), bytes: AtomicI64::new(0), all_places }
    }

    /// One place and `bytes` for a request that is about to be admitted.
    pub(super) fn claim(&self, bytes: usize) -> Option<Left> {
        self.claim_above(bytes, 0, 0)
    }

    /// The same for a line about a refused request, which must leave room for permits.
    pub(super) fn claim_spare(&self, bytes: usize) -> Option<Left> {
        self.claim_above(bytes, self.all_places / 2, SPARE_BYTES)
    }

    /// The same for a summary line: the writer's own, few, so no place is asked for; also while shutting down.
    pub(super) fn claim_summary(&self, bytes: usize) -> Option<Left> {
        self.claim_above(bytes, i64::MIN, 0)
    }

    fn claim_above(&self, bytes: usize, places_left: i64, bytes_left: i64) -> Option<Left> {
        let wanted = signed(bytes);
        // Relaxed: nothing is published through these counters, the lines travel under the queue's lock.
        let places = self.places.fetch_sub(1, Ordering::Relaxed) - 1;
        if places < places_left {
            self.places.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let left = self.bytes.fetch_sub(wanted, Ordering::Relaxed) - wanted;
        if left < bytes_left {
            self.bytes.fetch_add(wanted, Ordering::Relaxed);
            self.places.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Left(left))
    }

    /// A line took `used` of the `claimed` bytes.
    pub(super) fn settle(&self, claimed: usize, used: usize) {
        self.bytes.fetch_add(signed(claimed) - signed(used), Ordering::Relaxed);
    }

    /// So many places are free again: their lines are written.
    pub(super) fn free_places(&self, places: usize) {
        self.places.fetch_add(signed(places), Ordering::Relaxed);
    }

    /// The writer has secured (positive) or lost (negative) so many bytes.
    pub(super) fn change(&self, bytes: i64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that may still be promised; negative while room is withdrawn.
    pub(super) fn bytes(&self) -> i64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether whatever request comes next will find room.
    pub(super) fn is_open(&self) -> bool {
        self.bytes() >= LONGEST_LINE && self.places.load(Ordering::Relaxed) > 0
    }

    /// Whether so few places are taken that a shortage of them can be called over.
    pub(super) fn is_calm(&self) -> bool {
        self.places.load(Ordering::Relaxed) >= self.all_places / 4
    }

    /// No claim of a request succeeds any more.
    pub(super) fn shut(&self) {
        self.places.fetch_sub(SHUT, Ordering::Relaxed);
    }

    /// After [`Room::shut`]: whether no place is taken.
    pub(super) fn is_empty_after_shut(&self) -> bool {
        self.places.load(Ordering::Relaxed) >= self.all_places - SHUT
    }
}

pub(super) fn signed(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_end_with_the_places_or_the_bytes() {
        let room = Room::new(2);
        assert_eq!(room.claim(1), None, "no bytes yet");
        room.change(100);
        assert_eq!(room.claim(60), Some(Left(40)));
        assert_eq!(room.claim(41), None);
        assert_eq!(room.claim(40), Some(Left(0)));
        room.change(100);
        assert_eq!(room.claim(1), None, "no places");
        room.free_places(1);
        assert_eq!(room.claim(1), Some(Left(99)));
    }

    #[test]
    fn a_shorter_line_gives_the_rest_back_and_a_longer_one_takes_it() {
        let room = Room::new(9);
        room.change(100);
        room.claim(60).unwrap();
        room.settle(60, 10);
        assert_eq!(room.bytes(), 90);
        room.claim(60).unwrap();
        room.settle(60, 70);
        assert_eq!(room.bytes(), 20);
    }

    #[test]
    fn withdrawn_room_fails_every_claim_until_it_is_back() {
        let room = Room::new(9);
        room.change(1_000);
        room.claim(100).unwrap();
        room.change(-1_000);
        assert_eq!(room.bytes(), -100);
        assert_eq!((room.claim(1), room.claim_summary(1), room.is_open()), (None, None, false));
        room.change(1_000);
        assert!(room.claim(900).is_some());
    }

    #[test]
    fn refusals_leave_the_last_room_to_permits() {
        let room = Room::new(4);
        room.change(SPARE_BYTES + 100);
        assert!(room.claim_spare(101).is_none(), "bytes");
        assert!(room.claim_spare(50).is_some());
        assert!(room.claim_spare(10).is_some());
        assert!(room.claim_spare(10).is_none(), "half of the places");
        assert!(room.claim(1_000).is_some());
    }

    #[test]
    fn shut_room_takes_only_summaries_and_tells_when_it_is_empty() {
        let room = Room::new(4);
        room.change(1_000);
        room.claim(10).unwrap();
        room.shut();
        assert!(room.claim(1).is_none() && room.claim_spare(1).is_none());
        assert!(!room.is_empty_after_shut());
        room.free_places(1);
        assert!(room.is_empty_after_shut());
        assert!(room.claim_summary(10).is_some());
    }
}
