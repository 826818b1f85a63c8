//! How much of the writer's queue one caller may take: whoever has no role must not hold up a revocation with questions.

use crate::model::SpiffeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Commands of one identity without a role that may wait at once: an eighth of the queue.
const EACH: usize = super::QUEUE / 8;

/// The commands that wait, by who sent them. Whoever has none is not kept.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<SpiffeId, usize>>);

impl Waiting {
    /// A place for one more command; none if the caller has too many already.
    pub(super) fn enter(self: &Arc<Self>, who: &SpiffeId) -> Option<Place> {
        let mut all = self.0.lock();
        let own = all.get(who).copied().unwrap_or(0);
        if own >= EACH {
            return None;
        }
        all.insert(who.clone(), own.saturating_add(1));
        Some(Place { who: who.clone(), waiting: Arc::clone(self) })
    }
}

/// Held until the command is answered, also if its caller has gone.
#[derive(Debug)]
pub(super) struct Place {
    who: SpiffeId,
    waiting: Arc<Waiting>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.waiting.0.lock();
        match all.get_mut(&self.who) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => {
                all.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_part_and_gets_it_back() {
        let waiting = Arc::new(Waiting::default());
        let who = |name: &str| format!("spiffe://d/{name}").parse::<SpiffeId>().unwrap();
        let mut places: Vec<Place> = (0..EACH).filter_map(|_| waiting.enter(&who("a"))).collect();
        assert_eq!(places.len(), EACH);
        assert!(waiting.enter(&who("a")).is_none());
        assert!(waiting.enter(&who("b")).is_some());
        places.pop();
        assert!(waiting.enter(&who("a")).is_some());
        places.clear();
        assert!(waiting.0.lock().is_empty());
    }
}
