//! The workflow under random commands, with invariants after each step.

use super::*;

#[derive(Debug, Clone)]
enum Action {
    Ask(usize, usize, usize, u64),
    Approve(usize, usize, Option<usize>, Option<u64>),
    Deny(usize, usize),
    Cancel(usize, usize),
    Extend(usize, usize),
    Delegate(usize, usize, usize, usize),
    EndTask(usize, usize),
    Revoke(usize),
    Expire,
    Sweep,
    Pass(u64),
}

const EVERYBODY: [&str; 7] = [AGENTS[0], AGENTS[1], AGENTS[2], ADA, BOB, SECURITY, BROKER];
const TASKS: [&str; 3] = ["t0", "t1", "t2"];

fn action() -> impl Strategy<Value = Action> {
    let (who, what) = (0..EVERYBODY.len(), 0..SCOPES.len());
    prop_oneof![
        6 => (who.clone(), 0..TASKS.len(), what.clone(), 1..2000_u64).prop_map(|(a, t, s, l)| Action::Ask(a, t, s, l)),
        8 => (who.clone(), any::<usize>(), proptest::option::of(what.clone()), proptest::option::of(1..2000_u64))
            .prop_map(|(a, r, s, l)| Action::Approve(a, r, s, l)),
        1 => (who.clone(), any::<usize>()).prop_map(|(a, r)| Action::Deny(a, r)),
        1 => (who.clone(), any::<usize>()).prop_map(|(a, r)| Action::Cancel(a, r)),
        4 => (who.clone(), any::<usize>()).prop_map(|(a, g)| Action::Extend(a, g)),
        6 => (who.clone(), any::<usize>(), who.clone(), what).prop_map(|(a, g, p, s)| Action::Delegate(a, g, p, s)),
        1 => (who, 0..TASKS.len()).prop_map(|(a, t)| Action::EndTask(a, t)),
        1 => any::<usize>().prop_map(Action::Revoke),
        1 => Just(Action::Expire),
        1 => Just(Action::Sweep),
        3 => (1..900_u64).prop_map(Action::Pass),
    ]
}

fn pick<T: Copy>(all: &[T], at: usize) -> Option<T> {
    (!all.is_empty()).then(|| all[at % all.len()])
}

fn act(world: &mut World, action: Action) {
    let requests: Vec<AccessRequestId> = world.state.requests(None).map(|record| record.request.id).collect();
    let grants: Vec<GrantId> = world.state.live().map(|live| live.grant.id).collect();
    let holder = |world: &World, who: usize, grant: GrantId| match who % 4 {
        0 => EVERYBODY[who].to_owned(),
        _ => world.state.live_grant(grant).unwrap().grant.principal.to_string(),
    };
    let refused = match action {
        Action::Ask(who, task, what, length) => {
            world.ask(EVERYBODY[who], TASKS[task], SCOPES[what], length).err()
        }
        Action::Approve(who, request, what, length) => {
            let Some(request) = pick(&requests[requests.len().saturating_sub(3)..], request) else { return };
            let who = if who % 2 == 0 { EVERYBODY[who] } else { BOB };
            let new = NewApproval {
                scope: what.map(|at| scope(SCOPES[at])),
                ttl: length.map(ttl),
                ..approval(request)
            };
            world.access(who, AccessCommand::Approve(Box::new(new))).err()
        }
        Action::Deny(who, request) => {
            let Some(request) = pick(&requests, request) else { return };
            world.access(EVERYBODY[who], AccessCommand::Deny { request, reason: "no".into() }).err()
        }
        Action::Cancel(who, request) => {
            let Some(request) = pick(&requests, request) else { return };
            world.access(EVERYBODY[who], AccessCommand::Cancel { request, reason: String::new() }).err()
        }
        Action::Extend(who, grant) => {
            let Some(grant) = pick(&grants, grant) else { return };
            let (reason, ticket, ticket_open, authenticated, source) =
                ("more".into(), None, None, None, None);
            let new =
                NewExtension { grant, ttl: ttl(600), reason, ticket, ticket_open, authenticated, source };
            let who = holder(world, who, grant);
            world.access(&who, AccessCommand::Extend(Box::new(new))).err()
        }
        Action::Delegate(who, grant, to, what) => {
            let Some(grant) = pick(&grants, grant) else { return };
            let (principal, scope) = (id(EVERYBODY[to]), scope(SCOPES[what]));
            let new =
                NewDelegation { grant, principal, scope, ttl: None, reason: "part".into(), source: None };
            let who = holder(world, who, grant);
            world.access(&who, AccessCommand::Delegate(Box::new(new))).err()
        }
        Action::EndTask(who, task) => {
            let (task, outcome, reason) = (TASKS[task].parse().unwrap(), TaskOutcome::Done, String::new());
            world.access(EVERYBODY[who], AccessCommand::EndTask { task, outcome, reason }).err()
        }
        Action::Revoke(grant) => {
            let Some(grant) = pick(&grants, grant) else { return };
            let revoke = Command::Revoke { selector: Selector::Grant(grant), reason: "r".into() };
            world.run(SECURITY, revoke).err()
        }
        Action::Expire => world.run("", Command::Expire).err(),
        Action::Sweep => world.access("", AccessCommand::Sweep).err(),
        Action::Pass(seconds) => {
            world.pass(seconds);
            None
        }
    };
    assert_ne!(refused, Some(Refusal::Unknown));
}

