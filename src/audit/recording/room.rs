//! How many requests may be recorded at a time: a count against an allowance.
//!
//! Each claim stands for the most that a recording can take, on the disk, under the total bound and in memory. The writer lowers and
//! raises the allowance as it finds space; claims come and go with requests. Invariant: a claim given back is given back once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Nothing is allowed until the writer says so.
#[derive(Debug, Default)]
pub(super) struct Room {
    taken: AtomicI64,
    allowed: AtomicI64,
}

/// The promise of space for one recording; given back when it is dropped.
#[derive(Debug)]
pub(in crate::audit) struct Claim(Arc<Room>);

pub(super) fn claim(room: &Arc<Room>) -> Option<Claim> {
    let claim = Claim(Arc::clone(room));
    // Two that are refused at the edge may keep out a third that would have fitted: it is at the edge as well.
    let before = room.taken.fetch_add(1, Ordering::Relaxed);
    (before < room.allowed.load(Ordering::Relaxed)).then_some(claim)
}

impl Room {
    /// So many claims may stand at a time; those that stand stay.
    pub(super) fn allow(&self, claims: i64) {
        self.allowed.store(claims, Ordering::Relaxed);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
