//! An index over live grants: all grants of one key, by id.

use crate::model::GrantId;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

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

    pub(super) fn get(&self, key: &K) -> impl Iterator<Item = GrantId> {
        self.0.get(key).into_iter().flatten().copied()
    }
}
