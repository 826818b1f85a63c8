//! How much of something bounded one identity, and all of them together, may take at once: so that nobody holds up the others.

use crate::model::SpiffeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The places that are taken, by who took them. Whoever has none is not kept.
#[derive(Debug)]
pub struct Places {
    each: usize,
    all: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by: HashMap<SpiffeId, usize>,
    all: usize,
}

impl Places {
    /// At most `each` for one identity, however many identities there are.
    #[must_use]
    pub fn new(each: usize) -> Arc<Self> {
        Self::of(usize::MAX, each)
    }

    /// `all` for everybody together, and at most `each` for one identity. Nobody takes more than is left to the others either: the fewer
    /// are free, the smaller is each one's part, so that some who take all they can get leave something to whoever comes next.
    #[must_use]
    pub fn of(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { each, all, taken: Mutex::default() })
    }

    /// One more place; none if this identity has its part already.
    #[must_use]
    pub fn enter(self: &Arc<Self>, who: &SpiffeId) -> Option<Place> {
        let mut taken = self.taken.lock();
        let own = taken.by.get(who).copied().unwrap_or(0);
        if own >= self.each.min(self.all.saturating_sub(taken.all)) {
            return None;
        }
        taken.by.insert(who.clone(), own.saturating_add(1));
        taken.all = taken.all.saturating_add(1);
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
        taken.all = taken.all.saturating_sub(1);
        match taken.by.get_mut(&self.who) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => {
                taken.by.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> SpiffeId {
        format!("spiffe://d/{name}").parse().unwrap()
    }

    #[test]
    fn each_has_a_part_and_gets_it_back() {
        let places = Places::new(3);
        let mut taken: Vec<Place> = (0..3).filter_map(|_| places.enter(&who("a"))).collect();
        assert_eq!(taken.len(), 3);
        assert!(places.enter(&who("a")).is_none());
        assert!(places.enter(&who("b")).is_some());
        taken.pop();
        assert!(places.enter(&who("a")).is_some());
        taken.clear();
        let left = places.taken.lock();
        assert!(left.by.is_empty() && left.all == 0);
    }

    #[test]
    fn all_together_have_a_part_and_the_greedy_leave_something_of_it() {
        let places = Places::of(100, 30);
        let mut taken = Vec::new();
        let mut most = |name: &str| {
            let before = taken.len();
            taken.extend(std::iter::from_fn(|| places.enter(&who(name))));
            taken.len() - before
        };
        let greedy: Vec<usize> = (0..6).map(|number| most(&format!("greedy-{number}"))).collect();
        assert_eq!(greedy, [30, 30, 20, 10, 5, 3]);
        assert_eq!(most("another"), 1, "who comes late finds a place");
        for number in 0..100 {
            most(&format!("many-{number}"));
        }
        assert_eq!(taken.len(), 100, "and never more than all");
        taken.clear();
        assert_eq!(places.taken.lock().all, 0);
    }
}
