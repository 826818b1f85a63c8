//! What was admitted under one grant, and the end of it: where the admission race is settled.
//!
//! # The race
//!
//! A request is admitted while a revocation arrives. Both take the grant's lock: [`Entry::admit`] looks at `ended` and puts its
//! stream into the list in one critical section; [`Entry::end`] sets `ended` and reads the list in one critical section.
//! Whoever comes second sees the other: a later admission sees `ended` and is refused; a later end sees the stream and cuts it.
//! There is no third order. An entry that has ended stays ended, also when it was empty, and whoever still holds an old table
//! that lists the grant reaches the same entry. `tests/race.rs` runs this file under every schedule that shuttle finds.
//!
//! # Counting down
//!
//! [`Entry::end`] adds the streams that it found to a [`Countdown`]; [`Entry::leave`] takes each off, under the same lock. The
//! countdown reaches zero exactly when nothing that was admitted under the grant is left.

use super::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::model::{EndCause, Limits};
use crate::runtime::clock::Mono;
use futures_util::task::AtomicWaker;
use slab::Slab;
use std::sync::OnceLock;
use std::task::Waker;

/// Why a stream that was admitted must stop. Closed: each is a value of `jitgate_streams_cut_total{cause}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CutCause {
    /// Its grant ended.
    Grant(EndCause),
    /// The lease ran out: the table may be out of date.
    Stale,
    /// The caller's certificate expired, was revoked, or its issuer is no longer trusted.
    Identity,
    /// The proxy shuts down and the drain deadline has passed.
    Drain,
    /// The protected service did not send the next byte in time.
    UpstreamTimeout,
    /// The caller did not send or take the next byte in time.
    ClientTimeout,
    /// The audit trail has no room for the line that it needs.
    Audit,
    /// The other direction of the same exchange is over.
    Finished,
}

impl CutCause {
    /// Every cause that has a metric.
    pub const ALL: [Self; 14] = [
        Self::Grant(EndCause::Expired),
        Self::Grant(EndCause::Revoked),
        Self::Grant(EndCause::TaskDone),
        Self::Grant(EndCause::TaskFailed),
        Self::Grant(EndCause::Idle),
        Self::Grant(EndCause::Limit),
        Self::Grant(EndCause::Superseded),
        Self::Stale,
        Self::Identity,
        Self::Drain,
        Self::UpstreamTimeout,
        Self::ClientTimeout,
        Self::Audit,
        Self::Finished,
    ];

    /// The name in metrics and audit lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grant(cause) => cause.as_str(),
            Self::Stale => "stale",
            Self::Identity => "identity",
            Self::Drain => "drain",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::ClientTimeout => "client_timeout",
            Self::Audit => "audit_unavailable",
            Self::Finished => "finished",
        }
    }

    fn to_u8(self) -> u8 {
        match self {
            Self::Grant(cause) => cause as u8,
            Self::Stale => 100,
            Self::Identity => 101,
            Self::Drain => 102,
            Self::UpstreamTimeout => 103,
            Self::ClientTimeout => 104,
            Self::Finished => 105,
            Self::Audit => 106,
        }
    }

    fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => None,
            100 => Some(Self::Stale),
            101 => Some(Self::Identity),
            102 => Some(Self::Drain),
            103 => Some(Self::UpstreamTimeout),
            104 => Some(Self::ClientTimeout),
            105 => Some(Self::Finished),
            106 => Some(Self::Audit),
            cause => Some(Self::Grant(EndCause::from_u8(cause).unwrap_or(EndCause::Superseded))),
        }
    }
}

/// What a connection is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Wanted {
    /// Go on.
    Run = 0,
    /// Take no further request, finish what runs.
    Retire = 1,
    /// End at once.
    Die = 2,
}

/// Tells a connection what to do; shared by all streams on it. It only ever gets worse.
#[derive(Default)]
pub struct Killer {
    wanted: AtomicU8,
    waker: AtomicWaker,
}

