//! Sessions belong to whoever opened them, and what is full refuses what is new.

use super::*;
use crate::mcp::{Limits, ListKind, answer};
use std::time::Duration;

const NOW: Time = Time::from_micros(1_000_000_000);

fn owner(principal: &str, service: &str, route: u32) -> Owner {
    let principal = format!("spiffe://example.internal/agent/{principal}").parse().unwrap();
    Owner { principal, service: service.parse().unwrap(), route: Route(route) }
}

fn id(text: &str) -> SessionId {
    text.parse().unwrap()
}

fn event(text: &str) -> EventId {
    text.parse().unwrap()
}

fn sessions() -> Sessions<&'static str> {
    let mut sessions = Sessions::new(Bounds {
        sessions: 3,
        sessions_per_principal: 2,
        calls: 2,
        abandoned: 2,
        questions: 1,
        events: 2,
        idle: Duration::from_secs(60),
    });
    sessions.open(&id("s"), owner("a", "ops", 1), Version::V20251125, Vec::new(), NOW).unwrap();
    sessions
}

fn call(of: &'static str) -> Call<&'static str> {
    Call { list: None, makes_task: false, most: None, of }
}

fn heard(text: &str) -> Answer {
    answer::read(text.as_bytes(), Version::V20251125, Limits::default()).unwrap().remove(0)
}

fn after(seconds: u64) -> Time {
    NOW.plus(Duration::from_secs(seconds))
}

#[test]
fn a_session_is_nobody_elses_and_on_no_other_route() {
    let mut sessions = sessions();
    let mine = owner("a", "ops", 1);
    assert_eq!(
        sessions.find(&id("s"), &mine.principal, &mine.service, NOW),
        Ok((Route(1), Version::V20251125))
    );
    for other in [owner("b", "ops", 1), owner("a", "oops", 1), owner("a", "ops", 2)] {
        let unknown = Err(SessionError::Unknown);
        if other.route == mine.route {
            assert_eq!(
                sessions.find(&id("s"), &other.principal, &other.service, NOW),
                Err(SessionError::Unknown)
            );
        }
        assert_eq!(sessions.call(&id("s"), &other, (Id::Number(1), call("g")), NOW), unknown);
        assert_eq!(sessions.answer(&id("s"), &other, &Id::Number(1), NOW), unknown);
        assert_eq!(sessions.event(&id("s"), &other, event("e"), None, NOW), unknown);
        assert_eq!(sessions.resume(&id("s"), &other, &event("e"), NOW).err(), Some(SessionError::Unknown));
        assert_eq!(sessions.finish(&id("s"), &other, &Id::Number(1)), None);
        assert!(!sessions.close(&id("s"), &other));
        // Nobody takes over by making the service give out the same id, unless at another service.
        let opened = sessions.open(&id("s"), other.clone(), Version::V20251125, Vec::new(), NOW);
        assert_eq!(opened.is_ok(), other.service != mine.service);
    }
    assert!(sessions.find(&id("s"), &mine.principal, &mine.service, NOW).is_ok());
    assert!(sessions.close(&id("s"), &mine) && !sessions.close(&id("s"), &mine));
    assert!(sessions.find(&id("s"), &mine.principal, &mine.service, NOW).is_err());
}

#[test]
fn an_answer_passes_for_what_was_asked_and_once() {
    let (mut sessions, mine, s) = (sessions(), owner("a", "ops", 1), id("s"));
    assert_eq!(sessions.answer(&s, &mine, &Id::Number(7), NOW), Err(SessionError::NotAsked));
    let question = heard(r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage"}"#);
    assert_eq!(sessions.hear(&s, &mine, &question, None, NOW), Ok(Belongs::ToSession));
    assert_eq!(sessions.answer(&s, &mine, &Id::Text("7".into()), NOW), Err(SessionError::NotAsked));
    assert_eq!(
        sessions.hear(&s, &mine, &question, None, NOW),
        Ok(Belongs::ToSession),
        "told again after a resumption"
    );
    let another = heard(r#"{"jsonrpc":"2.0","id":8,"method":"roots/list"}"#);
    assert_eq!(sessions.hear(&s, &mine, &another, Some("g1"), NOW), Ok(Belongs::ToSession));
    assert_eq!(
        sessions.answer(&s, &mine, &Id::Number(7), NOW),
        Err(SessionError::NotAsked),
        "the oldest made room"
    );
    assert_eq!(
        sessions.asked(&s, &mine, &Id::Number(8), NOW),
        Ok(Some(&"g1")),
        "whoever answers goes on with that call"
    );
    assert_eq!(sessions.answer(&s, &mine, &Id::Number(8), NOW), Ok(()));
    assert_eq!(sessions.answer(&s, &mine, &Id::Number(8), NOW), Err(SessionError::NotAsked));
    assert_eq!(sessions.hear(&s, &mine, &another, Some("g1"), NOW), Ok(Belongs::ToSession));
    sessions.end_calls(|grant| *grant == "g1");
    assert_eq!(
        sessions.asked(&s, &mine, &Id::Number(8), NOW),
        Err(SessionError::NotAsked),
        "its grant has ended"
    );
}

#[test]
fn a_result_belongs_to_its_call() {
    let (mut sessions, mine, s) = (sessions(), owner("a", "ops", 1), id("s"));
    let result = heard(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(sessions.hear(&s, &mine, &result, None, NOW), Err(SessionError::NotCalled));
    let list = Call { list: Some(ListKind::Tools), makes_task: false, most: None, of: "g1" };
    sessions.call(&s, &mine, (Id::Number(1), list.clone()), NOW).unwrap();
    assert_eq!(sessions.hear(&s, &mine, &result, None, NOW), Ok(Belongs::ToCall(&list)));
    assert_eq!(sessions.call(&s, &mine, (Id::Number(1), call("g2")), NOW), Err(SessionError::IdInUse));
    sessions.call(&s, &mine, (Id::Number(2), call("g2")), NOW).unwrap();
    assert_eq!(sessions.call(&s, &mine, (Id::Number(3), call("g2")), NOW), Err(SessionError::TooManyCalls));
    assert_eq!(sessions.finish(&s, &mine, &Id::Number(1)), Some("g1"));
    assert_eq!(sessions.hear(&s, &mine, &result, None, NOW), Err(SessionError::NotCalled));
    sessions.end_calls(|grant| *grant == "g2");
    let error = heard(r#"{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":""}}"#);
    assert_eq!(
        sessions.hear(&s, &mine, &error, None, NOW),
        Err(SessionError::NotCalled),
        "its grant has ended"
    );
    let unreadable = heard(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#);
    assert_eq!(sessions.hear(&s, &mine, &unreadable, None, NOW), Ok(Belongs::ToSession));
}

#[test]
fn what_is_withdrawn_is_known_until_it_is_over() {
    let (mut sessions, mine, s) = (sessions(), owner("a", "ops", 1), id("s"));
    let one = Id::Number(1);
    sessions.withdraw(&s, &mine, &one, NOW).unwrap();
    assert_eq!(sessions.withdrawn(&s, &mine, &one), None, "it does not run");
    sessions.call(&s, &mine, (one.clone(), call("g1")), NOW).unwrap();
    assert_eq!(sessions.withdrawn(&s, &mine, &one), None);
    sessions.withdraw(&s, &mine, &one, after(1)).unwrap();
    sessions.withdraw(&s, &mine, &one, after(9)).unwrap();
    assert_eq!(sessions.withdrawn(&s, &mine, &one), Some(after(1)));
    assert_eq!(sessions.withdrawn(&s, &owner("b", "ops", 1), &one), None);
    sessions.finish(&s, &mine, &one);
    sessions.call(&s, &mine, (one.clone(), call("g1")), NOW).unwrap();
    assert_eq!(sessions.withdrawn(&s, &mine, &one), None);
}

#[test]
fn a_stream_is_resumed_from_its_own_events_while_its_call_lives() {
    let (mut sessions, mine, s) = (sessions(), owner("a", "ops", 1), id("s"));
    sessions.call(&s, &mine, (Id::Number(1), call("g1")), NOW).unwrap();
    sessions.event(&s, &mine, event("e1"), Some(Id::Number(1)), NOW).unwrap();
    sessions.event(&s, &mine, event("e2"), None, NOW).unwrap();
    assert_eq!(sessions.resume(&s, &mine, &event("e1"), NOW), Ok(Some((Id::Number(1), &call("g1")))));
    assert_eq!(sessions.resume(&s, &mine, &event("e2"), NOW), Ok(None));
    assert_eq!(sessions.resume(&s, &mine, &event("e3"), NOW), Err(SessionError::UnknownEvent));
    // Its answer was read, which says nothing of whether it arrived.
    sessions.finish(&s, &mine, &Id::Number(1));
    assert_eq!(sessions.resume(&s, &mine, &event("e1"), NOW), Ok(Some((Id::Number(1), &call("g1")))));
    // While a stream goes on with it, no other call goes by its id.
    sessions.go_on(&s, &mine, (&event("e1"), &Id::Number(1)), NOW).unwrap();
    assert_eq!(sessions.call(&s, &mine, (Id::Number(1), call("g1")), NOW), Err(SessionError::IdInUse));
    sessions.gone_on(&s, &mine, &Id::Number(1));
    // Another call by the same id is not the one of the event.
    sessions.call(&s, &mine, (Id::Number(1), call("g1")), NOW).unwrap();
    assert_eq!(sessions.resume(&s, &mine, &event("e1"), NOW), Err(SessionError::UnknownEvent));
    assert_eq!(
        sessions.go_on(&s, &mine, (&event("e1"), &Id::Number(1)), NOW),
        Err(SessionError::UnknownEvent)
    );
    sessions.event(&s, &mine, event("e1"), Some(Id::Number(1)), NOW).unwrap();
    assert!(sessions.resume(&s, &mine, &event("e1"), NOW).is_ok());
    sessions.end_calls(|grant| *grant == "g1");
    assert_eq!(sessions.resume(&s, &mine, &event("e1"), NOW), Err(SessionError::UnknownEvent));
    // No call goes by this id any more: the service may still answer the one that has ended.
    assert_eq!(sessions.call(&s, &mine, (Id::Number(1), call("g2")), NOW), Err(SessionError::IdInUse));
    sessions.call(&s, &mine, (Id::Number(2), call("g2")), NOW).unwrap();
    // One id on two streams belongs to neither; the oldest goes first.
    sessions.event(&s, &mine, event("e2"), Some(Id::Number(2)), NOW).unwrap();
    assert_eq!(sessions.resume(&s, &mine, &event("e2"), NOW), Err(SessionError::UnknownEvent));
    sessions.event(&s, &mine, event("e4"), None, NOW).unwrap();
    sessions.event(&s, &mine, event("e5"), None, NOW).unwrap();
    assert_eq!(sessions.resume(&s, &mine, &event("e2"), NOW), Err(SessionError::UnknownEvent));
}

#[test]
fn what_is_full_refuses_what_is_new_and_forgets_nothing_that_is_in_use() {
    let mut sessions = sessions();
    let open = |sessions: &mut Sessions<_>, name: &str, principal: &str, now| {
        sessions.open(&id(name), owner(principal, "ops", 1), Version::V20251125, Vec::new(), now)
    };
    open(&mut sessions, "s2", "a", NOW).unwrap();
    assert_eq!(open(&mut sessions, "s3", "a", NOW), Err(SessionError::TooManySessions));
    open(&mut sessions, "s2", "a", NOW).unwrap();
    open(&mut sessions, "t", "b", after(50)).unwrap();
    assert_eq!(open(&mut sessions, "u", "c", after(50)), Err(SessionError::TooManySessions));
    assert_eq!(sessions.len(), 3);
    // Idle ones make room, and are over for their owners at that very time.
    let mine = owner("a", "ops", 1);
    assert!(sessions.find(&id("s"), &mine.principal, &mine.service, after(61)).is_err());
    assert_eq!(
        sessions.call(&id("s"), &mine, (Id::Number(1), call("g")), after(61)),
        Err(SessionError::Unknown)
    );
    open(&mut sessions, "u", "c", after(61)).unwrap();
    assert_eq!(sessions.len(), 2);
    // What was dropped counts for nobody any more.
    open(&mut sessions, "s3", "a", after(61)).unwrap();
    let ended = sessions.end(&mine.principal, &mine.service);
    assert_eq!(ended, [(id("s3"), mine.clone())]);
    assert!(sessions.sweep(after(1_000)).len() == 2 && sessions.is_empty());
}

#[test]
fn an_abandoned_call_bars_its_id_and_too_many_of_them_end_the_session() {
    let (mut sessions, mine, s) = (sessions(), owner("a", "ops", 1), id("s"));
    sessions.call(&s, &mine, (Id::Number(1), call("g")), NOW).unwrap();
    assert_eq!(sessions.runs(&s, &mine, &Id::Number(1), NOW), Ok(()));
    assert!(!sessions.abandon(&s, &mine, &Id::Number(1)));
    assert_eq!(sessions.runs(&s, &mine, &Id::Number(1), NOW), Err(SessionError::NotRunning));
    let late = heard(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(sessions.hear(&s, &mine, &late, None, NOW), Err(SessionError::NotCalled));
    assert_eq!(sessions.call(&s, &mine, (Id::Number(1), call("g2")), NOW), Err(SessionError::IdInUse));
    sessions.call(&s, &mine, (Id::Number(2), call("g")), NOW).unwrap();
    assert!(!sessions.abandon(&s, &mine, &Id::Number(2)));
    sessions.call(&s, &mine, (Id::Number(3), call("g")), NOW).unwrap();
    assert!(sessions.abandon(&s, &mine, &Id::Number(3)), "more than its bound");
    assert!(sessions.find(&s, &mine.principal, &mine.service, NOW).is_err());
}

#[test]
fn a_session_lives_while_any_of_what_it_lived_under_does() {
    let (mut sessions, mine, s) = (sessions(), owner("a", "ops", 1), id("s"));
    let renew = |old: &'static [&'static str], new: &'static [&'static str]| {
        move |under: &mut Vec<&'static str>| {
            let lives = under.iter().any(|grant| old.contains(grant));
            *under = new.to_vec();
            lives
        }
    };
    sessions.open(&s, mine.clone(), Version::V20251125, vec!["g1"], NOW).unwrap();
    assert_eq!(sessions.attend(&s, &mine, renew(&["g1"], &["g1", "g2"]), NOW), Ok(()));
    assert_eq!(sessions.attend(&s, &mine, renew(&["g2"], &["g2"]), NOW), Ok(()));
    assert_eq!(sessions.attend(&s, &mine, renew(&["g3"], &["g3"]), NOW), Err(SessionError::Unknown));
    assert_eq!(
        sessions.attend(&s, &mine, renew(&["g3"], &["g3"]), NOW),
        Err(SessionError::Unknown),
        "it is gone"
    );
}
