//! The sweep: what ends by the clock alone. Each worker calls [`sweep`] for its callers every [`EVERY`].
//!
//! Timers only cut earlier: every frame is checked against the clock anyway (law 4). So one coarse pass serves for all of them,
//! and a request arms no timer of its own.

use crate::access::stream::{CutCause, Stream, Turn};
use crate::config::Limits;
use crate::model::Time;
use crate::runtime::clock::Mono;
use crate::session::{Callers, Gate};
use std::sync::Arc;
use std::time::Duration;

/// The time between two sweeps. A stream that was cut and is still there at the second sweep after that loses its connection: at
/// most 200 ms, within the 250 ms of law 5.
pub const EVERY: Duration = Duration::from_millis(100);

/// A stream that lives longer than this gets an `admit` line.
pub const LONG_LIVED: Duration = Duration::from_secs(10);

/// A connection that was told to retire and has nothing to finish is given this long.
const GRACE: Duration = Duration::from_secs(10);

/// What a shared connection to a service still holds so long after the caller's connection was ended, ends with that connection.
pub const SHORTLY: Duration = Duration::from_millis(20);

/// Cuts what is overdue, stale, or on a connection whose certificate has expired. Returns what a connection to a service may hold
/// for [`SHORTLY`] only.
#[must_use]
pub fn sweep(callers: &Callers, gate: &Gate, limits: &Limits, now: Mono, wall: Time) -> Vec<Arc<Stream>> {
    let stale = gate.lease().now(now).is_err();
    let mut held = Vec::new();
    callers.for_each(|caller| {
        if caller.peer().not_after() <= wall {
            caller.end(CutCause::Identity);
            // What of it is stuck at a service does not end with its connection.
            caller.for_each_stream(|stream| sweep_stream(stream, stale, now, &mut held));
            return;
        }
        caller.for_each_stream(|stream| sweep_stream(stream, stale, now, &mut held));
        let waited = caller.idle_for(now);
        let head_limit = Mono::from_nanos(now.as_nanos().saturating_sub(nanos(limits.header_timeout)));
        let idle = |longest| waited.is_some_and(|waited| waited >= longest);
        if caller.head_since_before(head_limit) || idle(limits.idle_timeout + GRACE) {
            caller.killer().kill();
        } else if idle(limits.idle_timeout) {
            caller.killer().retire();
        }
    });
    held
}

fn sweep_stream(stream: &Arc<Stream>, stale: bool, now: Mono, held: &mut Vec<Arc<Stream>>) {
    // What was cut before, because it was over, may still have bytes on their way.
    if stale && stream.cut(CutCause::Stale) {
        return;
    }
    if stream.cut_cause().is_some() {
        if stream.condemn() && stream.kill_connection() {
            held.push(Arc::clone(stream));
        }
        return;
    }
    match stream.overdue(now) {
        Some(Turn::CallerSends | Turn::CallerTakes) => _ = stream.cut(CutCause::ClientTimeout),
        Some(Turn::ServiceSends) => _ = stream.cut(CutCause::UpstreamTimeout),
        None => {}
    }
    if now.since(stream.admitted()) >= LONG_LIVED {
        stream.mark_long_lived();
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
