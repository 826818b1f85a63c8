//! One direction of an exchange, or the arguments of a call: its first bytes and how many there were.

use crate::audit::redact::Extent;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bounded; written by whoever hands bytes on, read when the request is over.
#[derive(Debug)]
pub(crate) struct Tape {
    limit: usize,
    kept: Mutex<Vec<u8>>,
    length: AtomicU64,
    /// Whether that was all.
    ended: AtomicBool,
}

impl Tape {
    pub(in crate::audit) fn new(limit: usize) -> Self {
        Self { limit, kept: Mutex::default(), length: AtomicU64::new(0), ended: AtomicBool::new(false) }
    }

    /// So many bytes were handed on.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let before = self.length.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // One direction is handed on by one task at a time.
        if before < self.limit as u64 {
            let mut kept = self.kept.lock();
            let room = self.limit.saturating_sub(kept.len());
            kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        }
    }

    /// Nothing comes after what was handed on: without this it counts as broken off.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// What was kept, the length of all that was handed on, and whether that came to its end.
    pub(in crate::audit) fn read(&self) -> (Vec<u8>, u64, Extent) {
        // Before the rest: whoever still hands bytes on must not end between the two looks.
        let extent = if self.ended.load(Ordering::Acquire) { Extent::Whole } else { Extent::Cut };
        (std::mem::take(&mut *self.kept.lock()), self.length.load(Ordering::Relaxed), extent)
    }
}
