//! A caller: one verified connection, its principal's slot, and the exchanges that run on it.
//!
//! The slot is looked up once, when the connection starts, and held as long as the connection lives.

use crate::access::Slot;
use crate::access::stream::{CutCause, Killer, Stream};
use crate::identity::Peer;
use crate::runtime::clock::Mono;
use parking_lot::Mutex;
use slab::Slab;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// One connection of a verified peer.
pub struct Caller {
    peer: Peer,
    slot: Arc<Slot>,
    source: SocketAddr,
    killer: Arc<Killer>,
    streams: Mutex<Slab<Arc<Stream>>>,
    /// Requests whose heads have come and that are neither admitted nor refused yet.
    undecided: AtomicUsize,
    /// What comes next may be the rest of a body that nobody has read.
    may_be_rest: AtomicBool,
    /// When nothing was first seen to run after the last exchange, or the connection began; nanoseconds of [`Mono`], 0: not
    /// seen yet.
    idle_since: AtomicU64,
    /// When the first byte of an unfinished request head came; 0: none is being read.
    head_since: AtomicU64,
}

impl Caller {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(peer: Peer, slot: Arc<Slot>, source: SocketAddr, now: Mono) -> Self {
        // An IPv4 caller of a dual-stack listener is an IPv4 caller.
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        Self {
            peer,
            slot,
            source,
            killer: Arc::default(),
            streams: Mutex::default(),
            undecided: AtomicUsize::new(0),
            may_be_rest: AtomicBool::new(false),
            idle_since: AtomicU64::new(now.as_nanos()),
            head_since: AtomicU64::new(0),
        }
    }

    /// Who it is.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The grants of its principal, as they are now and as they change.
    #[must_use]
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Where it connects from.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// What ends the connection.
    #[must_use]
    pub fn killer(&self) -> &Arc<Killer> {
        &self.killer
    }

    /// Puts an exchange on the connection; returns its seat for [`Self::leave`].
    pub(super) fn enter(&self, stream: &Arc<Stream>) -> usize {
        self.streams.lock().insert(Arc::clone(stream))
    }

    /// Takes an exchange off the connection.
    pub(super) fn leave(&self, seat: usize) {
        let mut streams = self.streams.lock();
        streams.try_remove(seat);
        if streams.is_empty() {
            self.idle_since.store(0, Ordering::Relaxed);
        }
    }

    /// Calls `each` for each exchange that runs on it.
    pub fn for_each_stream(&self, mut each: impl FnMut(&Arc<Stream>)) {
        for (_, stream) in self.streams.lock().iter() {
            each(stream);
        }
    }

    /// Cuts every exchange on it, and the connection after them.
    pub fn end(&self, cause: CutCause) {
        self.for_each_stream(|stream| {
            stream.cut(cause);
        });
        self.killer.kill();
    }

    /// A request whose head has come, until it is admitted or refused. `has_body`: more of it is to come.
    pub fn begin(&self, has_body: bool) -> Undecided<'_> {
        self.head_since.store(0, Ordering::Relaxed);
        self.may_be_rest.store(false, Ordering::Relaxed);
        self.undecided.fetch_add(1, Ordering::Relaxed);
        Undecided { caller: self, has_body }
    }

    /// Whether no request is being served on it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.undecided.load(Ordering::Relaxed) == 0 && self.streams.lock().is_empty()
    }

    /// Bytes came over HTTP/1.1. They belong to a head when no request is being served; but of a body that nobody has read hyper waits
    /// for the rest, and goes on if one read brings all of it.
    pub fn heard(&self, now: impl FnOnce() -> Mono) {
        if self.is_idle() && !self.may_be_rest.swap(false, Ordering::Relaxed) {
            self.reading_head(true, now);
        }
    }

    /// How long nothing has run on it; none while something does. The first look after the last exchange begins the time, so that
    /// no exchange reads a clock for it.
    pub fn idle_for(&self, now: Mono) -> Option<std::time::Duration> {
        // Under the lock: an exchange that ends now begins the time anew.
        let streams = self.streams.lock();
        if !streams.is_empty() || self.undecided.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let since = match self.idle_since.load(Ordering::Relaxed) {
            0 => {
                self.idle_since.store(now.as_nanos(), Ordering::Relaxed);
                now
            }
            since => Mono::from_nanos(since),
        };
        Some(now.since(since))
    }

    /// Bytes of a request head arrived, or (`false`) the head is complete.
    pub fn reading_head(&self, reading: bool, now: impl FnOnce() -> Mono) {
        if !reading {
            self.head_since.store(0, Ordering::Relaxed);
        } else if self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(now().as_nanos(), Ordering::Relaxed);
        }
    }

    /// Whether a request head has been on its way since before `limit`.
    #[must_use]
    pub fn head_since_before(&self, limit: Mono) -> bool {
        let since = self.head_since.load(Ordering::Relaxed);
        since != 0 && since < limit.as_nanos()
    }
}

