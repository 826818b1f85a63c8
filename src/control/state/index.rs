//! An index over grants: all grants of one key, by id.

use crate::model::GrantId;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::ops::Bound;

/// Keys to grants. A key without grants is not kept.
#[derive(Debug, Clone)]
pub(super) struct Index<K>(HashMap<K, BTreeSet<GrantId>>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Index<K> {
    pub(super) fn insert(&mut self, key: &K, grant: GrantId) {
        if let Some(grants) = self.0.get_mut(key) {
            grants.insert(grant);
        } else {
            self.0.insert(key.clone(), BTreeSet::from([grant]));
        }
    }

    pub(super) fn remove(&mut self, key: &K, grant: GrantId) {
        if let Some(grants) = self.0.get_mut(key) {
            grants.remove(&grant);
            if grants.is_empty() {
                self.0.remove(key);
            }
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    pub(super) fn get<'a>(&'a self, key: &K) -> impl Iterator<Item = GrantId> + use<'a, K> {
        self.after(key, None)
    }

    /// Those with a greater id than `after`.
    pub(super) fn after<'a>(
        &'a self,
        key: &K,
        after: Option<GrantId>,
    ) -> impl Iterator<Item = GrantId> + use<'a, K> {
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.0.get(key).into_iter().flat_map(move |grants| grants.range(range)).copied()
    }
}
