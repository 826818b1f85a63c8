//! Ways round the rules that somebody tried.

use super::*;
use crate::control::policy::PolicySet;

fn policies(text: &str) -> PolicySet {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.cedar"), text).unwrap();
    PolicySet::load(folder.path(), "UTC").unwrap_or_else(|errors| panic!("{errors}"))
}

pub(super) fn ada() -> crate::model::User {
    crate::model::User {
        issuer: "https://issuer".into(),
        subject: "ada".into(),
        person: Some("Ada".into()),
        groups: Vec::new(),
        acr: None,
        amr: Vec::new(),
        auth_time: None,
    }
}

pub(super) fn request(world: &mut World, who: &str, new: NewRequest) -> Result<AccessRequestId, Refusal> {
    world.access(who, AccessCommand::Request(Box::new(new)))
}

pub(super) fn delegate(
    world: &mut World,
    who: &str,
    of: GrantId,
    to: &str,
) -> Result<AccessRequestId, Refusal> {
    let scope = world.state.find(of).unwrap().grant().scope.clone();
    let new = NewDelegation {
        grant: of,
        principal: id(to),
        scope,
        ttl: None,
        reason: "a part".into(),
        source: None,
    };
    world.access(who, AccessCommand::Delegate(Box::new(new)))
}

#[test]
fn whoever_asked_with_their_token_from_a_workload_does_not_approve() {
    let mut world = World::new();
    let new = NewRequest { authenticated: Some(ada()), ..asked("t", SCOPES[0], 60) };
    let asked = request(&mut world, AGENTS[1], new).unwrap();
    assert_eq!(refusal(world.approve(ADA, asked)), AccessRefusal::SelfApproval);
    world.approve(BOB, asked).unwrap();
}

#[test]
fn what_was_decided_for_one_user_stands_for_no_other() {
    let mut world = World::new();
    let at = |issuer: &str, subject: &str| crate::model::User {
        issuer: issuer.into(),
        subject: subject.into(),
        person: None,
        ..ada()
    };
    // The same agent, task, scope, time and reason: for two users of one issuer, one of another, and nobody.
    let users =
        [Some(at("https://a", "ada")), Some(at("https://a", "bob")), Some(at("https://b", "ada")), None];
    let ask = |user: &Option<crate::model::User>| NewRequest {
        on_behalf_of: user.clone(),
        ..asked("t", SCOPES[0], 600)
    };
    let mut grants = BTreeSet::new();
    for user in &users {
        let pending = request(&mut world, AGENTS[1], ask(user)).unwrap();
        assert_eq!(world.stands(pending), RequestState::Pending, "{user:?}");
        // A newer token of the same user is the same request.
        let fresh = user.clone().map(|user| crate::model::User { auth_time: Some(world.now), ..user });
        assert_eq!(request(&mut world, AGENTS[1], ask(&fresh)).unwrap(), pending);
        for other in users.iter().filter(|other| *other != user && grants.is_empty()) {
            let others = request(&mut world, AGENTS[1], ask(other)).unwrap();
            assert_ne!(others, pending, "{user:?} {other:?}");
        }
        world.approve(BOB, pending).unwrap();
        let grant = world.grant_of(pending);
        assert!(grants.insert(grant), "{user:?}");
        let named = world.state.live_grant(grant).unwrap().grant.on_behalf_of().cloned();
        assert_eq!(named, user.as_ref().map(crate::model::User::id));
    }
    // Asked again, each is answered by its own; and an operator's grant is nobody's.
    for user in &users {
        let again = request(&mut world, AGENTS[1], ask(user)).unwrap();
        let known = world.state.request(again).unwrap();
        assert_eq!(
            known.request.on_behalf_of.as_ref().map(|user| &user.subject),
            user.as_ref().map(|user| &user.subject)
        );
        assert!(grants.contains(&world.grant_of(again)));
    }
    assert_eq!(world.state.live().len(), users.len());
    let mut alone = World::new();
    let pending = request(&mut alone, AGENTS[1], ask(&users[0])).unwrap();
    alone.approve(BOB, pending).unwrap();
    let spec = crate::control::state::GrantSpec {
        principal: id(AGENTS[1]),
        task: "t".parse().unwrap(),
        scope: scope(SCOPES[0]),
        ttl: ttl(600),
        not_before: None,
        conditions: crate::model::grant::Conditions::default(),
        limits: crate::model::grant::Limits::default(),
        recording: Default::default(),
        reason: "by hand".into(),
    };
    alone.run(ADMIN, Command::Grant([spec].into())).unwrap();
    assert_eq!(alone.state.live().filter(|live| live.grant.on_behalf_of().is_none()).count(), 1);
}

