//! Slots: where the grants of one principal are found, by every connection of that principal.
//!
//! # No connection watches an orphan
//!
//! A connection looks its slot up once and keeps it. If the map dropped a slot that is still held, a later grant or revocation
//! would go to a new slot and miss that connection. It cannot happen: a slot is removed only under the write lock of its map
//! shard, when the map's own reference is the only one. Every other reference was cloned from another reference or, under the
//! shard's lock, from the map's. While the write lock is held and the count is one, nobody has a reference to clone from, and
//! nobody can get one; afterwards the slot is gone and held by nobody. Whoever comes next makes the one new slot.

use super::index::{Context, GrantSet};
use crate::model::SpiffeId;
use arc_swap::{ArcSwap, Guard};
use dashmap::DashMap;
use std::sync::Arc;

/// One principal's place in the table: lives as long as any holder.
pub struct Slot {
    principal: SpiffeId,
    set: ArcSwap<GrantSet>,
}

impl Slot {
    /// Whose it is.
    #[must_use]
    pub fn principal(&self) -> &SpiffeId {
        &self.principal
    }

    /// The grants as they are now. Takes no lock; read it anew for each request, and do not keep it.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<GrantSet>> {
        self.set.load()
    }

    pub(super) fn publish(&self, set: GrantSet) {
        self.set.store(Arc::new(set));
    }
}

/// All slots.
pub(super) struct Slots {
    map: DashMap<SpiffeId, Arc<Slot>, foldhash::quality::RandomState>,
    /// What every slot without grants points to.
    empty: Arc<GrantSet>,
}

impl Slots {
    pub(super) fn new(context: &Context) -> Self {
        Self { map: DashMap::default(), empty: Arc::new(GrantSet::compile(Vec::new(), context)) }
    }

    /// The slot of a principal, made if it has none.
    pub(super) fn get(&self, principal: &SpiffeId) -> Arc<Slot> {
        if let Some(slot) = self.map.get(principal) {
            return Arc::clone(&slot);
        }
        let slot = self.map.entry(principal.clone()).or_insert_with(|| {
            Arc::new(Slot { principal: principal.clone(), set: ArcSwap::new(Arc::clone(&self.empty)) })
        });
        Arc::clone(&slot)
    }

    /// Removes the slots that are empty and not held.
    pub(super) fn sweep(&self) {
        self.map.retain(|_, slot| Arc::strong_count(slot) > 1 || !slot.load().is_empty());
        if self.map.capacity() > 4 * self.map.len() {
            self.map.shrink_to_fit();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }
}
