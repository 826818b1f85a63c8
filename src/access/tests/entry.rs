//! One grant's entry: who may enter, who is cut, what is counted. Apart from `entry.rs`, which `tests/race.rs` compiles anew.

use crate::access::entry::*;
use crate::access::stream::*;
use crate::model::{EndCause, Limits};
use crate::runtime::clock::Mono;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

fn stream() -> Arc<Stream> {
    Arc::new(Stream::new(Arc::default(), Mono::from_nanos(0)))
}

#[test]
fn an_ended_entry_admits_nothing_even_if_it_was_empty() {
    let (entry, countdown) = (Entry::default(), Arc::default());
    assert!(entry.end(EndCause::Revoked, &countdown).is_empty());
    let refused = entry.admit(&stream(), &Limits::default(), Mono::from_nanos(1)).unwrap_err();
    assert_eq!(refused, Refused::Ended(EndCause::Revoked));
    assert_eq!(countdown.remaining(), 0);
}

#[test]
fn an_end_cuts_what_runs_and_counts_it_down() {
    let (entry, countdown) = (Entry::default(), Arc::default());
    let (one, two) = (stream(), stream());
    let now = Mono::from_nanos(1);
    let first = entry.admit(&one, &Limits::default(), now).unwrap();
    let second = entry.admit(&two, &Limits::default(), now).unwrap();
    entry.leave(&second);
    assert_eq!(entry.end(EndCause::Expired, &countdown).len(), 1);
    assert_eq!(one.cut_cause(), Some(CutCause::Grant(EndCause::Expired)));
    assert_eq!(two.cut_cause(), None);
    assert_eq!(countdown.remaining(), 1);
    let again = Arc::default();
    entry.end(EndCause::Revoked, &again);
    assert_eq!((entry.ended(), again.remaining()), (Some(EndCause::Expired), 1));
    entry.leave(&first);
    assert_eq!((countdown.remaining(), again.remaining()), (0, 0));
    entry.leave(&first);
    assert_eq!(countdown.remaining(), 0, "leaving twice counts once");
}

#[test]
fn an_attendance_takes_nothing_and_is_cut_all_the_same() {
    let (entry, countdown) = (Entry::default(), Arc::default());
    let limits =
        Limits { max_uses: NonZeroU64::new(1), concurrent_streams: NonZeroU32::new(1), ..Limits::default() };
    let (there, call) = (stream(), stream());
    let place = entry.attend(&there).unwrap();
    assert!(place.is_attendance());
    assert_eq!(entry.report(), Used { requests: 0, bytes: 0, running: 0 });
    entry.add_uses(1);
    let working = entry.admit(&call, &limits, Mono::from_nanos(1)).unwrap();
    assert_eq!(entry.report(), Used { requests: 1, bytes: 0, running: 1 });
    entry.leave(&working);
    assert_eq!(entry.report().running, 0, "who attends is no activity");
    assert_eq!(entry.end(EndCause::Revoked, &countdown).len(), 1);
    assert_eq!((there.cut_cause(), countdown.remaining()), (Some(CutCause::Grant(EndCause::Revoked)), 1));
    entry.leave(&place);
    entry.leave(&place);
    assert_eq!(countdown.remaining(), 0);
    assert_eq!(entry.attend(&stream()).unwrap_err(), Refused::Ended(EndCause::Revoked));
}

#[test]
fn limits_are_taken_together_or_not_at_all() {
    let entry = Entry::default();
    let limits =
        Limits { max_uses: NonZeroU64::new(1), concurrent_streams: NonZeroU32::new(1), ..Limits::default() };
    let now = Mono::from_nanos(1);
    assert_eq!(entry.admit(&stream(), &limits, now).unwrap_err(), Refused::NeedsUse);
    entry.add_uses(2);
    let place = entry.admit(&stream(), &limits, now).unwrap();
    assert_eq!(entry.admit(&stream(), &limits, now).unwrap_err(), Refused::ConcurrentStreams);
    entry.leave(&place);
    entry.admit(&stream(), &limits, now).map(|place| entry.leave(&place)).unwrap();
    assert_eq!(entry.admit(&stream(), &limits, now).unwrap_err(), Refused::NeedsUse);
    entry.add_uses(0);
    assert_eq!(entry.admit(&stream(), &limits, now).unwrap_err(), Refused::NoUseLeft);
}

#[test]
fn a_grant_is_used_up_when_no_use_is_left_here_or_elsewhere() {
    let (entry, now) = (Entry::default(), Mono::from_nanos(1));
    let limits = Limits { max_uses: NonZeroU64::new(2), ..Limits::default() };
    assert!(!entry.is_used_up(&limits), "nothing is known");
    for used_up in [false, true] {
        entry.add_uses(1);
        assert!(!entry.is_used_up(&limits));
        let place = entry.admit(&stream(), &limits, now).unwrap();
        entry.leave(&place);
        assert_eq!(entry.is_used_up(&limits), used_up);
    }
    let elsewhere = Entry::default();
    elsewhere.add_uses(0);
    assert!(elsewhere.is_used_up(&limits) && !elsewhere.is_used_up(&Limits::default()));
}

#[test]
fn a_rate_allows_its_burst_and_then_one_per_interval() {
    let entry = Entry::default();
    let rate =
        crate::model::grant::Rate { requests: NonZeroU32::new(2).unwrap(), per: "1s".parse().unwrap() };
    let limits = Limits { rate: Some(rate), ..Limits::default() };
    let start = Mono::from_nanos(5_000_000_000);
    let at = |after: Duration| entry.admit(&stream(), &limits, start.plus(after)).is_ok();
    assert!(at(Duration::ZERO) && at(Duration::ZERO) && !at(Duration::ZERO));
    assert!(
        !at(Duration::from_millis(499)) && at(Duration::from_millis(500)) && !at(Duration::from_millis(501))
    );
    assert!(at(Duration::from_secs(9)) && at(Duration::from_secs(9)) && !at(Duration::from_secs(9)));
}

#[test]
fn every_cause_survives_the_flag() {
    for cause in CutCause::ALL {
        let stream = stream();
        assert!(stream.cut(cause) && !stream.cut(CutCause::Drain));
        assert_eq!(stream.cut_cause(), Some(cause));
    }
}
