//! How much of something bounded one identity may take at once: so that nobody holds up the others.

use crate::model::SpiffeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The places that are taken, by who took them. Whoever has none is not kept.
#[derive(Debug)]
pub struct Places {
    each: usize,
    taken: Mutex<HashMap<SpiffeId, usize>>,
}

impl Places {
    /// At most `each` for one identity.
    #[must_use]
    pub fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, taken: Mutex::default() })
    }

    /// One more place; none if this identity has all of its own already.
    #[must_use]
    pub fn enter(self: &Arc<Self>, who: &SpiffeId) -> Option<Place> {
        let mut taken = self.taken.lock();
        let own = taken.get(who).copied().unwrap_or(0);
        if own >= self.each {
            return None;
        }
        taken.insert(who.clone(), own.saturating_add(1));
        Some(Place { who: who.clone(), places: Arc::clone(self) })
    }
}

/// One place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    who: SpiffeId,
    places: Arc<Places>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        match taken.get_mut(&self.who) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => {
                taken.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_part_and_gets_it_back() {
        let places = Places::new(3);
        let who = |name: &str| format!("spiffe://d/{name}").parse::<SpiffeId>().unwrap();
        let mut taken: Vec<Place> = (0..3).filter_map(|_| places.enter(&who("a"))).collect();
        assert_eq!(taken.len(), 3);
        assert!(places.enter(&who("a")).is_none());
        assert!(places.enter(&who("b")).is_some());
        taken.pop();
        assert!(places.enter(&who("a")).is_some());
        taken.clear();
        assert!(places.taken.lock().is_empty());
    }
}
