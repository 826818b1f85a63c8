//! A live exchange: the only thing that a request can be forwarded with.
//!
//! It is made by [`Gate::admit`](super::Gate::admit) alone and is gone when it is dropped, which takes it out of its grant's
//! entry and off its connection; an acknowledgement of a revocation waits for that. Both directions share it.

use crate::access::entry::Place;
use crate::access::stream::{CutCause, Direction, Stream, Turn};
use crate::access::{Cell, Lease};
use crate::model::{EndCause, Time};
use crate::runtime::clock::Mono;
use crate::session::Caller;
use crate::session::gate::Gate;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// One admitted exchange. Not `Clone`, no public constructor:
///
/// ```compile_fail
/// use jitgate::session::Live;
/// fn forge() -> Live {
///     Live { cell: todo!() }
/// }
/// ```
pub struct Live {
    gate: Arc<Gate>,
    cell: Arc<Cell>,
    caller: Arc<Caller>,
    stream: Arc<Stream>,
    place: Place,
    seat: usize,
}

impl Live {
    pub(super) fn new(
        gate: Arc<Gate>,
        cell: Arc<Cell>,
        caller: Arc<Caller>,
        stream: Arc<Stream>,
        place: Place,
    ) -> Self {
        let seat = caller.enter(&stream);
        Self { gate, cell, caller, stream, place, seat }
    }

    /// The grant that it runs under.
    #[must_use]
    pub fn cell(&self) -> &Arc<Cell> {
        &self.cell
    }

    /// The caller that it runs for.
    #[must_use]
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Its flag and wakers.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Whether a frame may be handed on now: not cut, lease fresh, grant not expired (law 4, 5, 6).
    ///
    /// # Errors
    /// Why not; the exchange is cut from then on.
    pub fn check(&self, now: Mono) -> Result<(), CutCause> {
        check(&self.stream, self.gate.lease(), self.cell.expires_at(), now)
    }

    /// The same, and counts `bytes` of a body.
    ///
    /// # Errors
    /// Why the frame may not be handed on, also because the grant's bytes are used up.
    pub fn check_frame(&self, bytes: usize, now: Mono) -> Result<(), CutCause> {
        self.check(now)?;
        let total = self.cell.entry.add_bytes(bytes as u64);
        match self.cell.limits().bytes {
            Some(most) if total > most.get() => Err(self.cut(CutCause::Grant(EndCause::Limit))),
            Some(_) | None => Ok(()),
        }
    }

    /// Cuts it, if it was not cut before; returns the cause that counts.
    pub fn cut(&self, cause: CutCause) -> CutCause {
        self.stream.cut(cause);
        self.stream.cut_cause().unwrap_or(cause)
    }

    /// Counts a cut in `jitgate_streams_cut_total`.
    pub fn count_cut(&self, cause: CutCause) {
        self.gate.count_cut(cause);
    }

    /// Nothing moves just now: `waker` is woken when it is cut, and the sweep cuts it when `patience` has passed since the turn
    /// began (the end of a turn is told by `stream().set_deadline(turn, None)`).
    ///
    /// # Errors
    /// It was cut meanwhile.
    pub fn wait(&self, turn: Turn, waker: &Waker, patience: Duration, now: Mono) -> Result<(), CutCause> {
        self.stream.set_deadline_once(turn, now.plus(patience));
        let direction = match turn {
            Turn::CallerSends => Direction::Up,
            Turn::ServiceSends | Turn::CallerTakes => Direction::Down,
        };
        self.stream.register(direction, waker);
        self.stream.cut_cause().map_or(Ok(()), Err)
    }
}

fn check(stream: &Stream, lease: &Lease, expires_at: Time, now: Mono) -> Result<(), CutCause> {
    if let Some(cause) = stream.cut_cause() {
        return Err(cause);
    }
    let cause = match lease.now(now) {
        Ok(time) if time < expires_at => return Ok(()),
        Ok(_) => CutCause::Grant(EndCause::Expired),
        Err(_) => CutCause::Stale,
    };
    stream.cut(cause);
    Err(stream.cut_cause().unwrap_or(cause))
}

impl Drop for Live {
    fn drop(&mut self) {
        self.cell.entry.leave(&self.place);
        self.caller.leave(self.seat);
        self.gate.left(&self.cell, &self.place);
    }
}