#[test]
fn a_step_up_that_is_demanded_since_is_demanded_of_what_was_asked_before() {
    let mut world = World::new();
    let before = world.ask(AGENTS[1], "t", SCOPES[0], 60).unwrap();
    let text = "@id(\"p\") @approvers(\"1 of approvers\") @step_up(\"amr=hwk\") permit(principal, action, resource);";
    world.rules.policies = policies(text);
    world.approve(BOB, before).unwrap();
    assert_eq!(world.stands(before), RequestState::Denied);
    assert_eq!(world.state.live().len(), 0);
}

#[test]
fn one_emergency_is_reviewed_before_the_next_whoever_asked_and_however_early() {
    let emergency = |task: &str, what: &str| NewRequest { emergency: true, ..asked(task, what, 60) };
    // A broker asks for Ada's agent: that was Ada's emergency as well.
    let mut world = World::new();
    let for_ada = NewRequest { principal: Some(id(AGENTS[2])), ..emergency("t", SCOPES[0]) };
    let first = request(&mut world, BROKER, for_ada).unwrap();
    world.approve(BOB, first).unwrap();
    let again = request(&mut world, ADA, emergency("u", SCOPES[3]));
    assert!(matches!(refusal(again), AccessRefusal::ReviewOpen { .. }));
    // Both asked for before either is granted.
    let mut world = World::new();
    let first = request(&mut world, AGENTS[2], emergency("t", SCOPES[2])).unwrap();
    let second = request(&mut world, AGENTS[2], emergency("t", SCOPES[3])).unwrap();
    world.approve(BOB, first).unwrap();
    assert!(matches!(refusal(world.approve(BOB, second)), AccessRefusal::ReviewOpen { .. }));
    assert_eq!(world.state.live().len(), 1);
}

#[test]
fn a_step_that_policies_refuse_does_not_fill_the_log() {
    let mut world = World::new();
    let plan = planned(&mut world, true);
    world.rules.requests.max_per_hour = 5;
    world.rules.policies = policies("@id(\"f\") forbid(principal, action, resource);");
    let advance = || next_step(plan);
    let refused = (0..10).find_map(|_| world.access(AGENTS[1], advance()).err());
    assert_eq!(refusal(Err::<(), _>(refused.unwrap())), AccessRefusal::TooOften { max: 5 });
}

#[test]
fn the_owner_of_a_task_does_not_fill_the_log_with_members() {
    let mut world = World::new();
    world.ask(AGENTS[1], "t", SCOPES[0], 60).unwrap();
    let join = |number: usize| AccessCommand::Join {
        task: "t".parse().unwrap(),
        principal: id(&format!("spiffe://d/agent/{number}")),
        reason: "helps".into(),
    };
    let refused = (0..1_000).find_map(|number| world.access(AGENTS[1], join(number)).err());
    assert!(matches!(refusal(Err::<(), _>(refused.unwrap())), AccessRefusal::Invalid(_)));
    assert_eq!(world.state.task(&"t".parse().unwrap()).unwrap().members.len(), 256);
}

#[test]
fn a_member_lets_nobody_into_a_task_by_handing_on_a_grant() {
    let task = "t".parse().unwrap();
    let (member, other) = ("spiffe://d/agent/member", "spiffe://d/agent/other");
    for (who, lets_in) in [(AGENTS[1], true), (member, false)] {
        let mut world = World::new();
        world.granted("t", SCOPES[0], 60);
        let join =
            AccessCommand::Join { task: "t".parse().unwrap(), principal: id(member), reason: "r".into() };
        world.access(AGENTS[1], join).unwrap();
        let own = world.ask(who, "t", SCOPES[3], 60).unwrap();
        world.approve(BOB, own).unwrap();
        let of = world.grant_of(own);
        let part = delegate(&mut world, who, of, other).unwrap();
        world.approve(BOB, part).unwrap();
        assert!(world.is_live(world.grant_of(part)));
        assert_eq!(world.state.task(&task).unwrap().has(&id(other)), lets_in, "{who}");
        assert_eq!(world.ask(other, "t", SCOPES[2], 60).is_ok(), lets_in, "{who}");
    }
}