impl Killer {
    /// Asks the connection to take no further request.
    pub fn retire(&self) {
        self.raise(Wanted::Retire);
    }

    /// Asks for the end of the connection.
    pub fn kill(&self) {
        self.raise(Wanted::Die);
    }

    fn raise(&self, wanted: Wanted) {
        if self.wanted.fetch_max(wanted as u8, Ordering::AcqRel) < wanted as u8 {
            self.waker.wake();
        }
    }

    /// What is wanted; `waker` is woken when that changes.
    pub fn poll_wanted(&self, waker: &Waker) -> Wanted {
        self.waker.register(waker);
        self.wanted()
    }

    /// What is wanted.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        match self.wanted.load(Ordering::Acquire) {
            0 => Wanted::Run,
            1 => Wanted::Retire,
            _ => Wanted::Die,
        }
    }
}

/// The two directions of an exchange; each has its own waker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the caller to the service.
    Up = 0,
    /// From the service to the caller (also: waiting for the response).
    Down = 1,
}

/// Whose turn it is; each turn has its own deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The caller is to send the next byte.
    CallerSends = 0,
    /// The service is to send the next byte.
    ServiceSends = 1,
    /// The caller is to take what was sent to it.
    CallerTakes = 2,
}

impl Turn {
    const ALL: [Self; 3] = [Self::CallerSends, Self::ServiceSends, Self::CallerTakes];
}

/// One admitted exchange: the flag that cuts it, the wakers of its two directions, and their deadlines.
pub struct Stream {
    cut: AtomicU8,
    long_lived: AtomicBool,
    condemned: AtomicBool,
    wakers: [AtomicWaker; 2],
    deadlines: [AtomicU64; 3],
    admitted: Mono,
    killer: Arc<Killer>,
    service_killer: OnceLock<Arc<Killer>>,
}

impl Stream {
    /// A stream on the connection that `killer` ends, admitted now.
    #[must_use]
    pub fn new(killer: Arc<Killer>, admitted: Mono) -> Self {
        Self {
            cut: AtomicU8::new(0),
            long_lived: AtomicBool::new(false),
            condemned: AtomicBool::new(false),
            wakers: [AtomicWaker::new(), AtomicWaker::new()],
            deadlines: [const { AtomicU64::new(u64::MAX) }; 3],
            admitted,
            killer,
            service_killer: OnceLock::new(),
        }
    }

    /// When it was admitted.
    #[must_use]
    pub fn admitted(&self) -> Mono {
        self.admitted
    }

    /// Cuts it; the first cause stays. Returns whether this call was the one that did.
    pub fn cut(&self, cause: CutCause) -> bool {
        let first = self.cut.compare_exchange(0, cause.to_u8(), Ordering::AcqRel, Ordering::Acquire).is_ok();
        self.wake();
        first
    }

    /// Why it was cut, if it was.
    #[must_use]
    pub fn cut_cause(&self) -> Option<CutCause> {
        CutCause::from_u8(self.cut.load(Ordering::Acquire))
    }

    /// Remembers who is to be woken when it is cut. The caller looks at [`Self::cut_cause`] again afterwards.
    pub fn register(&self, direction: Direction, waker: &Waker) {
        if let Some(slot) = self.wakers.get(direction as usize) {
            slot.register(waker);
        }
    }

    /// Sets the point in time by which a turn must be over.
    pub fn set_deadline(&self, turn: Turn, deadline: Option<Mono>) {
        if let Some(slot) = self.deadlines.get(turn as usize) {
            slot.store(deadline.map_or(u64::MAX, Mono::as_nanos), Ordering::Relaxed);
        }
    }

    /// The same, unless it is set already: waiting on does not extend a deadline.
    pub fn set_deadline_once(&self, turn: Turn, deadline: Mono) {
        if let Some(slot) = self.deadlines.get(turn as usize)
            && slot.load(Ordering::Relaxed) == u64::MAX
        {
            slot.store(deadline.as_nanos(), Ordering::Relaxed);
        }
    }