/// What must hold after each step.
fn hold(world: &World) {
    let rules = &world.rules;
    let not_over = |grant: &&Arc<Grant>| world.now < grant.expires_at;
    let live: Vec<&Arc<Grant>> = world.state.live().map(|live| &live.grant).filter(not_over).collect();
    for grant in &live {
        let lineage = grant.lineage.as_ref().expect("every grant has a decision path");
        let record = world.state.request(lineage.request.unwrap()).unwrap();
        let request = &record.request;
        assert_eq!(record.state, RequestState::Approved);
        assert!(record.evaluated.is_some() && record.grants.contains(&grant.id));
        assert_eq!((&grant.principal, &grant.task), (&request.principal, &request.task));
        // Never more than was asked and approved, never longer.
        assert!(
            request.scope.contains(&grant.scope),
            "{} in {}",
            grant.scope.canonical_json(),
            request.scope.canonical_json()
        );
        let length = grant.expires_at.since(grant.not_before);
        assert!(length <= request.ttl.get() && length <= rules.max_ttl);
        let shortest = record.approvals.iter().filter_map(|approval| approval.ttl).map(Ttl::get).min();
        assert!(shortest.is_none_or(|shortest| length <= shortest));
        for narrower in record.approvals.iter().filter_map(|approval| approval.scope.as_ref()) {
            assert!(grant.scope == *narrower || grant.within().contains(narrower));
        }
        // Somebody else decided, who may.
        assert!(!record.approvals.is_empty());
        for approval in &record.approvals {
            let by = &approval.by;
            assert!(
                !request::same(rules, by, &request.requester)
                    && !request::same(rules, by, &request.principal)
            );
            assert!(*by == id(ADA) || *by == id(BOB), "{by}");
        }
        // Parts end with the whole, are within it, and go to nobody who approved it.
        if let Some(parent) = lineage.parent {
            let parent = &world.state.live_grant(parent).expect("the parent is live").grant;
            assert!(grant.expires_at <= parent.expires_at && parent.scope.contains(&grant.scope));
            assert!(grant.within().contains(&parent.scope) || grant.scope == parent.scope);
        }
        assert!(world.state.task(&grant.task).is_some_and(|task| task.ended.is_none()), "ends with its task");
        // Since the first grant, never past the total.
        let since = world.state.live_grant(grant.id).unwrap().since;
        assert!(grant.expires_at.since(since) <= rules.max_ttl);
    }
    for (at, one) in live.iter().enumerate() {
        for other in &live[at + 1..] {
            let same = one.principal == other.principal && one.task == other.task && one.scope == other.scope;
            let apart = one.expires_at <= other.not_before || other.expires_at <= one.not_before;
            assert!(!same || apart, "one grant for each principal, task and scope");
        }
    }
    let again = world.log.iter().enumerate().try_fold(State::default(), |mut state, (at, event)| {
        state.apply(crate::model::Revision(at as u64 + 1), event).map(|()| state)
    });
    assert_eq!(again.unwrap().digest(), world.state.digest(), "the log says the same");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_nobody_gets_more_than_was_decided(actions in proptest::collection::vec(action(), 1..60)) {
        let mut world = World::new();
        for action in actions {
            act(&mut world, action);
            hold(&world);
        }
    }
}

#[test]
fn the_random_commands_reach_grants_extensions_and_delegations() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut granted, mut extended, mut delegated) = (0, 0, 0);
    for _ in 0..200 {
        let actions = proptest::collection::vec(action(), 60).new_tree(&mut runner).unwrap().current();
        let mut world = World::new();
        actions.into_iter().for_each(|action| act(&mut world, action));
        for event in &world.log {
            if let EventBody::GrantsIssued { grants, .. } = &event.body {
                for lineage in grants.iter().filter_map(|grant| grant.lineage.as_ref()) {
                    granted += 1;
                    extended += usize::from(lineage.extends.is_some());
                    delegated += usize::from(lineage.parent.is_some());
                }
            }
        }
    }
    assert!(granted > 200 && extended > 10 && delegated > 10, "{granted} {extended} {delegated}");
}
