//! Who stood behind a request, where something goes on from what was granted for it.

use super::attacks::{ada, delegate, request};
use super::*;

fn extend(world: &mut World, grant: GrantId, seconds: u64) -> AccessRequestId {
    let new = NewExtension {
        grant,
        ttl: ttl(seconds),
        reason: "longer".into(),
        ticket: None,
        ticket_open: None,
        authenticated: None,
        source: None,
    };
    world.access(AGENTS[1], AccessCommand::Extend(Box::new(new))).unwrap()
}

#[test]
fn whoever_asked_with_their_token_from_a_workload_does_not_approve_what_goes_on_from_it() {
    let mut world = World::new();
    let new = NewRequest { authenticated: Some(ada()), ..asked("t", SCOPES[0], 600) };
    let mut last = request(&mut world, AGENTS[1], new).unwrap();
    world.approve(BOB, last).unwrap();
    let grant = world.grant_of(last);
    let part = delegate(&mut world, AGENTS[1], grant, "spiffe://d/agent/other").unwrap();
    assert_eq!(refusal(world.approve(ADA, part)), AccessRefusal::SelfApproval);
    // Without a token, and again from what was extended.
    for _ in 0..2 {
        let grant = world.grant_of(last);
        last = extend(&mut world, grant, 60);
        assert!(world.state.request(last).unwrap().request.authenticated.is_none());
        assert_eq!(refusal(world.approve(ADA, last)), AccessRefusal::SelfApproval);
        let deny = AccessCommand::Deny { request: last, reason: "no".into() };
        assert_eq!(refusal(world.access(ADA, deny)), AccessRefusal::SelfApproval);
        world.approve(BOB, last).unwrap();
    }
}

#[test]
fn whoever_asked_for_another_does_not_approve_what_that_one_extends() {
    let mut world = World::new();
    let identities = [(id(BOB), vec![Role::Approver]), (id(BROKER), vec![Role::Broker, Role::Approver])];
    world.rules.roles = Roles::new(identities, []);
    world.rules.directory = world.rules.directory.clone().with_roles(&world.rules.roles);
    let new = NewRequest { principal: Some(id(AGENTS[1])), ..asked("t", SCOPES[0], 600) };
    let first = request(&mut world, BROKER, new).unwrap();
    world.approve(BOB, first).unwrap();
    let grant = world.grant_of(first);
    let more = extend(&mut world, grant, 60);
    assert_eq!(refusal(world.approve(BROKER, more)), AccessRefusal::SelfApproval);
    world.approve(BOB, more).unwrap();
}

#[test]
fn what_goes_on_from_something_forgotten_is_approved_by_nobody_and_stays_as_it_was_approved() {
    let mut world = World::new();
    let day = 86_400;
    world.rules.max_ttl = Duration::from_secs(5 * day);
    let first = world.granted("t", SCOPES[0], 3600);
    let second = extend(&mut world, first, 2 * day);
    world.approve(BOB, second).unwrap();
    world.pass(3600);
    world.run("", Command::Expire).unwrap();
    world.pass(day + 1);
    // Any event makes the state forget what is older.
    let grant = world.grant_of(second);
    let third = extend(&mut world, grant, 60);
    assert!(world.state.find(first).is_none());
    assert!(matches!(refusal(world.approve(BOB, third)), AccessRefusal::Invalid(_)));
    let record = world.state.request(second).unwrap();
    let terms = record.terms().unwrap();
    let counted = progress(&world.state, &world.rules, (&record.request, terms), &record.approvals);
    assert!(counted.open().is_none(), "{counted:?}");
    world.access(BOB, AccessCommand::Deny { request: third, reason: "ask anew".into() }).unwrap();
}