    /// The turn whose deadline has passed, if one has.
    #[must_use]
    pub fn overdue(&self, now: Mono) -> Option<Turn> {
        Turn::ALL
            .into_iter()
            .zip(&self.deadlines)
            .find_map(|(turn, deadline)| (now.as_nanos() >= deadline.load(Ordering::Relaxed)).then_some(turn))
    }

    /// Marks it as long-lived (it gets an `admit` line) and wakes it so that it can write one.
    pub fn mark_long_lived(&self) {
        if !self.long_lived.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Whether it was marked as long-lived.
    #[must_use]
    pub fn is_long_lived(&self) -> bool {
        self.long_lived.load(Ordering::Acquire)
    }

    /// Marks it as cut and still there; returns whether it was marked before.
    pub fn condemn(&self) -> bool {
        self.condemned.swap(true, Ordering::AcqRel)
    }

    /// Names the connection to the service that it runs on, to be ended by force as well.
    pub fn runs_on(&self, service_connection: &Arc<Killer>) {
        // One exchange runs on one connection; a second try comes only after the first connection was dead.
        let _ = self.service_killer.set(Arc::clone(service_connection));
    }

    /// Ends its connections by force.
    pub fn kill_connections(&self) {
        self.killer.kill();
        if let Some(service) = self.service_killer.get() {
            service.kill();
        }
    }

    fn wake(&self) {
        for waker in &self.wakers {
            waker.wake();
        }
    }
}

/// Counts what is still running of what was ended together.
#[derive(Default)]
pub struct Countdown {
    remaining: AtomicUsize,
    waker: AtomicWaker,
}

impl Countdown {
    fn add(&self, streams: usize) {
        self.remaining.fetch_add(streams, Ordering::AcqRel);
    }

    fn take(&self) {
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waker.wake();
        }
    }

    /// How many still run.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.remaining.load(Ordering::Acquire)
    }

    /// Whether nothing runs any more; if something does, `waker` is woken when it no longer does.
    pub fn poll_done(&self, waker: &Waker) -> bool {
        if self.remaining() == 0 {
            return true;
        }
        self.waker.register(waker);
        self.remaining() == 0
    }
}

/// Why an admission was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The grant has ended.
    Ended(EndCause),
    /// As many streams as the grant allows are running.
    ConcurrentStreams,
    /// The grant's rate is used up for now.
    Rate,
    /// The grant's bytes are used up.
    Bytes,
    /// No use is set aside here: one must be reserved at the control plane first.
    NeedsUse,
    /// The control plane has no use left to give.
    NoUseLeft,
}

/// What was used under a grant at this proxy, cumulative since the entry was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Requests admitted.
    pub requests: u64,
    /// Body bytes, both directions.
    pub bytes: u64,
    /// Streams that run now.
    pub running: u64,
}

#[derive(Default)]
struct Inner {
    streams: Slab<Arc<Stream>>,
    countdowns: Vec<Arc<Countdown>>,
    requests: u64,
    uses_left: u64,
    uses_exhausted: bool,
    rate: Bucket,
}

/// A token bucket in nanoseconds: `level` is how much of the burst is used up; it drains with time.
#[derive(Default)]
struct Bucket {
    full_until: u64,
}

impl Bucket {
    /// Generic cell rate algorithm: at most `requests` at once, then one per `per / requests`.
    fn take(&mut self, limits: &Limits, now: Mono) -> bool {
        let Some(rate) = limits.rate else { return true };
        let window = u64::try_from(rate.per.get().as_nanos()).unwrap_or(u64::MAX);
        let interval = (window / u64::from(rate.requests.get())).max(1);
        let next = self.full_until.max(now.as_nanos()).saturating_add(interval);
        if next > now.as_nanos().saturating_add(window) {
            return false;
        }
        self.full_until = next;
        true
    }
}

/// All that was admitted under one grant. 32 bytes until it is first used.
#[derive(Default)]
pub struct Entry {
    ended: AtomicU8,
    touched: AtomicBool,
    inner: Mutex<Option<Box<Inner>>>,
    bytes: AtomicU64,
}

