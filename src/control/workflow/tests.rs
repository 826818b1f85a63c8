//! The workflow under random commands, with invariants after each step; and single rules.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the one outcome that it expects")]

use super::*;
use crate::config::{Person, PrincipalEntry, Role};
use crate::control::authz::Roles;
use crate::control::directory::Directory;
use crate::control::state::{Command, RequestState, Rules, State, decide as decide_on};
use crate::model::event::{Event, EventBody, Selector, TaskOutcome};
use crate::model::{
    AccessRequestId, Attributes, Grant, GrantId, Owner, Plan, PrincipalKind, ReviewId, Scope, Sensitivity,
    ServiceProfile, Step, Time, Ttl,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const AGENTS: [&str; 3] = ["spiffe://d/agent/a", "spiffe://d/agent/b", "spiffe://d/agent/of-ada"];
const ADA: &str = "spiffe://d/operator/ada";
const BOB: &str = "spiffe://d/operator/bob";
const SECURITY: &str = "spiffe://d/operator/security";
const BROKER: &str = "spiffe://d/broker";
const SCOPES: [&str; 4] =
    ["orders:GET:/v1/**", "orders:GET:/v1/orders/*", "orders:GET:/v1/orders/7", "orders:POST:/v1/orders"];

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn ttl(seconds: u64) -> Ttl {
    Ttl::new(Duration::from_secs(seconds)).unwrap()
}

fn at(seconds: i64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn rules() -> Rules {
    let identities = [
        (id(ADA), vec![Role::Approver]),
        (id(BOB), vec![Role::Approver]),
        (id(SECURITY), vec![Role::Security]),
        (id(BROKER), vec![Role::Broker]),
        // Somebody configured it by hand, past `check`: it still decides nothing.
        (id(AGENTS[0]), vec![Role::Approver]),
    ];
    let ada = Person {
        name: "Ada".into(),
        identities: [id(ADA), id(AGENTS[2])].into(),
        groups: BTreeSet::from(["payments".parse().unwrap()]),
    };
    let profile = ServiceProfile {
        owner: Owner::Person("Ada".into()),
        sensitivity: Sensitivity::Medium,
        environment: None,
        labels: BTreeMap::new(),
        tools: BTreeMap::new(),
        requestable: true,
    };
    let workload = PrincipalEntry { kind: Some(PrincipalKind::Workload), ..PrincipalEntry::default() };
    let mut rules = Rules::new(
        Duration::from_secs(3600),
        Roles::new(identities, [ada.identities.iter().cloned().collect()]),
    );
    rules.directory = Directory::new(
        [(id(AGENTS[0]), workload)].into(),
        vec![ada],
        [("orders".parse().unwrap(), profile)].into(),
        BTreeMap::new(),
    );
    rules.requests.cooldown_after_denial = Duration::from_secs(60);
    rules.requests.cooldown_after_revocation = Duration::from_secs(120);
    rules
}

struct World {
    state: State,
    log: Vec<Event>,
    rules: Rules,
    now: Time,
    ids: u64,
}

impl World {
    fn new() -> Self {
        Self { state: State::default(), log: Vec::new(), rules: rules(), now: at(1_000_000), ids: 0 }
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    fn run(&mut self, actor: &str, command: Command) -> Result<Outcome, Refusal> {
        let actor = if actor.is_empty() { Actor::System } else { Actor::Identity(id(actor)) };
        let ids = &mut self.ids;
        let mut random = || {
            *ids += 1;
            let mut bits = [0; 10];
            bits[2..].copy_from_slice(&ids.to_be_bytes());
            bits
        };
        let mut context = Context { now: self.now, rules: &self.rules, random: &mut random };
        let decision = decide_on(&self.state, &actor, &command, &mut context)?;
        for event in decision.events {
            self.state.apply(self.state.revision().next(), &event).unwrap();
            self.log.push(event);
        }
        Ok(decision.outcome)
    }

    fn access(&mut self, actor: &str, command: AccessCommand) -> Result<AccessRequestId, Refusal> {
        match self.run(actor, Command::Access(command))? {
            Outcome::Request { id, .. } => Ok(id),
            _ => Ok(AccessRequestId::from_bits(0)),
        }
    }

    fn ask(&mut self, actor: &str, task: &str, what: &str, seconds: u64) -> Result<AccessRequestId, Refusal> {
        self.access(actor, AccessCommand::Request(Box::new(asked(task, what, seconds))))
    }

    fn approve(&mut self, actor: &str, request: AccessRequestId) -> Result<AccessRequestId, Refusal> {
        self.access(actor, AccessCommand::Approve(Box::new(approval(request))))
    }

    fn granted(&mut self, task: &str, what: &str, seconds: u64) -> GrantId {
        let request = self.ask(AGENTS[1], task, what, seconds).unwrap();
        self.approve(BOB, request).unwrap();
        self.grant_of(request)
    }

    fn grant_of(&self, request: AccessRequestId) -> GrantId {
        *self.state.request(request).unwrap().grants.last().unwrap()
    }

    fn is_live(&self, grant: GrantId) -> bool {
        self.state.live_grant(grant).is_some_and(|live| live.grant.covers(self.now))
    }

    fn stands(&self, request: AccessRequestId) -> RequestState {
        self.state.request(request).unwrap().state
    }
}

fn asked(task: &str, what: &str, seconds: u64) -> NewRequest {
    NewRequest {
        principal: None,
        task: task.parse().unwrap(),
        wanted: Wanted::Scope(scope(what)),
        ttl: ttl(seconds),
        not_before: None,
        reason: "a test".into(),
        ticket: None,
        ticket_open: None,
        on_behalf_of: None,
        authenticated: None,
        emergency: false,
        token: false,
        task_deadline: None,
        task_idle_timeout: None,
        source: Some("192.0.2.7".parse().unwrap()),
    }
}

fn approval(request: AccessRequestId) -> NewApproval {
    NewApproval { request, hash: None, scope: None, ttl: None, reason: "fine".into(), authenticated: None }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Refusal>) -> AccessRefusal {
    match result {
        Err(Refusal::Access(refusal)) => *refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_approves_for_themselves_in_any_identity_and_no_workload_approves() {
    let mut world = World::new();
    // Ada's agent asks: Ada is the same person.
    let own = world.ask(AGENTS[2], "t", SCOPES[0], 60).unwrap();
    assert_eq!(refusal(world.approve(ADA, own)), AccessRefusal::SelfApproval);
    assert!(world.approve(SECURITY, own).is_err(), "not one of those whom the policies name");
    // A workload that holds the role by mistake, and the broker that asked.
    assert!(matches!(refusal(world.approve(AGENTS[0], own)), AccessRefusal::NotApprover { .. }));
    let new = NewRequest { principal: Some(id(AGENTS[1])), ..asked("u", SCOPES[0], 60) };
    let brokered = world.access(BROKER, AccessCommand::Request(Box::new(new.clone()))).unwrap();
    assert_eq!(refusal(world.approve(BROKER, brokered)), AccessRefusal::SelfApproval);
    assert_eq!(
        refusal(world.access(AGENTS[0], AccessCommand::Request(Box::new(new)))),
        AccessRefusal::NotBroker
    );
    world.approve(BOB, own).unwrap();
    assert_eq!(world.stands(own), RequestState::Approved);
    assert!(matches!(refusal(world.approve(BOB, own)), AccessRefusal::Settled { .. }), "one grant, not two");
    assert_eq!(world.state.live().len(), 1);
}

#[test]
fn a_beneficiary_does_not_approve() {
    let mut world = World::new();
    let user = crate::model::User {
        issuer: "https://issuer".into(),
        subject: "ada".into(),
        person: Some("Ada".into()),
        groups: Vec::new(),
        acr: None,
        amr: Vec::new(),
        auth_time: None,
    };
    let new = NewRequest { on_behalf_of: Some(user), ..asked("t", SCOPES[0], 60) };
    let request = world.access(AGENTS[1], AccessCommand::Request(Box::new(new))).unwrap();
    assert_eq!(refusal(world.approve(ADA, request)), AccessRefusal::SelfApproval);
    world.approve(BOB, request).unwrap();
}

#[test]
fn cool_downs_follow_the_person_and_what_overlaps() {
    let mut world = World::new();
    let request = world.ask(AGENTS[2], "t", SCOPES[1], 60).unwrap();
    let deny = |request| AccessCommand::Deny { request, reason: "no".into() };
    assert_eq!(refusal(world.access(ADA, deny(request))), AccessRefusal::SelfApproval);
    world.access(BOB, deny(request)).unwrap();
    for (who, what) in [(AGENTS[2], SCOPES[1]), (AGENTS[2], SCOPES[2]), (ADA, SCOPES[0])] {
        let refused = refusal(world.ask(who, "other", what, 60));
        assert!(matches!(refused, AccessRefusal::Cooldown { cause: "denied", .. }), "{who} {what}");
    }
    assert!(world.ask(AGENTS[2], "other", SCOPES[3], 60).is_ok(), "nothing of it was refused");
    assert!(world.ask(AGENTS[1], "third", SCOPES[1], 60).is_ok(), "somebody else");
    world.pass(60);
    assert!(world.ask(AGENTS[2], "other", SCOPES[1], 60).is_ok(), "half open");
    // Revocation holds off as well; an operator lifts it.
    let grant = world.granted("fourth", SCOPES[2], 600);
    let revoke = Command::Revoke { selector: Selector::Grant(grant), reason: "r".into() };
    world.run(SECURITY, revoke).unwrap();
    assert!(matches!(
        refusal(world.ask(AGENTS[1], "fifth", SCOPES[2], 60)),
        AccessRefusal::Cooldown { cause: "revoked", .. }
    ));
    let lift = AccessCommand::LiftCooldowns { principal: id(AGENTS[1]), reason: "a mistake".into() };
    assert!(world.access(AGENTS[1], lift.clone()).is_err());
    world.access(BOB, lift).unwrap();
    assert!(world.ask(AGENTS[1], "fifth", SCOPES[2], 60).is_ok());
}

#[test]
fn emergencies_are_short_recorded_and_reviewed_by_a_second_person() {
    let mut world = World::new();
    let new = NewRequest { emergency: true, ..asked("t", SCOPES[0], 3600) };
    let request = world.access(AGENTS[2], AccessCommand::Request(Box::new(new.clone()))).unwrap();
    world.approve(BOB, request).unwrap();
    let grant = Arc::clone(&world.state.live_grant(world.grant_of(request)).unwrap().grant);
    assert_eq!(grant.expires_at, world.now.plus(Duration::from_secs(1800)));
    assert_eq!(grant.recording, crate::model::Recording::Full);
    let review: ReviewId = world.state.open_reviews().next().unwrap().id;
    // Neither the same identity nor another of the same person breaks glass again.
    let again = NewRequest { emergency: true, ..asked("u", SCOPES[3], 60) };
    for who in [AGENTS[2], ADA] {
        let refused = refusal(world.access(who, AccessCommand::Request(Box::new(again.clone()))));
        assert_eq!(refused, AccessRefusal::ReviewOpen { review });
    }
    let close = AccessCommand::CloseReview { review, findings: "was right".into(), justified: true };
    assert_eq!(refusal(world.access(ADA, close.clone())), AccessRefusal::Oneself);
    world.access(BOB, close.clone()).unwrap();
    assert_eq!(refusal(world.access(BOB, close)), AccessRefusal::ReviewClosed);
    world.access(AGENTS[2], AccessCommand::Request(Box::new(again))).unwrap();
}

#[test]
fn a_plan_opens_one_step_after_the_other_and_ends_with_its_window() {
    let mut world = World::new();
    let step = |what: &str, max_uses: u64, reassess| Step {
        scope: scope(what),
        max_uses: std::num::NonZeroU64::new(max_uses),
        reassess,
    };
    let steps = vec![step(SCOPES[2], 3, false), step(SCOPES[3], 1, true), step(SCOPES[1], 0, false)];
    let new = NewRequest { wanted: Wanted::Plan(Plan { steps }), ..asked("t", SCOPES[0], 600) };
    let plan = world.access(AGENTS[1], AccessCommand::Request(Box::new(new))).unwrap();
    let advance = || AccessCommand::Advance { request: plan };
    assert!(world.access(AGENTS[1], advance()).is_err(), "not approved yet");
    world.approve(BOB, plan).unwrap();
    let first = world.grant_of(plan);
    let grant = Arc::clone(&world.state.live_grant(first).unwrap().grant);
    assert_eq!((grant.scope.clone(), grant.limits.max_uses.map(u64::from)), (scope(SCOPES[2]), Some(3)));
    let end = grant.expires_at;
    world.pass(100);
    assert!(world.access(AGENTS[0], advance()).is_err(), "somebody else's plan");
    let second = world.access(AGENTS[1], advance()).unwrap();
    assert!(second != plan && !world.is_live(first), "the step before is over");
    assert_eq!(refusal(world.access(AGENTS[1], advance())), AccessRefusal::StepPending { request: second });
    world.approve(BOB, second).unwrap();
    let grant = Arc::clone(&world.state.live_grant(world.grant_of(second)).unwrap().grant);
    assert_eq!((grant.scope.clone(), grant.expires_at), (scope(SCOPES[3]), end), "within the plan's window");
    world.access(AGENTS[1], advance()).unwrap();
    assert!(!world.is_live(grant.id) && world.is_live(world.grant_of(plan)));
    assert_eq!(refusal(world.access(AGENTS[1], advance())), AccessRefusal::NoStep);
    world.pass(500);
    assert!(world.state.live().all(|live| !live.grant.covers(world.now)));
}

#[test]
fn extensions_end_with_the_policys_total() {
    let mut world = World::new();
    let mut grant = world.granted("t", SCOPES[0], 1800);
    let extend = |grant| {
        AccessCommand::Extend(Box::new(NewExtension {
            grant,
            ttl: ttl(1800),
            reason: "longer".into(),
            ticket: None,
            ticket_open: None,
            authenticated: None,
            source: None,
        }))
    };
    assert!(world.access(AGENTS[0], extend(grant)).is_err(), "somebody else's grant");
    let request = world.access(AGENTS[1], extend(grant)).unwrap();
    world.approve(BOB, request).unwrap();
    world.pass(1800);
    world.run("", Command::Expire).unwrap();
    grant = world.grant_of(request);
    assert!(world.is_live(grant), "goes on where the other ended");
    let request = world.access(AGENTS[1], extend(grant)).unwrap();
    assert!(matches!(refusal(world.approve(BOB, request)), AccessRefusal::Total { .. }));
}

#[test]
fn too_much_risk_ends_nothing_that_tolerates_it_and_facts_are_not_ones_own() {
    let mut world = World::new();
    let set = |who: &str| AccessCommand::SetAttributes {
        principal: id(who),
        attributes: Attributes { risk: Some(crate::model::Risk::High), ..Attributes::default() },
    };
    assert!(world.access(BOB, set(AGENTS[1])).is_err());
    assert_eq!(refusal(world.access(SECURITY, set(SECURITY))), AccessRefusal::Oneself);
    let grant = world.granted("t", SCOPES[0], 60);
    world.access(SECURITY, set(AGENTS[1])).unwrap();
    assert!(world.is_live(grant));
    assert_eq!(world.state.attributes(&id(AGENTS[1])).unwrap().risk, Some(crate::model::Risk::High));
}

#[test]
fn deadlines_and_lapses_are_swept() {
    let mut world = World::new();
    let new = NewRequest {
        task_deadline: Some(world.now.plus(Duration::from_secs(30))),
        ..asked("t", SCOPES[0], 600)
    };
    let request = world.access(AGENTS[1], AccessCommand::Request(Box::new(new))).unwrap();
    world.approve(BOB, request).unwrap();
    let grant = Arc::clone(&world.state.live_grant(world.grant_of(request)).unwrap().grant);
    assert_eq!(grant.expires_at, world.now.plus(Duration::from_secs(30)), "never past the deadline");
    let pending = world.ask(AGENTS[1], "t", SCOPES[3], 60).unwrap();
    let lapsing = world.ask(AGENTS[1], "u", SCOPES[3], 60).unwrap();
    world.pass(30);
    world.access("", AccessCommand::Sweep).unwrap();
    assert_eq!(world.stands(pending), RequestState::Cancelled);
    assert_eq!(world.state.task(&"t".parse().unwrap()).unwrap().ended.unwrap().0, TaskOutcome::Deadline);
    world.pass(3600);
    assert!(world.access(BOB, AccessCommand::Sweep).is_err(), "the control plane's own");
    world.access("", AccessCommand::Sweep).unwrap();
    assert_eq!(world.stands(lapsing), RequestState::Expired);
}

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
