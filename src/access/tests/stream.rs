//! What is ended by force.

use crate::access::stream::{CutCause, Killer, Stream, Wanted};
use crate::model::EndCause;
use crate::runtime::clock::Mono;
use std::sync::Arc;

fn stream() -> (Stream, [Arc<Killer>; 2]) {
    let (caller, service) = (Arc::<Killer>::default(), Arc::<Killer>::default());
    let stream = Stream::new(Arc::clone(&caller), Mono::from_nanos(0));
    stream.held_by(&service);
    (stream, [caller, service])
}

#[test]
fn a_connection_that_others_share_is_ended_only_for_a_right_that_is_gone() {
    let (stream, killers) = stream();
    let wanted = || killers.each_ref().map(|killer| killer.wanted());
    stream.cut(CutCause::Finished);
    assert!(!stream.kill_connection());
    assert_eq!(wanted(), [Wanted::Run, Wanted::Run], "what is merely over waits");
    stream.cut(CutCause::Grant(EndCause::Revoked));
    assert_eq!(stream.cut_cause(), Some(CutCause::Finished));
    assert!(stream.kill_connection(), "the right ended while it waited");
    assert_eq!(wanted(), [Wanted::Die, Wanted::Run], "the caller's first: that is mostly enough");
    stream.kill_holder();
    assert_eq!(wanted(), [Wanted::Die, Wanted::Die]);
}

#[test]
fn a_service_that_is_too_slow_costs_the_caller_no_connection_and_a_late_word_of_another_connection_is_none() {
    let (stream, [caller, service]) = stream();
    stream.let_go(&Arc::default());
    stream.cut(CutCause::UpstreamTimeout);
    assert!(!stream.kill_connection());
    assert_eq!(caller.wanted(), Wanted::Run);
    stream.kill_holder();
    assert_eq!(service.wanted(), Wanted::Die, "it is still held");
}

#[test]
fn a_caller_that_takes_nothing_loses_its_connection_and_nobody_elses_ends() {
    let (stream, [caller, service]) = stream();
    stream.cut(CutCause::ClientTimeout);
    assert!(!stream.kill_connection());
    assert_eq!((caller.wanted(), service.wanted()), (Wanted::Die, Wanted::Run));
}

#[test]
fn a_connection_that_holds_nothing_of_it_goes_on() {
    let (stream, [caller, service]) = stream();
    stream.let_go(&service);
    stream.cut(CutCause::Grant(EndCause::Revoked));
    assert!(!stream.kill_connection());
    stream.kill_holder();
    assert_eq!((caller.wanted(), service.wanted()), (Wanted::Die, Wanted::Run));
}