/// The place of a stream in its entry; given back by [`Entry::leave`].
#[derive(Debug)]
pub struct Place(usize);

impl Entry {
    /// Admits a stream, or says why not. Limits are taken only if everything holds.
    ///
    /// # Errors
    /// [`Refused`]; nothing was taken.
    pub fn admit(&self, stream: &Arc<Stream>, limits: &Limits, now: Mono) -> Result<Place, Refused> {
        let mut guard = self.lock();
        if let Some(cause) = self.ended() {
            return Err(Refused::Ended(cause));
        }
        let inner = guard.get_or_insert_default();
        if limits.concurrent_streams.is_some_and(|most| inner.streams.len() >= most.get() as usize) {
            return Err(Refused::ConcurrentStreams);
        }
        if limits.bytes.is_some_and(|most| self.bytes() >= most.get()) {
            return Err(Refused::Bytes);
        }
        if limits.max_uses.is_some() && inner.uses_left == 0 {
            return Err(if inner.uses_exhausted { Refused::NoUseLeft } else { Refused::NeedsUse });
        }
        if !inner.rate.take(limits, now) {
            return Err(Refused::Rate);
        }
        if limits.max_uses.is_some() {
            inner.uses_left -= 1;
        }
        inner.requests += 1;
        Ok(Place(inner.streams.insert(Arc::clone(stream))))
    }

    /// Takes a stream out again: it is gone.
    pub fn leave(&self, place: &Place) {
        let mut guard = self.lock();
        let Some(inner) = guard.as_mut() else { return };
        if inner.streams.try_remove(place.0).is_some() {
            inner.countdowns.iter().for_each(|countdown| countdown.take());
        }
    }

    /// Ends the grant for good and cuts what runs under it; what it found is added to `countdown` and returned. At a second end
    /// the first cause stays, and what is still left is counted again.
    pub fn end(&self, cause: EndCause, countdown: &Arc<Countdown>) -> Vec<Arc<Stream>> {
        let streams: Vec<_> = {
            let mut guard = self.lock();
            let _ = self.ended.compare_exchange(0, cause as u8, Ordering::AcqRel, Ordering::Acquire);
            let Some(inner) = guard.as_mut() else { return Vec::new() };
            countdown.add(inner.streams.len());
            inner.countdowns.push(Arc::clone(countdown));
            inner.streams.iter().map(|(_, stream)| Arc::clone(stream)).collect()
        };
        // Outside the lock: whoever is woken takes the lock to leave.
        for stream in &streams {
            stream.cut(CutCause::Grant(cause));
        }
        streams
    }

    /// Why the grant ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<EndCause> {
        EndCause::from_u8(self.ended.load(Ordering::Acquire))
    }

    /// Books uses that the control plane set aside; none means that it has none left.
    pub fn add_uses(&self, granted: u64) {
        let mut guard = self.lock();
        let inner = guard.get_or_insert_default();
        inner.uses_left = inner.uses_left.saturating_add(granted);
        inner.uses_exhausted = granted == 0;
    }

    /// Counts body bytes; returns the new total.
    pub fn add_bytes(&self, bytes: u64) -> u64 {
        self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }

    /// Body bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Marks it as used since the last report; returns whether this is the first time since.
    pub fn touch(&self) -> bool {
        !self.touched.load(Ordering::Relaxed) && !self.touched.swap(true, Ordering::AcqRel)
    }

    /// What was used, and clears the mark of [`Self::touch`].
    pub fn report(&self) -> Used {
        self.touched.store(false, Ordering::Release);
        let guard = self.lock();
        let (requests, running) =
            guard.as_ref().map_or((0, 0), |inner| (inner.requests, inner.streams.len()));
        Used { requests, bytes: self.bytes(), running: running as u64 }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Inner>>> {
        // A panic elsewhere cannot leave the list half-changed: each change is one call.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
