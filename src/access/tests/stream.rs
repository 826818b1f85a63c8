//! What is ended by force.

use crate::access::stream::{CutCause, Killer, Stream, Wanted};
use crate::model::EndCause;
use crate::runtime::clock::Mono;
use std::sync::Arc;

#[test]
fn a_connection_that_others_share_is_ended_only_for_a_right_that_is_gone() {
    let (caller, service) = (Arc::<Killer>::default(), Arc::<Killer>::default());
    let wanted = || (caller.wanted(), service.wanted());
    let stream = Stream::new(Arc::clone(&caller), Mono::from_nanos(0));
    stream.held_by(&service);
    stream.cut(CutCause::Finished);
    stream.kill_connections();
    assert_eq!(wanted(), (Wanted::Run, Wanted::Run), "what is merely over waits");
    stream.cut(CutCause::Grant(EndCause::Revoked));
    assert_eq!(stream.cut_cause(), Some(CutCause::Finished));
    stream.kill_connections();
    assert_eq!(wanted(), (Wanted::Die, Wanted::Die), "the right ended while it waited");
}

#[test]
fn a_connection_that_holds_nothing_of_it_goes_on() {
    let (caller, service) = (Arc::<Killer>::default(), Arc::<Killer>::default());
    let stream = Stream::new(Arc::clone(&caller), Mono::from_nanos(0));
    stream.held_by(&service);
    stream.let_go();
    stream.cut(CutCause::Grant(EndCause::Revoked));
    stream.kill_connections();
    assert_eq!((caller.wanted(), service.wanted()), (Wanted::Die, Wanted::Run));
}
