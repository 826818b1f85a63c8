//! What a trail takes on its disk, and how much more it may: the arithmetic, and what the writer and the keeper of its files share.
//!
//! With a bound (`max_total_bytes`) the active file gets no more space set aside than the bound leaves, so that it is never passed: the
//! lines that requests were promised are within it. What is counted beside them: rotated files with their indices, the tiles of the
//! tree, a rotation's second file, one file that is being compressed, and the line that a removal begins with.

use crate::config::{RetentionConfig, WhenFull};
use parking_lot::Mutex;
use rustix::fs::statvfs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Space is secured in pieces of this size, in smaller ones when the disk is nearly full.
pub(super) const CHUNK: u64 = 16 << 20;
/// Under a bound pieces are a sixteenth of it, at least this.
const LEAST_BOUNDED_CHUNK: u64 = 512 << 10;
/// Left for the line of a removal, partial tiles, those of a beginning, the checkpoint, cursors.
const IN_HAND: u64 = 240 << 10;
/// A full tile and the tiles above it, for each 256 lines.
const TILE: u64 = 8192 + 64;
/// A folder of a thousand tiles.
const TILE_FOLDER: u64 = 24 << 10;
/// A file takes whole blocks.
const BLOCK: u64 = 4096;

/// See the module's comment.
#[derive(Debug)]
pub(super) struct Disk {
    /// How much the trail may take.
    pub(super) bound: Option<u64>,
    /// Whether files are ever removed.
    pub(super) may_remove: bool,
    /// Set aside for a file that is being compressed.
    draft: u64,
    /// What is freed beyond the bound, so that lines go on meanwhile.
    margin: u64,
    others: Mutex<Others>,
    /// What of it may be removed now.
    removable: AtomicU64,
    /// The lines of the active file, in bytes.
    end: AtomicU64,
    /// What is set aside for more.
    room: AtomicU64,
    /// It is nearly full, the bound or the file system.
    low: AtomicBool,
}

/// The rotated files and what belongs to them.
#[derive(Debug, Default)]
struct Others {
    bytes: u64,
    /// How often a file was rotated: whoever counted meanwhile counts again.
    rotations: u64,
}

/// The active file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    /// Bytes of its lines.
    pub(super) end: u64,
    /// Bytes set aside beyond.
    pub(super) room: u64,
    /// Lines of the whole trail.
    pub(super) lines: u64,
}

impl Disk {
    pub(super) fn new(config: RetentionConfig, rotate_bytes: u64, compress: bool) -> Self {
        Self {
            bound: config.max_total_bytes,
            may_remove: config.keep.is_some() || config.when_full == WhenFull::RemoveOldest,
            draft: if compress { rotate_bytes } else { 0 },
            margin: config.max_total_bytes.map_or(0, |bound| (bound / 8).min(rotate_bytes.max(64 << 20))),
            others: Mutex::default(),
            removable: AtomicU64::new(0),
            end: AtomicU64::new(0),
            room: AtomicU64::new(0),
            low: AtomicBool::new(false),
        }
    }

    /// In pieces of which size space is set aside.
    pub(super) fn chunk(&self) -> u64 {
        self.bound.map_or(CHUNK, |bound| (bound / 16).clamp(LEAST_BOUNDED_CHUNK, CHUNK))
    }

    /// How much more may be set aside for the active file.
    pub(super) fn more(&self, active: Active) -> u64 {
        let Some(bound) = self.bound else { return u64::MAX };
        let taken = self.fixed(active.lines).saturating_add(active.end).saturating_add(IN_HAND);
        // Twice: a rotation sets as much aside for the new file before it gives back what the old one had. And the tiles of its lines.
        let room = bound.saturating_sub(taken) / 33 * 16;
        room.saturating_sub(active.room)
    }

