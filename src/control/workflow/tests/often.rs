//! Asking again and again: under keys, and too often.

use super::*;
use crate::model::IdempotencyKey;

fn once(world: &mut World, key: &str, task: &str) -> Result<AccessRequestId, Refusal> {
    let key = IdempotencyKey { key: key.to_owned(), fingerprint: task.to_owned() };
    let ask = AccessCommand::Request(Box::new(asked(task, SCOPES[1], 60)));
    world.access(AGENTS[1], AccessCommand::Once(key, Box::new(ask)))
}

fn cancel(world: &mut World, request: AccessRequestId) {
    world.access(AGENTS[1], AccessCommand::Cancel { request, reason: "r".into() }).unwrap();
}

#[test]
fn a_key_counts_for_a_day() {
    let mut world = World::new();
    let first = once(&mut world, "one", "t").unwrap();
    cancel(&mut world, first);
    world.pass(86_400);
    assert_eq!(once(&mut world, "one", "t").unwrap(), first);
    assert!(
        matches!(once(&mut world, "one", "u"), Err(Refusal::Access(why)) if *why == AccessRefusal::KeyReused)
    );
    // Any event makes the state forget what is older.
    world.pass(1);
    let other = world.ask(AGENTS[0], "w", SCOPES[1], 60).unwrap();
    assert_ne!(other, first);
    assert_ne!(once(&mut world, "one", "t").unwrap(), first);
}

#[test]
fn nobody_fills_the_log_by_asking() {
    let mut world = World::new();
    world.rules.requests.max_per_hour = 3;
    let too_often = |result: Result<_, Refusal>| matches!(result, Err(Refusal::Access(why)) if *why == AccessRefusal::TooOften { max: 3 });
    for _ in 0..2 {
        let request = world.ask(AGENTS[1], "t", SCOPES[1], 60).unwrap();
        cancel(&mut world, request);
    }
    let pending = once(&mut world, "a", "t").unwrap();
    assert!(too_often(world.ask(AGENTS[1], "u", SCOPES[1], 60)));
    // What is there already is still answered, but not under one new key after another.
    let (before, key) = (world.log.len(), once(&mut world, "a", "t"));
    assert_eq!((key.unwrap(), world.ask(AGENTS[1], "t", SCOPES[1], 60).unwrap()), (pending, pending));
    assert!(too_often(once(&mut world, "b", "t")));
    assert_eq!(world.log.len(), before);
    assert!(world.ask(AGENTS[0], "w", SCOPES[1], 60).is_ok(), "each counts alone");
    world.pass(3600);
    assert!(world.ask(AGENTS[1], "u", SCOPES[1], 60).is_ok());
    // A key for what is there already is a call that leaves something in the log.
    world.pass(3600);
    for key in ["c", "d", "e"] {
        world.pass(1);
        once(&mut world, key, "t").unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    assert!(too_often(once(&mut world, "f", "t")));
}

#[test]
fn a_large_request_counts_as_several() {
    let mut world = World::new();
    world.rules.requests.max_per_hour = 3;
    let paths: Vec<String> = (0..1_000).map(|number| format!("/v1/orders/{number:06}")).collect();
    let large = format!("orders:GET:{}", paths.join(","));
    world.ask(AGENTS[1], "t", &large, 60).unwrap();
    let next = world.ask(AGENTS[1], "u", SCOPES[1], 60);
    assert!(matches!(next, Err(Refusal::Access(why)) if *why == AccessRefusal::TooOften { max: 3 }));
}
