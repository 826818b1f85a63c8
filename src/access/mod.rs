//! The decision: pure and synchronous.

mod calls;
pub mod cell;
pub mod decide;
pub mod proof;
pub mod stream;
pub mod entry;
mod index;
mod ledger;
pub mod lease;
mod probe;
mod rules;
mod slot;
pub mod table;
pub mod verdict;
pub mod view;
mod within;

/// The primitives that `entry` is built on; `tests/race.rs` puts shuttle's in their place.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
}

pub use cell::Cell;
pub use decide::{Request, attend, attend_recorded, decide, decide_after, offers, shows};
pub use entry::Entry;
pub use index::GrantSet;
pub use lease::{Lease, Stale};
pub use proof::UserProof;
pub use slot::Slot;
pub use table::{Counts, Ended, Table, TableError};
pub use verdict::{Denial, Permit, Verdict};
pub use view::{Form, Unclear, View, host_label};

#[cfg(test)]
mod tests;