    /// What cannot be had for lines although nobody is promised it, of the bound: it is nearly full when this is near the bound.
    pub(super) fn stuck(&self, lines: u64) -> u64 {
        let removable = self.removable.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed);
        self.fixed(lines).saturating_add(end).saturating_add(IN_HAND).saturating_sub(removable)
    }

    /// So much is to be freed before lines find no space: a chunk for each of two files, and some for what comes meanwhile.
    pub(super) fn over(&self, lines: u64) -> u64 {
        let Some(bound) = self.bound else { return 0 };
        let end = self.end.load(Ordering::Relaxed);
        let taken = self.fixed(lines).saturating_add(end).saturating_add(IN_HAND);
        let wanted = self.chunk().saturating_mul(33) / 16 + self.margin;
        taken.saturating_add(wanted).saturating_sub(bound)
    }

    /// What the trail takes, and what is set aside.
    pub(super) fn used(&self, lines: u64) -> u64 {
        let active = self.end.load(Ordering::Relaxed).saturating_add(self.room.load(Ordering::Relaxed));
        self.fixed(lines).saturating_add(active)
    }

    fn fixed(&self, lines: u64) -> u64 {
        self.others.lock().bytes.saturating_add(tiles(lines)).saturating_add(self.draft)
    }

    /// A file of `bytes` bytes was rotated.
    pub(super) fn rotated(&self, bytes: u64) {
        let mut others = self.others.lock();
        others.bytes = others.bytes.saturating_add(blocks(bytes));
        others.rotations += 1;
    }

    /// How often a file was rotated.
    pub(super) fn rotations(&self) -> u64 {
        self.others.lock().rotations
    }

    /// The rotated files take so much, as was counted while there were `rotations`; `false`: there has been another since.
    pub(super) fn counted(&self, bytes: u64, rotations: u64) -> bool {
        let mut others = self.others.lock();
        let same = others.rotations == rotations;
        if same {
            others.bytes = bytes;
        }
        same
    }

    /// So much of it may be removed.
    pub(super) fn set_removable(&self, bytes: u64) {
        self.removable.store(bytes, Ordering::Relaxed);
    }

    /// The active file has lines of `end` bytes and `room` set aside.
    pub(super) fn set_active(&self, end: u64, room: u64) {
        self.end.store(end, Ordering::Relaxed);
        self.room.store(room, Ordering::Relaxed);
    }

    /// Whether it is nearly full.
    pub(super) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Keeps whether it is nearly full; says whether that is new.
    pub(super) fn set_low(&self, low: bool) -> bool {
        self.low.swap(low, Ordering::Relaxed) != low
    }
}

/// What the tiles of a tree take, at most.
fn tiles(lines: u64) -> u64 {
    let count = lines / 256 + 4;
    count.saturating_mul(TILE).saturating_add((count / 1000 + 1).saturating_mul(TILE_FOLDER))
}

/// What of the file system that holds `folder` is in use, and how much there is. As `df` counts: what is reserved for root is neither.
pub(super) fn file_system(folder: &Path) -> Option<(u64, u64)> {
    let disk = statvfs(folder).ok()?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some((bytes(used), bytes(used.saturating_add(disk.f_bavail))))
}

/// What a file of this length takes.
pub(super) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// Whether something that has `used` of `all` is nearly full: from four fifths on, and then until it is below three quarters.
pub(super) fn is_low(used: u64, all: u64, was_low: bool) -> bool {
    let share = u128::from(used) * 100;
    let all = u128::from(all);
    all > 0 && share >= all * if was_low { 75 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn low_begins_at_four_fifths_and_ends_below_three_quarters() {
        for (used, was, is) in
            [(79, false, false), (80, false, true), (79, true, true), (75, true, true), (74, true, false)]
        {
            assert_eq!(is_low(used, 100, was), is, "{used} {was}");
        }
        assert!(!is_low(0, 0, true));
    }

    proptest! {
        /// Whatever is set aside, a rotation after it included, stays within the bound; and the alarm comes before nothing is left.
        #[test]
        fn the_bound_is_never_passed(
            bound in 3_000_000..10_000_000_000_u64,
            others in 0..10_000_000_000_u64,
            lines in 0..100_000_000_u64,
            end in 0..1_000_000_000_u64,
            room in 0..100_000_000_u64,
        ) {
            let config = RetentionConfig { max_total_bytes: Some(bound), ..RetentionConfig::default() };
            let disk = Disk::new(config, 500_000, true);
            disk.counted(others, 0);
            disk.set_active(end, room);
            let more = disk.more(Active { end, room, lines });
            let after = room + more;
            let fixed = others + tiles(lines) + 500_000 + end + IN_HAND;
            prop_assert!(more == 0 || fixed + 2 * after + after / 16 <= bound);
            prop_assert!(more > 0 || fixed + 2 * room + room / 16 + 64 > bound);
            if fixed >= bound {
                prop_assert!(is_low(disk.stuck(lines), bound, false));
            }
        }
    }
}