#[test]
fn who_approved_a_plan_gets_no_part_of_a_step_that_another_approved() {
    let mut world = World::new();
    let plan = planned(&mut world, true);
    let step = world.access(AGENTS[1], next_step(plan)).unwrap();
    world.approve(ADA, step).unwrap();
    let grant = world.grant_of(step);
    for approver in [ADA, BOB] {
        let refused = refusal(delegate(&mut world, AGENTS[1], grant, approver));
        assert_eq!(refused, AccessRefusal::ApproverBenefits { principal: id(approver) });
    }
}

#[test]
fn who_approved_what_is_forgotten_gets_no_part_of_it() {
    let mut world = World::new();
    let day = 86_400;
    world.rules.max_ttl = Duration::from_secs(5 * day);
    let first = world.granted("t", SCOPES[0], 3600);
    let more = NewExtension {
        grant: first,
        ttl: ttl(2 * day),
        reason: "longer".into(),
        ticket: None,
        ticket_open: None,
        authenticated: None,
        source: None,
    };
    let more = world.access(AGENTS[1], AccessCommand::Extend(Box::new(more))).unwrap();
    world.approve(ADA, more).unwrap();
    let second = world.grant_of(more);
    world.pass(3600);
    world.run("", Command::Expire).unwrap();
    assert!(matches!(
        refusal(delegate(&mut world, AGENTS[1], second, BOB)),
        AccessRefusal::ApproverBenefits { .. }
    ));
    world.pass(day + 1);
    // Any event makes the state forget what is older.
    world.ask(AGENTS[1], "u", SCOPES[3], 60).unwrap();
    assert!(world.state.find(first).is_none() && world.is_live(second));
    assert!(matches!(refusal(delegate(&mut world, AGENTS[1], second, BOB)), AccessRefusal::Invalid(_)));
}

#[test]
fn a_plan_does_not_go_on_when_its_task_is_over_and_taken_up_again() {
    for reassess in [false, true] {
        let mut world = World::new();
        let step = |what: &str, reassess| Step { scope: scope(what), max_uses: None, reassess };
        let steps = vec![step(SCOPES[2], false), step(SCOPES[3], reassess)];
        let new = NewRequest {
            wanted: Wanted::Plan(Plan { steps }),
            task_deadline: Some(world.now.plus(Duration::from_secs(30))),
            ..asked("t", SCOPES[0], 600)
        };
        let plan = request(&mut world, AGENTS[1], new).unwrap();
        world.approve(BOB, plan).unwrap();
        world.pass(30);
        world.run("", Command::Expire).unwrap();
        world.access("", AccessCommand::Sweep).unwrap();
        // Its owner asks for something else under the same name: that is another piece of work.
        world.ask(AGENTS[1], "t", SCOPES[2], 60).unwrap();
        let next = world.access(AGENTS[1], next_step(plan));
        assert!(matches!(refusal(next), AccessRefusal::TaskEnded { .. }), "reassess: {reassess}");
    }
}

#[test]
fn a_step_that_is_decided_anew_has_the_ticket_and_the_address_of_now() {
    let mut world = World::new();
    let plan = planned(&mut world, true);
    let (ticket_open, source) = (Some(false), Some("198.51.100.9".parse().unwrap()));
    let advance = AccessCommand::Advance { request: plan, ticket_open, ticket_silent: false, source };
    let step = world.access(AGENTS[1], advance).unwrap();
    let asked = &world.state.request(step).unwrap().request;
    assert_eq!((asked.ticket_open, asked.source), (ticket_open, source));
}

