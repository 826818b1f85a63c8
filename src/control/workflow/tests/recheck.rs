//! Another policy set: which access goes on, and which ends.

use super::*;
use crate::control::policy::PolicySet;
use crate::model::{EndCause, PolicyOutcome};

pub(super) fn policies(text: &str) -> PolicySet {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.cedar"), text).unwrap();
    PolicySet::load(folder.path(), "UTC").unwrap_or_else(|errors| panic!("{errors}"))
}

const ALL: &str = "permit(principal, action, resource)";

fn with(text: &str) -> World {
    let mut world = World::new();
    world.rules.policies = policies(text);
    world
}

impl World {
    /// What the world's policies do not allow.
    fn disallowed(&self) -> Vec<Disallowed> {
        let facts = |live: &crate::control::state::LiveGrant| {
            let request = live.grant.lineage.as_ref()?.request?;
            let at = self.state.request(request)?.evaluated.as_ref()?.revision.0;
            let event = self.log.get(usize::try_from(at).unwrap() - 1)?;
            match &event.body {
                EventBody::AccessEvaluated { evaluation, .. } => Some(evaluation.facts.clone()),
                _ => None,
            }
        };
        let check = |live| recheck(&self.state, &self.rules, live, facts(live).as_ref());
        self.state.live().filter_map(check).collect()
    }

    /// Why the only grant is not allowed by these policies.
    fn why(&mut self, text: &str) -> String {
        self.rules.policies = policies(text);
        let disallowed = self.disallowed();
        assert!(disallowed.len() <= 1, "{disallowed:?}");
        disallowed.first().map_or_else(String::new, |disallowed| disallowed.reason.clone())
    }

    fn load(&mut self, actor: &str, text: &str) -> Result<(), Refusal> {
        self.rules.policies = policies(text);
        let set = &self.rules.policies;
        let loaded = AccessCommand::PoliciesLoaded {
            policy: set.hash().to_owned(),
            policies: set.ids(),
            disallowed: self.disallowed(),
        };
        self.run(actor, Command::Access(loaded)).map(|_| ())
    }
}

#[test]
fn access_that_was_granted_at_once_ends_with_the_policy_and_says_why() {
    let mut world = with(&format!("@id(\"all\") {ALL};"));
    let request = world.ask(AGENTS[1], "t", SCOPES[0], 600).unwrap();
    let grant = world.grant_of(request);
    assert_eq!(world.why(&format!("@id(\"all\") {ALL}; @id(\"more\") {ALL};")), "", "it stays");
    let text = "@id(\"night\") @because(\"not at night\") forbid(principal, action, resource);";
    let before = world.log.len();
    world.load(SECURITY, &format!("@id(\"all\") {ALL}; {text}")).unwrap();
    assert!(!world.is_live(grant));
    let kinds: Vec<_> = world.log[before..].iter().map(|event| event.body.kind()).collect();
    assert_eq!(kinds, ["policies_loaded", "access_evaluated", "grants_revoked"]);
    assert_eq!(world.log[before].actor, Actor::Identity(id(SECURITY)));
    let Some(EventBody::GrantsRevoked { reason, selector, .. }) = world.log.last().map(|event| &event.body)
    else {
        panic!("{:?}", world.log.last())
    };
    assert!(reason.starts_with("no longer allowed by the policies sha256:"), "{reason}");
    assert!(reason.ends_with("(night): not at night"), "{reason}");
    assert_eq!(*selector, Selector::Policies(world.rules.policies.hash().to_owned()));
    assert_eq!(world.state.policy(), Some(world.rules.policies.hash()));
    let record = world.state.request(request).unwrap();
    assert_eq!(record.trail.len(), 5, "asked, evaluated, granted, evaluated, revoked");
    assert!(matches!(record.evaluated.as_ref().unwrap().outcome, PolicyOutcome::Denied { .. }));
}

