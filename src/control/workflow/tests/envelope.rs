//! An envelope: several scopes with limits of their own, one decision.

use super::*;
use crate::model::{Entry, Envelope, Limits};

#[test]
fn an_envelope_is_decided_once_and_makes_a_grant_with_its_own_limits_of_each_entry() {
    let mut world = World::new();
    let entry = |what: &str, uses: u64| Entry {
        scope: scope(what),
        limits: Limits { max_uses: std::num::NonZeroU64::new(uses), ..Limits::default() },
    };
    let ask = |entries: Vec<Entry>| {
        let wanted = Wanted::Envelope(Envelope { entries });
        AccessCommand::Request(Box::new(NewRequest { wanted, ..asked("t", SCOPES[0], 600) }))
    };
    let all = || vec![entry(SCOPES[2], 3), entry(SCOPES[3], 1), entry(SCOPES[1], 0)];
    for wrong in [Vec::new(), vec![entry(SCOPES[2], 3), entry(SCOPES[2], 4)]] {
        let refused = refusal(world.access(AGENTS[1], ask(wrong)));
        assert!(matches!(refused, AccessRefusal::Invalid(_)), "{refused:?}");
    }
    let request = world.access(AGENTS[1], ask(all())).unwrap();
    assert_eq!(world.access(AGENTS[1], ask(all())).unwrap(), request, "asked once");
    let narrower = NewApproval { scope: Some(scope(SCOPES[2])), ..approval(request) };
    let refused = refusal(world.access(BOB, AccessCommand::Approve(Box::new(narrower))));
    assert!(matches!(refused, AccessRefusal::Invalid(_)), "{refused:?}");
    world.approve(BOB, request).unwrap();
    let of = |world: &World, request| world.state.request(request).unwrap().grants.clone();
    let grants = of(&world, request);
    let shown = |id: &GrantId| {
        let grant = &world.state.live_grant(*id).unwrap().grant;
        (grant.scope.clone(), grant.limits.max_uses.map(u64::from))
    };
    let expected = [(SCOPES[2], Some(3)), (SCOPES[3], Some(1)), (SCOPES[1], None)];
    assert_eq!(
        grants.iter().map(shown).collect::<Vec<_>>(),
        expected.map(|(what, uses)| (scope(what), uses)),
        "all at once"
    );

    // What is live already is not given twice, whatever else is asked for with it.
    let more = world.access(AGENTS[1], ask(vec![entry(SCOPES[2], 9), entry(SCOPES[0], 2)])).unwrap();
    world.approve(BOB, more).unwrap();
    let added = of(&world, more);
    assert_eq!(added.len(), 1);
    let grant = &world.state.live_grant(added[0]).unwrap().grant;
    assert_eq!((grant.scope.clone(), grant.limits.max_uses.map(u64::from)), (scope(SCOPES[0]), Some(2)));
    let again = world.access(AGENTS[1], ask(vec![entry(SCOPES[2], 9), entry(SCOPES[3], 9)])).unwrap();
    world.approve(BOB, again).unwrap();
    assert_eq!(world.stands(again), RequestState::Approved);
    assert_eq!(of(&world, again), [grants[0]], "answered by what is there");
    assert_eq!(world.state.live_grant(grants[0]).unwrap().grant.limits.max_uses.map(u64::from), Some(3));

    let outcome = TaskOutcome::Done;
    let done = AccessCommand::EndTask { task: "t".parse().unwrap(), outcome, reason: String::new() };
    world.access(AGENTS[1], done).unwrap();
    assert!(grants.iter().chain(&added).all(|grant| !world.is_live(*grant)));
}

#[test]
fn the_bytes_of_a_call_are_the_fewest_of_what_was_asked_and_what_policies_allow() {
    let mut world = World::new();
    let bytes = std::num::NonZeroU64::new;
    world.rules.policies = super::recheck::policies(
        "@id(\"all\") @argument_bytes(\"20\") @response_bytes(\"900\") permit(principal, action, resource);",
    );
    let entry = |what: &str, (argument_bytes, response_bytes)| Entry {
        scope: scope(what),
        limits: Limits { argument_bytes, response_bytes, ..Limits::default() },
    };
    let entries = vec![
        entry(SCOPES[2], (bytes(9), bytes(1_000))),
        entry(SCOPES[3], (bytes(21), bytes(8))),
        entry(SCOPES[1], (None, None)),
    ];
    let wanted = Wanted::Envelope(Envelope { entries });
    let asked = NewRequest { wanted, ..asked("t", SCOPES[0], 600) };
    let request = world.access(AGENTS[1], AccessCommand::Request(Box::new(asked))).unwrap();
    let limits = |id: &GrantId| {
        let limits = world.state.live_grant(*id).unwrap().grant.limits;
        (limits.argument_bytes.map(u64::from), limits.response_bytes.map(u64::from))
    };
    let got: Vec<_> = world.state.request(request).unwrap().grants.iter().map(limits).collect();
    assert_eq!(got, [(Some(9), Some(900)), (Some(20), Some(8)), (Some(20), Some(900))]);
}