#[test]
fn a_ticket_that_was_closed_while_the_request_waited_counts() {
    let text = "@id(\"p\") @approvers(\"1 of approvers\") permit(principal, action == Action::\"request\", resource) \
        when { context has ticket && context.ticket.open };";
    for (now, state) in [
        (Some(true), RequestState::Approved),
        (Some(false), RequestState::Denied),
        (None, RequestState::Denied),
    ] {
        let mut world = World::new();
        world.rules.policies = policies(text);
        let (ticket, ticket_open) = (Some("INC-1".into()), Some(true));
        let new = NewRequest { ticket, ticket_open, ..asked("t", SCOPES[0], 60) };
        let pending = request(&mut world, AGENTS[1], new).unwrap();
        assert_eq!(world.stands(pending), RequestState::Pending);
        let yes = NewApproval { ticket_open: now, ..approval(pending) };
        world.access(BOB, AccessCommand::Approve(Box::new(yes))).unwrap();
        assert_eq!(world.stands(pending), state, "{now:?}");
    }
    let mut world = World::new();
    world.rules.policies = policies(text);
    let (ticket, ticket_open) = (Some("INC-1".into()), Some(true));
    let new = NewRequest { ticket, ticket_open, ..asked("t", SCOPES[0], 60) };
    let pending = request(&mut world, AGENTS[1], new).unwrap();
    let yes = NewApproval { ticket_silent: true, ..approval(pending) };
    let silent = world.access(BOB, AccessCommand::Approve(Box::new(yes)));
    assert_eq!(refusal(silent), AccessRefusal::TicketsSilent);
    assert_eq!(world.stands(pending), RequestState::Pending);
}

#[test]
fn a_step_ends_with_its_task() {
    let mut world = World::new();
    let deadline = world.now.plus(Duration::from_secs(30));
    let steps =
        [SCOPES[2], SCOPES[3]].map(|what| Step { scope: scope(what), max_uses: None, reassess: false });
    let new = NewRequest {
        wanted: Wanted::Plan(Plan { steps: steps.to_vec() }),
        task_deadline: Some(deadline),
        ..asked("t", SCOPES[0], 600)
    };
    let plan = request(&mut world, AGENTS[1], new).unwrap();
    world.approve(BOB, plan).unwrap();
    world.pass(20);
    world.access(AGENTS[1], next_step(plan)).unwrap();
    let ends: Vec<Time> = world.state.live().map(|live| live.grant.expires_at).collect();
    assert_eq!(ends, [deadline]);
}

#[test]
fn a_refusal_says_nothing_about_another() {
    let mut world = World::new();
    let text = "@id(\"p\") @max_risk(\"low\") permit(principal, action, resource);";
    world.rules.policies = policies(text);
    let risky = Attributes { risk: Some(crate::model::Risk::High), ..Attributes::default() };
    let set = |who: &str| AccessCommand::SetAttributes { principal: id(who), attributes: risky.clone() };
    world.access(SECURITY, set(AGENTS[1])).unwrap();
    for (who, told) in [(AGENTS[1], true), (BROKER, false)] {
        let new = NewRequest { principal: Some(id(AGENTS[1])), ..asked("t", SCOPES[0], 60) };
        let new = NewRequest { task: if told { "t" } else { "u" }.parse().unwrap(), ..new };
        let asked = request(&mut world, who, new).unwrap();
        let settled = world.state.request(asked).unwrap().settled.clone().unwrap();
        let reason = settled.reason.unwrap();
        assert_eq!(reason.contains("high"), told, "{reason}");
        assert_eq!(world.stands(asked), RequestState::Denied);
    }
}

#[test]
fn whoever_hands_something_on_learns_nothing_about_the_risk_of_the_other() {
    let mut world = World::new();
    // What tolerates little risk is the grant that it comes from; of handing it on the policies say nothing.
    world.rules.policies = policies(
        "@id(\"p\") @max_risk(\"medium\") permit(principal, action == Action::\"request\", resource);\n\
         @id(\"d\") permit(principal, action == Action::\"delegate\", resource);",
    );
    let set = |world: &mut World, who: &str, risk| {
        let attributes = Attributes { risk: Some(risk), ..Attributes::default() };
        let set = AccessCommand::SetAttributes { principal: id(who), attributes };
        world.access(SECURITY, set).unwrap();
    };
    set(&mut world, AGENTS[1], crate::model::Risk::Low);
    let asked = request(&mut world, AGENTS[1], asked("t", SCOPES[0], 600)).unwrap();
    let grant = world.grant_of(asked);
    let unknown = refusal(delegate(&mut world, AGENTS[1], grant, AGENTS[2]));
    set(&mut world, AGENTS[2], crate::model::Risk::High);
    let refused = refusal(delegate(&mut world, AGENTS[1], grant, AGENTS[2]));
    assert_eq!(refused, unknown);
    assert!(!refused.to_string().contains("high"), "{refused}");
    assert!(matches!(unknown, AccessRefusal::Risk { .. }), "{unknown:?}");
    set(&mut world, AGENTS[2], crate::model::Risk::Medium);
    delegate(&mut world, AGENTS[1], grant, AGENTS[2]).unwrap();
}