#[test]
fn the_facts_of_then_count_and_what_cannot_be_decided_is_not_allowed() {
    let mut world = with(&format!("@id(\"all\") {ALL};"));
    let request = world.ask(AGENTS[1], "t", SCOPES[0], 600).unwrap();
    let early = format!("@id(\"all\") {ALL} when {{ context.history.first_time_for_service }};");
    assert_eq!(world.why(&early), "", "it was the first time");
    let unknown = format!(
        "@id(\"all\") {ALL}; @id(\"risk\") forbid(principal, action, resource) when {{ principal.risk == Risk::\"high\" }};"
    );
    assert!(world.why(&unknown).contains("does not have the attribute `risk`"));
    assert!(
        world
            .why("@id(\"x\") permit(principal, action == Action::\"extend\", resource);")
            .contains("no policy permits")
    );
    // Nobody can say what was decided on.
    let live = world.state.live_grant(world.grant_of(request)).unwrap();
    for facts in [None, Some(serde_json::json!({})), Some(serde_json::json!({"action": "grant"}))] {
        let no_longer = recheck(&world.state, &world.rules, live, facts.as_ref()).unwrap();
        assert!(no_longer.reason.contains("cannot be read"), "{no_longer:?}");
    }
}

#[test]
fn approvals_that_were_given_are_enough_or_not() {
    let one = format!("@id(\"all\") @approvers(\"1 of approvers\") {ALL};");
    let mut world = with(&one);
    let request = world.ask(AGENTS[1], "t", SCOPES[0], 600).unwrap();
    world.approve(BOB, request).unwrap();
    for stays in [
        one.clone(),
        format!("@id(\"all\") {ALL};"),
        format!("@id(\"all\") @approvers(\"1 of spiffe://d/operator/bob\") {ALL};"),
    ] {
        assert_eq!(world.why(&stays), "", "{stays}");
    }
    for (ends, why) in [
        ("@approvers(\"2 of approvers\")", "needs the approval of 2 of role:approver (1 so far)"),
        (
            "@approvers(\"1 of approvers then 1 of owner\")",
            "needs the approval of 1 of owner of `orders` (0 so far)",
        ),
        ("@approvers(\"1 of group:other\")", "needs the approval of 1 of group:other"),
        ("@approvers(\"1 of approvers\") @approver_step_up(\"amr=hwk\")", "needs the approval"),
        ("@approvers(\"1 of approvers\") @step_up(\"amr=hwk\")", "the requester did not authenticate"),
    ] {
        let found = world.why(&format!("@id(\"all\") {ends} {ALL};"));
        assert!(found.contains(why), "{ends}: {found}");
    }
    // Whoever approved lost the right to.
    world.rules.roles = Roles::default();
    assert!(world.why(&one).contains("needs the approval"));
}

#[test]
fn a_grant_that_permits_more_than_the_terms_ends() {
    let mut world = with(&format!(
        "@id(\"all\") @max_uses(\"5\") @argument_bytes(\"9\") @idle_timeout(\"5m\") @recording(\"arguments\") {ALL};"
    ));
    world.ask(AGENTS[1], "t", SCOPES[0], 600).unwrap();
    for (terms, why) in [
        (
            "@max_ttl(\"10m\") @max_total(\"10m\") @max_uses(\"5\") @argument_bytes(\"9\") @idle_timeout(\"5m\") @recording(\"arguments\")",
            "",
        ),
        ("@review", ""),
        ("@max_ttl(\"9m\")", "its time is more than the 9m"),
        ("@max_total(\"9m\")", "its time with extensions is more than the 9m"),
        ("@max_uses(\"4\")", "its number of uses is more than the 4"),
        ("@argument_bytes(\"8\")", "the arguments of a call may have more than the 8 bytes"),
        ("@response_bytes(\"8\")", "the answer to a call may have more than the 8 bytes"),
        ("@idle_timeout(\"4m\")", "its time without use is more than the 4m"),
        ("@recording(\"full\")", "it is recorded less"),
        ("@pin_source", "it is not bound to the address"),
        ("@max_risk(\"high\")", "it tolerates more than the risk high"),
        ("@approvers(\"1 of approvers\")", "needs the approval of 1 of role:approver (0 so far)"),
    ] {
        let found = world.why(&format!("@id(\"all\") {terms} {ALL};"));
        assert!(if why.is_empty() { found.is_empty() } else { found.contains(why) }, "{terms}: {found}");
    }
}

