//! Room for connections to one address: who may open one, and who waits until one is free.
//!
//! Invariants: the number of connections is bounded; who waits longest gets what is free first, be it a connection that was given back
//! or the place of one that has ended; nothing free is lost where somebody waits.

use super::Guarded;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// See the module's comment. `C` is a connection; it has its place until it is dropped.
pub(super) struct Room<C> {
    places: Arc<Semaphore>,
    /// By the order in which they came.
    waiting: Guarded<Waiting<C>>,
}

struct Waiting<C> {
    next: u64,
    by_turn: BTreeMap<u64, oneshot::Sender<C>>,
}

/// What somebody got.
pub(super) enum Got<C> {
    /// Room for a connection of one's own.
    Place(OwnedSemaphorePermit),
    /// A connection that nobody uses any more.
    Connection(C),
}

impl<C> Room<C> {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Self {
        let waiting = Waiting { next: 0, by_turn: BTreeMap::new() };
        Self { places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))), waiting: waiting.into() }
    }

    /// A place, if there is one that nobody waits for.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Waits for whatever is free first. Who stops waiting takes nothing.
    pub(super) async fn wait(&self) -> Option<Got<C>> {
        let (mut given, _turn) = self.queue();
        tokio::select! {
            biased;
            given = &mut given => given.ok().map(Got::Connection),
            place = Arc::clone(&self.places).acquire_owned() => {
                given.close();
                // Both at once: the place goes to whoever is next.
                Some(given.try_recv().map_or(Got::Place(place.ok()?), Got::Connection))
            }
        }
    }

    /// Gives a connection to whoever waits longest; gives it back where nobody does.
    pub(super) fn give(&self, mut connection: C) -> Option<C> {
        loop {
            let Some((_, next)) = self.waiting.lock().by_turn.pop_first() else { return Some(connection) };
            match next.send(connection) {
                Ok(()) => return None,
                Err(back) => connection = back,
            }
        }
    }

    fn queue(&self) -> (oneshot::Receiver<C>, Turn<'_, C>) {
        let (give, given) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        let turn = waiting.next;
        waiting.next += 1;
        waiting.by_turn.insert(turn, give);
        (given, Turn { room: self, turn })
    }
}

/// Somebody who waits, as long as it is there.
struct Turn<'r, C> {
    room: &'r Room<C>,
    turn: u64,
}

impl<C> Drop for Turn<'_, C> {
    fn drop(&mut self) {
        self.room.waiting.lock().by_turn.remove(&self.turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Waits<'r> = Pin<Box<dyn Future<Output = Option<Got<u32>>> + 'r>>;

    fn poll(waits: &mut Waits<'_>) -> Poll<Option<Got<u32>>> {
        waits.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn waits(room: &Room<u32>) -> Waits<'_> {
        let mut waits: Waits<'_> = Box::pin(room.wait());
        assert!(poll(&mut waits).is_pending());
        waits
    }

    fn connection(polled: Poll<Option<Got<u32>>>) -> Option<u32> {
        if let Poll::Ready(Some(Got::Connection(connection))) = polled { Some(connection) } else { None }
    }

    #[test]
    fn who_waits_longest_gets_what_is_given_back() {
        let room = Room::new(1);
        let _taken = room.place().unwrap();
        assert!(room.place().is_none());
        let (mut first, mut second) = (waits(&room), waits(&room));
        assert_eq!(room.give(7), None);
        assert!(poll(&mut second).is_pending());
        assert_eq!(connection(poll(&mut first)), Some(7));
        assert_eq!(room.give(8), None);
        assert_eq!(connection(poll(&mut second)), Some(8));
        assert_eq!(room.give(9), Some(9), "nobody waits");
    }

    #[test]
    fn the_place_of_a_connection_that_ended_goes_to_who_waits_and_to_nobody_who_comes_between() {
        let room = Room::new(1);
        let taken = room.place().unwrap();
        let mut first = waits(&room);
        drop(taken);
        assert!(room.place().is_none());
        let Poll::Ready(Some(Got::Place(place))) = poll(&mut first) else { panic!("no place") };
        drop((first, place));
        assert!(room.place().is_some());
        assert_eq!(room.give(1), Some(1), "who is gone does not wait");
    }

    #[test]
    fn who_stopped_waiting_is_passed_over() {
        let room = Room::new(1);
        let _taken = room.place().unwrap();
        let (first, mut second) = (waits(&room), waits(&room));
        drop(first);
        assert_eq!(room.give(7), None);
        assert_eq!(connection(poll(&mut second)), Some(7));
        assert!(room.waiting.lock().by_turn.is_empty());
    }

    #[test]
    fn who_is_given_both_at_once_takes_one() {
        let room = Room::new(1);
        let taken = room.place().unwrap();
        let mut first = waits(&room);
        drop(taken);
        assert_eq!(room.give(7), None);
        assert_eq!(connection(poll(&mut first)), Some(7));
        drop(first);
        assert!(room.place().is_some(), "the place is free");
    }
}
