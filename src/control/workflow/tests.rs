//! The rules of the workflow, each alone; [`random`] is the whole under random commands.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the one outcome that it expects")]

mod attacks;
mod behind;
mod envelope;
mod often;
mod random;
mod recheck;

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
const ADMIN: &str = "spiffe://d/operator/admin";
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
        (id(ADMIN), vec![Role::Admin]),
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
    )
    .with_roles(&rules.roles);
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
        task_deadline: None,
        task_idle_timeout: None,
        source: Some("192.0.2.7".parse().unwrap()),
    }
}

fn approval(request: AccessRequestId) -> NewApproval {
    NewApproval {
        request,
        hash: None,
        scope: None,
        ttl: None,
        reason: "fine".into(),
        ticket_open: None,
        ticket_silent: false,
        authenticated: None,
    }
}

/// From where the plan was asked for, see [`asked`].
fn next_step(request: AccessRequestId) -> AccessCommand {
    AccessCommand::Advance {
        request,
        ticket_open: None,
        ticket_silent: false,
        source: Some("192.0.2.7".parse().unwrap()),
    }
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
    let advance = || next_step(plan);
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
    assert_eq!(
        grant.limits.max_uses.map(u64::from),
        Some(1),
        "as often as the plan says, decided anew or not"
    );
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
fn a_grant_that_tolerates_little_risk_needs_it_known_and_ends_when_it_rises() {
    use crate::model::Risk;
    use crate::model::grant::Conditions;
    let mut world = World::new();
    let set = |risk| AccessCommand::SetAttributes {
        principal: id(AGENTS[1]),
        attributes: Attributes { risk, ..Attributes::default() },
    };
    let grant = || {
        let spec = crate::control::state::GrantSpec {
            principal: id(AGENTS[1]),
            task: "t".parse().unwrap(),
            scope: scope(SCOPES[0]),
            ttl: ttl(600),
            not_before: None,
            conditions: Conditions::default().with_max_risk(Risk::Medium).with_token_required(),
            limits: crate::model::Limits::default(),
            recording: Default::default(),
            reason: "a test".into(),
        };
        Command::Grant([spec].into())
    };
    assert!(matches!(refusal(world.run(ADMIN, grant())), AccessRefusal::Risk { .. }), "not known");
    world.access(SECURITY, set(Some(Risk::High))).unwrap();
    assert!(matches!(refusal(world.run(ADMIN, grant())), AccessRefusal::Risk { .. }));
    for (first, then, ends) in
        [(Risk::Low, Some(Risk::Medium), false), (Risk::Low, Some(Risk::High), true), (Risk::Low, None, true)]
    {
        world.access(SECURITY, set(Some(first))).unwrap();
        let Ok(Outcome::Granted(issued)) = world.run(ADMIN, grant()) else { panic!("{then:?}") };
        let grant = Arc::clone(&issued[0].grant);
        // A part of it is held to the same.
        let part = |principal: &str| {
            AccessCommand::Delegate(Box::new(NewDelegation {
                grant: grant.id,
                principal: id(principal),
                scope: scope(SCOPES[2]),
                ttl: None,
                reason: "part".into(),
                source: None,
            }))
        };
        if let Ok(request) = world.access(AGENTS[1], part(AGENTS[0])) {
            assert!(matches!(refusal(world.approve(BOB, request)), AccessRefusal::Risk { .. }), "not known");
            world.access(AGENTS[1], AccessCommand::Cancel { request, reason: String::new() }).unwrap();
        }
        world.access(SECURITY, set(then)).unwrap();
        assert_eq!(world.is_live(grant.id), !ends, "{then:?}");
    }
}

#[test]
fn a_pinned_source_keeps_what_the_parent_demands() {
    use crate::model::grant::Conditions;
    let demanded = Conditions::default().with_token_required().with_max_risk(crate::model::Risk::Low);
    let pinned = demanded.with_source("192.0.2.7/32".parse().unwrap()).unwrap();
    assert!(pinned.token_required() && pinned.max_risk().is_some());
    assert!(pinned.source_networks().is_some_and(|networks| networks.len() == 1));
}

#[test]
fn who_approved_still_sees_it_and_strangers_never_did() {
    let mut world = World::new();
    let request = world.ask(AGENTS[1], "t", SCOPES[0], 60).unwrap();
    let sees = |world: &World, who: &str| {
        may_see(&world.state, &world.rules, world.state.request(request).unwrap(), &id(who))
    };
    assert!(sees(&world, BOB) && sees(&world, AGENTS[1]) && !sees(&world, AGENTS[2]));
    assert!(!sees(&world, BROKER) && !sees(&world, "spiffe://d/agent/unknown"));
    world.approve(BOB, request).unwrap();
    assert!(
        sees(&world, BOB) && sees(&world, AGENTS[1]) && sees(&world, SECURITY) && !sees(&world, AGENTS[2])
    );
}

#[test]
fn tasks_end_when_nobody_works_on_them_and_only_those_with_a_timeout_are_looked_at() {
    let mut world = World::new();
    let quiet = NewRequest { task_idle_timeout: Some(ttl(60)), ..asked("quiet", SCOPES[0], 600) };
    for new in [quiet, asked("other", SCOPES[0], 600)] {
        let request = world.access(AGENTS[1], AccessCommand::Request(Box::new(new))).unwrap();
        world.approve(BOB, request).unwrap();
    }
    let looked = |world: &World, default| {
        let found =
            world.state.idle_timeouts(default).map(|(task, timeout)| (task.to_string(), timeout.as_secs()));
        found.collect::<BTreeMap<_, _>>()
    };
    assert_eq!(looked(&world, None), [("quiet".to_owned(), 60)].into());
    let both = [("other".to_owned(), 900), ("quiet".to_owned(), 60)].into();
    assert_eq!(looked(&world, Some(Duration::from_secs(900))), both);
    let end =
        |outcome| AccessCommand::EndTask { task: "quiet".parse().unwrap(), outcome, reason: String::new() };
    assert!(world.access(AGENTS[1], end(TaskOutcome::Idle)).is_err(), "the control plane's own");
    world.access("", end(TaskOutcome::Idle)).unwrap();
    assert_eq!(looked(&world, None), BTreeMap::new());
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

#[test]
fn nobody_decides_on_a_request_whose_time_has_passed_also_before_it_is_swept() {
    let mut world = World::new();
    let in_time = world.ask(AGENTS[1], "t", SCOPES[2], 60).unwrap();
    let late = world.ask(AGENTS[1], "u", SCOPES[3], 60).unwrap();
    let end = world.state.request(late).unwrap().request.expires_at;
    world.now = end.minus(Duration::from_micros(1));
    world.approve(BOB, in_time).unwrap();
    world.now = end;
    let (before, expired) = (world.log.len(), AccessRefusal::Settled { state: "expired" });
    assert_eq!(refusal(world.approve(BOB, late)), expired);
    let deny = AccessCommand::Deny { request: late, reason: "no".into() };
    assert_eq!(refusal(world.access(BOB, deny)), expired);
    let cancel = AccessCommand::Cancel { request: late, reason: String::new() };
    assert_eq!(refusal(world.access(AGENTS[1], cancel)), expired);
    assert_eq!((world.stands(late), world.log.len()), (RequestState::Pending, before));
    world.access("", AccessCommand::Sweep).unwrap();
    assert_eq!(world.stands(late), RequestState::Expired);
}

fn planned(world: &mut World, second_is_reassessed: bool) -> AccessRequestId {
    let step = |what: &str, reassess| Step { scope: scope(what), max_uses: None, reassess };
    let steps = vec![step(SCOPES[2], false), step(SCOPES[3], second_is_reassessed)];
    let new = NewRequest { wanted: Wanted::Plan(Plan { steps }), ..asked("t", SCOPES[0], 600) };
    let plan = world.access(AGENTS[1], AccessCommand::Request(Box::new(new))).unwrap();
    world.approve(BOB, plan).unwrap();
    plan
}

#[test]
fn a_plan_whose_step_was_revoked_goes_no_further() {
    for selector in [Selector::Principal(id(AGENTS[1])), Selector::Task("t".parse().unwrap())] {
        for reassess in [false, true] {
            let mut world = World::new();
            let plan = planned(&mut world, reassess);
            world
                .run(SECURITY, Command::Revoke { selector: selector.clone(), reason: "stolen".into() })
                .unwrap();
            let next = world.access(AGENTS[1], next_step(plan));
            assert_eq!(refusal(next), AccessRefusal::NotLive, "reassess: {reassess}");
            assert!(!world.state.live().any(|live| live.grant.covers(world.now)));
        }
    }
}

#[test]
fn a_plan_that_is_booked_goes_on_when_it_has_begun_and_not_before() {
    for reassess in [false, true] {
        let mut world = World::new();
        let step = |what: &str, reassess| Step { scope: scope(what), max_uses: None, reassess };
        let steps = vec![step(SCOPES[2], false), step(SCOPES[3], reassess)];
        let begins = world.now.plus(Duration::from_secs(3_600));
        let wanted = Wanted::Plan(Plan { steps });
        let new = NewRequest { wanted, not_before: Some(begins), ..asked("t", SCOPES[0], 600) };
        let plan = world.access(AGENTS[1], AccessCommand::Request(Box::new(new))).unwrap();
        world.approve(BOB, plan).unwrap();
        assert_eq!(refusal(world.access(AGENTS[1], next_step(plan))), AccessRefusal::NotLive);
        assert!(!world.state.live().any(|live| live.grant.covers(world.now)));
        world.pass(3_600);
        world.access(AGENTS[1], next_step(plan)).unwrap();
    }
}

#[test]
fn a_step_that_people_refused_is_not_asked_again_at_once() {
    let mut world = World::new();
    let plan = planned(&mut world, true);
    let step = world.access(AGENTS[1], next_step(plan)).unwrap();
    world.access(BOB, AccessCommand::Deny { request: step, reason: "no".into() }).unwrap();
    let again = world.access(AGENTS[1], next_step(plan));
    assert!(matches!(refusal(again), AccessRefusal::Cooldown { cause: "denied", .. }));
    world.pass(60);
    world.access(AGENTS[1], next_step(plan)).unwrap();
}

#[test]
fn a_booking_far_ahead_does_not_make_the_past_forgotten() {
    let mut world = World::new();
    world.rules.requests.privileged_cap = Duration::from_secs(3600);
    world.granted("t", SCOPES[2], 1800);
    let service = "orders".parse().unwrap();
    let since = world.now.minus(Duration::from_secs(3600));
    let had = |world: &World| world.state.access_since(&id(AGENTS[1]), &service, since);
    assert_eq!(had(&world), Duration::from_secs(1800));
    world.pass(1_200);
    let far = world.now.plus(Duration::from_secs(30 * 86_400));
    let new = NewRequest { not_before: Some(far), ..asked("t", SCOPES[3], 60) };
    let request = world.access(AGENTS[1], AccessCommand::Request(Box::new(new))).unwrap();
    world.approve(BOB, request).unwrap();
    assert!(had(&world) >= Duration::from_secs(1800), "{:?}", had(&world));
}

#[test]
fn a_token_of_another_person_is_refused_whether_the_policies_want_one_or_not() {
    let mut world = World::new();
    let user = crate::model::User {
        issuer: "https://issuer".into(),
        subject: "bob".into(),
        person: Some("Bob".into()),
        groups: Vec::new(),
        acr: None,
        amr: Vec::new(),
        auth_time: None,
    };
    let new = NewRequest { authenticated: Some(user), ..asked("t", SCOPES[0], 60) };
    let refused = world.access(AGENTS[2], AccessCommand::Request(Box::new(new)));
    assert_eq!(refusal(refused), AccessRefusal::OtherPerson);
}

#[test]
fn a_service_that_is_no_longer_requestable_is_not_approved() {
    let mut world = World::new();
    let request = world.ask(AGENTS[1], "t", SCOPES[0], 60).unwrap();
    world.rules.directory = Directory::default();
    assert!(matches!(refusal(world.approve(BOB, request)), AccessRefusal::NotRequestable { .. }));
}
