//! One admitted exchange as others see it: the flag that cuts it, who is woken by that, and whose turn it is until when.

use super::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::model::EndCause;
use crate::runtime::clock::Mono;
use futures_util::task::AtomicWaker;
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

    /// Whether nothing more may reach the service from now on (law 5), or the exchange has merely come to an end.
    fn takes_the_right(self) -> bool {
        match self {
            Self::Grant(_) | Self::Stale | Self::Identity | Self::Drain | Self::Audit => true,
            Self::UpstreamTimeout | Self::ClientTimeout | Self::Finished => false,
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

    /// Lets the connection look again.
    pub fn wake(&self) {
        self.waker.wake();
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
    /// Some cut of it took the right away, also when another cause came first.
    forbidden: AtomicBool,
    wakers: [AtomicWaker; 2],
    deadlines: [AtomicU64; 3],
    admitted: Mono,
    killer: Arc<Killer>,
    /// The connection to the service that still holds something of it, where others share that connection.
    held_by: Mutex<Option<Arc<Killer>>>,
}

impl Stream {
    /// A stream on the connection that `killer` ends, admitted now.
    #[must_use]
    pub fn new(killer: Arc<Killer>, admitted: Mono) -> Self {
        Self {
            cut: AtomicU8::new(0),
            long_lived: AtomicBool::new(false),
            condemned: AtomicBool::new(false),
            forbidden: AtomicBool::new(false),
            wakers: [AtomicWaker::new(), AtomicWaker::new()],
            deadlines: [const { AtomicU64::new(u64::MAX) }; 3],
            admitted,
            killer,
            held_by: Mutex::new(None),
        }
    }

    /// When it was admitted.
    #[must_use]
    pub fn admitted(&self) -> Mono {
        self.admitted
    }

    /// Cuts it; the first cause stays. Returns whether this call was the one that did.
    pub fn cut(&self, cause: CutCause) -> bool {
        if cause.takes_the_right() {
            self.forbidden.store(true, Ordering::Release);
        }
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

    /// The same, if it is set: what moves elsewhere gives a turn that has begun more time, and begins none.
    pub fn renew_deadline(&self, turn: Turn, deadline: Mono) {
        if let Some(slot) = self.deadlines.get(turn as usize)
            && slot.load(Ordering::Relaxed) != u64::MAX
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

    /// A connection to the service, shared with others, holds something of it from now on.
    pub fn held_by(&self, service_connection: &Arc<Killer>) {
        *self.holder() = Some(Arc::clone(service_connection));
    }

    /// This connection to the service holds nothing of it any more; another one may, by which it was tried again.
    pub fn let_go(&self, service_connection: &Arc<Killer>) {
        self.holder().take_if(|holder| Arc::ptr_eq(holder, service_connection));
    }

    /// Ends its caller's connection by force. What is over, or was given up for the service, may wait there until that takes it, as
    /// long as it has the right.
    /// Returns whether a connection to the service has to end as well if it still holds something of it shortly after: that of a
    /// caller is mostly enough, and others share that of the service.
    pub fn kill_connection(&self) -> bool {
        let held = self.holder().is_some();
        let forbidden = self.forbidden.load(Ordering::Acquire);
        let of_the_service = matches!(self.cut_cause(), Some(CutCause::Finished | CutCause::UpstreamTimeout));
        if !held || forbidden || !of_the_service {
            self.killer.kill();
        }
        held && forbidden
    }

    /// Ends the connection to the service that still holds something of it, if one does.
    pub fn kill_holder(&self) {
        if let Some(service) = self.holder().clone() {
            service.kill();
        }
    }

    fn holder(&self) -> MutexGuard<'_, Option<Arc<Killer>>> {
        // A panic elsewhere leaves it as it is: one pointer.
        self.held_by.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wake(&self) {
        for waker in &self.wakers {
            waker.wake();
        }
    }
}