/// See [`Caller::begin`].
pub struct Undecided<'a> {
    caller: &'a Caller,
    has_body: bool,
}

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        self.caller.may_be_rest.fetch_or(self.has_body, Ordering::Relaxed);
        if self.caller.undecided.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Being looked at is being used.
            self.caller.idle_since.store(0, Ordering::Relaxed);
        }
    }
}

/// The callers of one worker.
#[derive(Default)]
pub struct Callers {
    callers: Mutex<Slab<Arc<Caller>>>,
    /// Their connections have ended, and something of theirs has not yet: bytes that a service does not take.
    lingering: Mutex<Vec<Weak<Caller>>>,
}

impl Callers {
    /// Keeps a caller in the list until the guard is dropped and nothing of it runs any more.
    pub fn join(self: &Arc<Self>, caller: Arc<Caller>) -> Joined {
        let seat = self.callers.lock().insert(caller);
        Joined { callers: Arc::clone(self), seat }
    }

    /// Calls `each` for each caller. The list is copied first: `each` may end connections.
    pub fn for_each(&self, mut each: impl FnMut(&Arc<Caller>)) {
        let mut callers: Vec<_> = self.callers.lock().iter().map(|(_, caller)| Arc::clone(caller)).collect();
        self.lingering.lock().retain(|caller| {
            let left = caller.upgrade().filter(|caller| !caller.is_idle());
            let lingers = left.is_some();
            callers.extend(left);
            lingers
        });
        callers.iter().for_each(&mut each);
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.callers.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keeps a caller in its list.
pub struct Joined {
    callers: Arc<Callers>,
    seat: usize,
}

impl Drop for Joined {
    fn drop(&mut self) {
        // Into the one list before it is out of the other, so that whoever looks meets it.
        let caller = self.callers.callers.lock().get(self.seat).cloned();
        if let Some(caller) = caller.filter(|caller| !caller.is_idle()) {
            self.callers.lingering.lock().push(Arc::downgrade(&caller));
        }
        self.callers.callers.lock().try_remove(self.seat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Table;
    use crate::config::Ceilings;
    use crate::model::Time;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    fn caller() -> Caller {
        let peer = Peer::for_tests("spiffe://d/a", Time::MAX);
        let max_ttl = Ceilings::MAX_TTL;
        let ceilings = Ceilings { max_ttl, trust_domains: None, methods: None, tools: None };
        let slot = Table::new(ceilings).slot(peer.principal());
        Caller::new(peer, slot, "192.0.2.1:9".parse().unwrap(), at(1))
    }

    #[test]
    fn bytes_belong_to_a_head_only_while_nothing_is_served() {
        let caller = caller();
        let reads_head = || caller.head_since_before(at(100));
        caller.heard(|| at(2));
        assert!(reads_head());
        let undecided = caller.begin(true);
        caller.heard(|| at(3));
        assert!(!reads_head(), "a body that is looked at before it is decided on");
        drop(undecided);
        caller.heard(|| at(4));
        assert!(!reads_head(), "the rest of a body that nobody has read");
        caller.heard(|| at(5));
        assert!(reads_head());
        drop(caller.begin(false));
        caller.heard(|| at(6));
        assert!(reads_head(), "after a request without a body there is no rest of one");
    }

    #[test]
    fn a_connection_is_not_idle_while_a_request_is_looked_at() {
        let caller = caller();
        assert!(caller.is_idle() && caller.idle_for(at(2)).is_some());
        let undecided = caller.begin(true);
        assert!(!caller.is_idle() && caller.idle_for(at(2)).is_none());
        drop(undecided);
        assert!(caller.is_idle());
    }
}
