//! The decision: pure and synchronous.

pub mod entry;

/// The primitives that `entry` is built on; `tests/race.rs` puts shuttle's in their place.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
}

pub use entry::Entry;
