//! One direction of an exchange, or the arguments of a call: its first bytes and how many there were.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bounded; written by whoever hands bytes on, read when the request is over.
#[derive(Debug)]
pub(crate) struct Tape {
    limit: usize,
    kept: Mutex<Vec<u8>>,
    length: AtomicU64,
}

impl Tape {
    pub(in crate::audit) fn new(limit: usize) -> Self {
        Self { limit, kept: Mutex::default(), length: AtomicU64::new(0) }
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

    /// What was kept, and the length of all.
    pub(in crate::audit) fn read(&self) -> (Vec<u8>, u64) {
        (std::mem::take(&mut *self.kept.lock()), self.length.load(Ordering::Relaxed))
    }
}