#[test]
fn an_operators_direct_grant_is_held_to_what_forbids() {
    let forbid = "@id(\"no\") @because(\"orders are closed\") forbid(principal, action, resource in Service::\"orders\");";
    let spec = crate::control::state::GrantSpec {
        principal: id(AGENTS[1]),
        task: "t".parse().unwrap(),
        scope: scope(SCOPES[0]),
        ttl: ttl(600),
        not_before: None,
        conditions: Default::default(),
        limits: Default::default(),
        recording: Default::default(),
        reason: "r".into(),
    };
    let grant = |world: &mut World| world.run(ADMIN, Command::Grant([spec.clone()].into()));
    let mut world = with(forbid);
    let refused = refusal(grant(&mut world));
    assert_eq!(refused, AccessRefusal::Forbidden { because: "orders are closed".into() });
    assert!(world.log.is_empty());
    // No permit is needed: the operator permits.
    let mut world = with("@id(\"x\") permit(principal, action == Action::\"extend\", resource);");
    let Ok(Outcome::Granted(issued)) = grant(&mut world) else { panic!("granted") };
    assert_eq!(world.disallowed(), []);
    world.load(ADMIN, forbid).unwrap();
    let Some(crate::control::state::Found::Ended(ended)) = world.state.find(issued[0].grant.id) else {
        panic!("ended")
    };
    assert_eq!(ended.cause, EndCause::Revoked);
    let revocation = world.state.revocation(ended.revocation.unwrap()).unwrap();
    assert!(revocation.reason.ends_with("(no): orders are closed"), "{}", revocation.reason);
}

#[test]
fn what_depends_on_it_ends_as_well_and_nobody_else_loads() {
    let mut world = with(&format!("@id(\"all\") {ALL};"));
    let request = world.ask(AGENTS[1], "t", SCOPES[0], 600).unwrap();
    let parent = world.grant_of(request);
    let part = NewDelegation {
        grant: parent,
        principal: id(AGENTS[0]),
        scope: scope(SCOPES[2]),
        ttl: None,
        reason: "help".into(),
        source: None,
    };
    let part = world.access(AGENTS[1], AccessCommand::Delegate(Box::new(part))).unwrap();
    let child = world.grant_of(part);
    assert!(world.is_live(child));
    let only_parts = "@id(\"parts\") permit(principal, action == Action::\"delegate\", resource);";
    for actor in [AGENTS[1], ADA, BROKER] {
        assert!(matches!(world.load(actor, only_parts), Err(Refusal::Role { .. })), "{actor}");
    }
    assert!(world.is_live(parent));
    world.load("", only_parts).unwrap();
    assert!(!world.is_live(parent) && !world.is_live(child), "a part ends with the whole");
    let revoked = |event: &&Event| matches!(event.body, EventBody::GrantsRevoked { .. });
    assert_eq!(world.log.iter().filter(revoked).count(), 1);
}

#[test]
fn a_further_step_of_a_plan_is_decided_by_the_policies_of_its_day() {
    let all = format!("@id(\"all\") {ALL};");
    let step = |what: &str| Step { scope: scope(what), max_uses: None, reassess: false };
    let plan = Plan { steps: vec![step(SCOPES[1]), step(SCOPES[3]), step(SCOPES[2])] };
    let mut world = with(&all);
    let new = NewRequest { wanted: Wanted::Plan(plan), ..asked("t", SCOPES[0], 600) };
    let request = world.access(AGENTS[1], AccessCommand::Request(Box::new(new))).unwrap();
    world.access(AGENTS[1], next_step(request)).unwrap();
    assert_eq!(world.state.request(request).unwrap().grants.len(), 2, "its own terms are enough");
    world
        .load(
            "",
            &format!(
                "{all} @id(\"no\") forbid(principal, action, resource) when {{ context has plan_step }};"
            ),
        )
        .unwrap();
    assert!(world.is_live(world.grant_of(request)), "the first two were decided on without that");
    let step = world.access(AGENTS[1], next_step(request)).unwrap();
    let asked = world.state.request(request).unwrap().steps.last().unwrap().asked.unwrap();
    assert_eq!(world.stands(asked), RequestState::Denied, "{step}");
}
