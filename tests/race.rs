//! The admission race, under every schedule that shuttle explores: `src/access/entry.rs` and `stream.rs` themselves, on shuttle's primitives.
//!
//! What must hold whatever the order: once a revoker has seen its countdown at zero, no request is or will ever be admitted that
//! was not cut.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends by panicking; clippy's exceptions for tests do not reach helpers"
)]

/// Shuttle's primitives in place of the standard library's.
mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
}

mod model {
    pub(crate) use jitgate::model::{EndCause, Limits};
}

mod runtime {
    pub(crate) use jitgate::runtime::clock;
}

#[path = "../src/access/stream.rs"]
#[allow(dead_code, unreachable_pub, reason = "the file under test is compiled whole")]
mod stream;

#[path = "../src/access/entry.rs"]
#[allow(dead_code, unreachable_pub, reason = "the file under test is compiled whole")]
mod entry;

use entry::{Countdown, Entry};
use jitgate::model::{EndCause, Limits};
use jitgate::runtime::clock::Mono;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;
use stream::Stream;

fn stream() -> Arc<Stream> {
    Arc::new(Stream::new(Arc::default(), Mono::from_nanos(1)))
}

/// Requests come and go while the grant is revoked. `acknowledged` is set as a proxy would acknowledge: after the end, once
/// nothing is left.
fn race() {
    let entry = Arc::new(Entry::default());
    let acknowledged = Arc::new(AtomicBool::new(false));
    let running: Arc<Mutex<Vec<Arc<Stream>>>> = Arc::default();
    let requests: Vec<_> = (0..2)
        .map(|_| {
            let (entry, acknowledged, running) = (entry.clone(), acknowledged.clone(), running.clone());
            thread::spawn(move || {
                let stream = stream();
                let Ok(place) = entry.admit(&stream, &Limits::default(), Mono::from_nanos(2)) else { return };
                running.lock().unwrap().push(stream.clone());
                // A frame is handed on only if the stream is not cut; if it is not, nobody may have acknowledged.
                if stream.cut_cause().is_none() {
                    let late = acknowledged.load(Ordering::SeqCst);
                    assert!(!late || stream.cut_cause().is_some(), "handed on after the acknowledgement");
                }
                running.lock().unwrap().retain(|other| !Arc::ptr_eq(other, &stream));
                entry.leave(&place);
            })
        })
        .collect();
    let revoker = {
        let (entry, acknowledged, running) = (entry.clone(), acknowledged.clone(), running.clone());
        thread::spawn(move || {
            let countdown = Arc::new(Countdown::default());
            entry.end(EndCause::Revoked, &countdown);
            while countdown.remaining() > 0 {
                thread::yield_now();
            }
            acknowledged.store(true, Ordering::SeqCst);
            assert!(running.lock().unwrap().is_empty(), "acknowledged while a stream was running");
            let refused = entry.admit(&stream(), &Limits::default(), Mono::from_nanos(3));
            assert!(refused.is_err(), "admitted after the acknowledgement");
        })
    };
    for request in requests {
        request.join().unwrap();
    }
    revoker.join().unwrap();
}

#[test]
fn nothing_runs_after_an_acknowledgement_in_random_schedules() {
    shuttle::check_random(race, 20_000);
}

#[test]
fn nothing_runs_after_an_acknowledgement_in_adversarial_schedules() {
    shuttle::check_pct(race, 20_000, 4);
}
