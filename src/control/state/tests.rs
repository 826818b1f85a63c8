//! The state machine against a model that is slow and obvious, and each rule alone.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the one outcome that it expects")]

use super::*;
use crate::config::Role;
use crate::control::authz::Roles;
use crate::model::event::{Event, EventBody, Everything};
use crate::model::grant::{Conditions, Limits};
use crate::model::{AuditHealth, Recording, Scope, TrailHead, Ttl};
use proptest::prelude::*;
use std::collections::BTreeSet;

const ADMIN: &str = "spiffe://d/operator/admin";
const SECURITY: &str = "spiffe://d/operator/security";
const VIEWER: &str = "spiffe://d/operator/viewer";
const EDGE: &str = "spiffe://d/proxy/edge";
const OTHER_EDGE: &str = "spiffe://d/proxy/other";
const AGENT: &str = "spiffe://d/agent/a";

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

fn as_(text: &str) -> Actor {
    Actor::Identity(id(text))
}

fn rules() -> Rules {
    let identities = [
        (id(ADMIN), vec![Role::Admin]),
        (id(SECURITY), vec![Role::Security]),
        (id(VIEWER), vec![Role::Viewer, Role::Approver, Role::Broker]),
        (id(EDGE), vec![Role::Proxy]),
        (id(OTHER_EDGE), vec![Role::Proxy]),
    ];
    let people = [vec![id(ADMIN), id("spiffe://d/agent/of-admin")]];
    Rules::new(Duration::from_secs(3600), Roles::new(identities, people))
}

fn scope(service: &str) -> Scope {
    serde_json::from_value(serde_json::json!([
        {"type": "http", "locations": [service], "actions": ["GET"], "paths": ["/**"]}
    ]))
    .unwrap()
}

fn at(seconds: i64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn spec(principal: &str, task: &str, service: &str, ttl: u64) -> GrantSpec {
    GrantSpec {
        principal: id(principal),
        task: task.parse().unwrap(),
        scope: scope(service),
        ttl: Ttl::new(Duration::from_secs(ttl)).unwrap(),
        not_before: None,
        conditions: Conditions::default(),
        limits: Limits::default(),
        recording: Default::default(),
        reason: "a test".into(),
    }
}

/// A state with its log.
#[derive(Default)]
struct Machine {
    state: State,
    log: Vec<Event>,
    ids: u64,
}

impl Machine {
    fn decide(&mut self, actor: &Actor, command: &Command, now: Time) -> Result<Decision, Refusal> {
        let ids = &mut self.ids;
        let mut random = || {
            *ids += 1;
            let mut bits = [0; 10];
            bits[2..].copy_from_slice(&ids.to_be_bytes());
            bits
        };
        decide(&self.state, actor, command, &mut Context { now, rules: &rules(), random: &mut random })
    }

    fn run(&mut self, actor: &Actor, command: &Command, now: Time) -> Result<Outcome, Refusal> {
        let decision = self.decide(actor, command, now)?;
        for event in decision.events {
            self.state.apply(self.state.revision().next(), &event).unwrap();
            self.log.push(event);
        }
        decision.kept.iter().for_each(|kept| self.state.keep_trail(kept));
        Ok(decision.outcome)
    }

    fn grant(&mut self, specs: Vec<GrantSpec>, now: Time) -> Result<Vec<Issued>, Refusal> {
        match self.run(&as_(ADMIN), &Command::Grant(specs.into()), now)? {
            Outcome::Granted(issued) => Ok(issued),
            other => panic!("{other:?}"),
        }
    }

    fn revoke(&mut self, selector: Selector, now: Time) -> (RevocationId, Revision) {
        let revoke = Command::Revoke { selector, reason: "a test".into() };
        match self.run(&as_(SECURITY), &revoke, now).unwrap() {
            Outcome::Revoked { revocation, revision } => (revocation, revision),
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, identity: &str, name: &str) -> Result<Outcome, Refusal> {
        self.run(&as_(identity), &Command::Join { proxy: name.parse().unwrap() }, at(0))
    }
}

#[test]
fn only_the_right_role_gets_anywhere() {
    let mut machine = Machine::default();
    let grant = Command::Grant(vec![spec(AGENT, "t", "orders", 60)].into());
    let revoke = Command::Revoke { selector: Selector::All(Everything), reason: "x".into() };
    let join = Command::Join { proxy: "edge".parse().unwrap() };
    let system = [
        Command::Expire,
        Command::BeginEpoch,
        Command::End { grants: vec![], cause: EndCause::Idle },
        Command::RaiseLease { lease: Duration::from_secs(60) },
    ];
    let allowed = |actor: &str, command: &Command| match command {
        Command::Grant(_) => actor == ADMIN,
        Command::Revoke { .. } => actor == ADMIN || actor == SECURITY,
        Command::Join { .. } => actor == EDGE || actor == OTHER_EDGE,
        _ => false,
    };
    for actor in [ADMIN, SECURITY, VIEWER, EDGE, OTHER_EDGE, AGENT, "spiffe://d/operator/adminx"] {
        for command in [&grant, &revoke, &join].into_iter().chain(&system) {
            let decided = machine.decide(&as_(actor), command, at(1));
            assert_eq!(decided.is_ok(), allowed(actor, command), "{actor} {command:?} {decided:?}");
        }
    }
    for command in [&grant, &revoke, &join] {
        assert!(machine.decide(&Actor::System, command, at(1)).is_err(), "nobody's decision: {command:?}");
    }
    assert_eq!(machine.state.revision(), Revision(0));
}

#[test]
fn never_to_oneself_or_to_another_identity_of_the_same_person() {
    let mut machine = Machine::default();
    for principal in [ADMIN, "spiffe://d/agent/of-admin"] {
        let refused = machine.grant(vec![spec(principal, "t", "orders", 60)], at(0)).unwrap_err();
        assert_eq!(refused, Refusal::SelfGrant { principal: id(principal) });
        // Also hidden in the middle of a bulk call.
        let hidden = vec![spec(AGENT, "t", "orders", 60), spec(principal, "t", "orders", 60)];
        assert!(matches!(machine.grant(hidden, at(0)), Err(Refusal::Entry { number: 2, .. })));
    }
    assert_eq!(machine.state.live().len(), 0);
}

#[test]
fn a_grant_is_never_longer_than_the_cap_nor_without_a_reason() {
    let mut machine = Machine::default();
    assert!(machine.grant(vec![spec(AGENT, "t", "orders", 3600)], at(0)).is_ok());
    let long = spec(AGENT, "t2", "orders", 3601);
    assert!(matches!(machine.grant(vec![long], at(0)), Err(Refusal::TtlAboveCap { .. })));
    for reason in [String::new(), "  \n".into(), "x".repeat(MAX_REASON + 1)] {
        let spec = GrantSpec { reason: reason.as_str().into(), ..spec(AGENT, "t3", "orders", 60) };
        assert_eq!(machine.grant(vec![spec], at(0)).unwrap_err(), Refusal::Reason);
        let revoke = Command::Revoke { selector: Selector::All(Everything), reason };
        assert_eq!(machine.run(&as_(SECURITY), &revoke, at(0)).unwrap_err(), Refusal::Reason);
    }
    assert_eq!(machine.grant(vec![], at(0)).unwrap_err(), Refusal::Empty);
    let many = vec![spec(AGENT, "t", "orders", 60); MAX_BULK + 1];
    assert_eq!(machine.grant(many, at(0)).unwrap_err(), Refusal::TooMany { given: MAX_BULK + 1 });
}

#[test]
fn a_window_starts_now_or_later_but_not_in_the_past() {
    let mut machine = Machine::default();
    let now = at(10_000);
    let start = |seconds: i64| GrantSpec { not_before: Some(at(seconds)), ..spec(AGENT, "t", "orders", 60) };
    let issued = machine.grant(vec![start(9_990)], now).unwrap();
    assert_eq!((issued[0].grant.not_before, issued[0].grant.expires_at), (now, at(10_060)));
    for seconds in [9_000, 10_000 + 31 * 86_400] {
        assert!(matches!(machine.grant(vec![start(seconds)], now), Err(Refusal::Start { .. })));
    }
    // A later window for the same thing is no duplicate: they are never live together.
    let later = machine.grant(vec![start(10_060)], now).unwrap();
    assert!(!later[0].existing);
    // One that overlaps is.
    assert!(machine.grant(vec![start(10_059)], now).unwrap()[0].existing);
}

#[test]
fn one_live_grant_for_each_principal_task_and_scope() {
    let mut machine = Machine::default();
    let first = machine.grant(vec![spec(AGENT, "t", "orders", 60)], at(0)).unwrap();
    let again = machine
        .grant(
            vec![
                spec(AGENT, "t", "orders", 600),
                spec(AGENT, "u", "orders", 60),
                spec(AGENT, "u", "orders", 60),
            ],
            at(1),
        )
        .unwrap();
    assert_eq!(again[0], Issued { grant: first[0].grant.clone(), existing: true });
    assert!(!again[1].existing && again[2].existing && again[1].grant == again[2].grant);
    // Over is over: at its end, logged or not, there may be another.
    let after = machine.grant(vec![spec(AGENT, "t", "orders", 60)], at(60)).unwrap();
    assert!(!after[0].existing);
}

#[test]
fn a_grant_records_what_its_operator_demands_and_none_that_records_less_stands_for_it() {
    let mut machine = Machine::default();
    let recorded = |task: &str, recording| GrantSpec { recording, ..spec(AGENT, task, "orders", 60) };
    for (task, level) in [("m", Recording::Metadata), ("a", Recording::Arguments), ("f", Recording::Full)] {
        assert_eq!(machine.grant(vec![recorded(task, level)], at(0)).unwrap()[0].grant.recording, level);
    }
    // What records as much, or more, is what was asked for.
    for (task, level) in [("f", Recording::Full), ("f", Recording::Metadata), ("a", Recording::Arguments)] {
        assert!(machine.grant(vec![recorded(task, level)], at(1)).unwrap()[0].existing, "{task}");
    }
    let logged = machine.log.len();
    for (task, level) in [("m", Recording::Arguments), ("m", Recording::Full), ("a", Recording::Full)] {
        let refused = machine.grant(vec![recorded(task, level)], at(1));
        assert!(matches!(refused, Err(Refusal::RecordsLess { .. })), "{task}: {refused:?}");
    }
    // Nor one of the same call.
    let both = vec![recorded("b", Recording::Metadata), recorded("b", Recording::Full)];
    let refused = machine.grant(both, at(1)).unwrap_err();
    let Refusal::Entry { number: 2, refusal } = &refused else { panic!("{refused:?}") };
    assert!(matches!(**refusal, Refusal::RecordsLess { .. }), "{refusal:?}");
    assert_eq!(machine.log.len(), logged, "nothing was done");
    machine.revoke(Selector::Task("m".parse().unwrap()), at(2));
    assert!(!machine.grant(vec![recorded("m", Recording::Full)], at(3)).unwrap()[0].existing);
}

#[test]
fn a_bulk_call_becomes_events_of_bounded_size_with_right_revisions() {
    let mut machine = Machine::default();
    let specs: Vec<_> = (0..2_500).map(|n| spec(AGENT, &format!("t{n}"), "orders", 60)).collect();
    let issued = machine.grant(specs, at(0)).unwrap();
    assert_eq!((machine.log.len(), machine.state.live().len()), (3, 2_500));
    assert!(issued[0].grant.revision == Revision(1) && issued[2_499].grant.revision == Revision(3));
    let (revocation, revision) = machine.revoke(Selector::Principal(id(AGENT)), at(1));
    assert_eq!(revision, Revision(6));
    let revocation = machine.state.revocation(revocation).unwrap();
    assert_eq!((revocation.revision, revocation.grants.len()), (Revision(6), 2_500));
    assert_eq!(machine.state.live().len(), 0);
}

#[test]
fn a_revocation_is_confirmed_by_each_proxy_for_itself_alone() {
    let mut machine = Machine::default();
    machine.join(EDGE, "edge").unwrap();
    let taken = machine.join(OTHER_EDGE, "edge");
    assert!(matches!(taken, Err(Refusal::NameTaken { .. })), "a name belongs to its first identity");
    machine.join(OTHER_EDGE, "other").unwrap();
    machine.grant(vec![spec(AGENT, "t", "orders", 60)], at(0)).unwrap();
    let (revocation, revision) = machine.revoke(Selector::Task("t".parse().unwrap()), at(1));
    let ack = |proxy: &str, revision| Command::Acknowledge {
        proxy: proxy.parse().unwrap(),
        revision,
        streams_cut: 2,
    };
    for actor in [OTHER_EDGE, ADMIN, SECURITY, AGENT] {
        assert!(machine.run(&as_(actor), &ack("edge", revision), at(2)).is_err(), "{actor}");
    }
    let early = machine.run(&as_(EDGE), &ack("edge", revision.next()), at(2));
    assert!(matches!(early, Err(Refusal::Future { .. })), "what has not happened cannot be confirmed");
    // Below the revocation: nothing is confirmed, and nothing is logged.
    let before = machine.log.len();
    machine.run(&as_(EDGE), &ack("edge", Revision(revision.0 - 1)), at(2)).unwrap();
    assert_eq!(machine.log.len(), before);
    machine.run(&as_(EDGE), &ack("edge", revision), at(3)).unwrap();
    machine.run(&as_(EDGE), &ack("edge", revision), at(4)).unwrap();
    assert_eq!(machine.log.len(), before + 1, "said twice, logged once");
    let confirmed = &machine.state.revocation(revocation).unwrap().confirmed;
    assert_eq!(confirmed.len(), 1);
    assert_eq!(confirmed[&"edge".parse::<ProxyName>().unwrap()], Confirmation { at: at(3), streams_cut: 2 });
}

#[test]
fn reserved_uses_count_as_spent_and_only_while_the_grant_lives() {
    let mut machine = Machine::default();
    machine.join(EDGE, "edge").unwrap();
    let limits = Limits { max_uses: std::num::NonZeroU64::new(5), ..Limits::default() };
    let issued = machine.grant(vec![GrantSpec { limits, ..spec(AGENT, "t", "orders", 60) }], at(0)).unwrap();
    let grant = issued[0].grant.id;
    let reserve = |machine: &mut Machine, want, now| {
        let command = Command::ReserveUses { proxy: "edge".parse().unwrap(), grant, want };
        match machine.run(&as_(EDGE), &command, now).unwrap() {
            Outcome::Reserved { uses } => uses,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reserve(&mut machine, 3, at(1)), 3);
    assert_eq!(reserve(&mut machine, 3, at(1)), 2);
    assert_eq!(reserve(&mut machine, 3, at(1)), 0);
    let other = machine.grant(vec![spec(AGENT, "u", "orders", 60)], at(0)).unwrap()[0].grant.id;
    let unlimited = Command::ReserveUses { proxy: "edge".parse().unwrap(), grant: other, want: 1 };
    assert_eq!(machine.run(&as_(EDGE), &unlimited, at(1)).unwrap(), Outcome::Reserved { uses: 0 });
    assert_eq!(reserve(&mut machine, 1, at(60)), 0, "over");
}

#[test]
fn the_longest_lease_only_grows() {
    let mut machine = Machine::default();
    for (seconds, longest, events) in [(15, 15, 1), (10, 15, 1), (20, 20, 2)] {
        let raise = Command::RaiseLease { lease: Duration::from_secs(seconds) };
        machine.run(&Actor::System, &raise, at(0)).unwrap();
        assert_eq!(machine.state.longest_lease(), Duration::from_secs(longest));
        assert_eq!(machine.log.len(), events);
    }
}

#[test]
fn a_log_that_contradicts_itself_is_refused() {
    let mut machine = Machine::default();
    machine.grant(vec![spec(AGENT, "t", "orders", 60)], at(100)).unwrap();
    let issued = machine.log[0].clone();
    let mut state = State::default();
    assert!(matches!(state.apply(Revision(2), &issued), Err(ApplyError::Gap { .. })));
    state.apply(Revision(1), &issued).unwrap();
    assert!(matches!(state.apply(Revision(1), &issued), Err(ApplyError::Gap { .. })));
    assert!(matches!(state.apply(Revision(2), &issued), Err(ApplyError::Grant { .. })));
    let body = EventBody::LeaseRaised { lease_ms: 1 };
    let early = Event { time: at(99), actor: Actor::System, body };
    assert!(matches!(state.apply(Revision(2), &early), Err(ApplyError::TimeRunsBack { .. })));
    assert_eq!(state.revision(), Revision(1));
}

#[test]
fn what_ended_is_remembered_for_a_day() {
    let mut machine = Machine::default();
    let grant = machine.grant(vec![spec(AGENT, "t", "orders", 60)], at(0)).unwrap()[0].grant.id;
    assert!(
        matches!(machine.run(&Actor::System, &Command::Expire, at(60)), Ok(Outcome::Ended(ended)) if ended == [grant])
    );
    assert_eq!(machine.state.find(grant).unwrap().end(at(61)), Some(EndCause::Expired));
    machine.revoke(Selector::All(Everything), at(60 + 86_401));
    assert!(machine.state.find(grant).is_none());
    assert_eq!(machine.state.grants(Among::Principal(&id(AGENT)), None).count(), 0);
}

#[derive(Debug, Clone)]
enum Action {
    Grant(u8, u8, u8, u16),
    RevokeTask(u8),
    RevokePrincipal(u8),
    RevokeService(u8),
    RevokeOne(u8),
    RevokeAll,
    Expire,
    Pass(u16),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0..3_u8, 0..3_u8, 0..3_u8, 1..300_u16).prop_map(|(p, t, s, ttl)| Action::Grant(p, t, s, ttl)),
        1 => (0..3_u8).prop_map(Action::RevokeTask),
        1 => (0..3_u8).prop_map(Action::RevokePrincipal),
        1 => (0..3_u8).prop_map(Action::RevokeService),
        2 => any::<u8>().prop_map(Action::RevokeOne),
        1 => Just(Action::RevokeAll),
        2 => Just(Action::Expire),
        3 => (0..200_u16).prop_map(Action::Pass),
    ]
}

/// A grant in the model: a row that is looked at from one end of the table to the other.
struct Row {
    id: GrantId,
    key: (u8, u8, u8),
    expires: i64,
    ended: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(actions in proptest::collection::vec(action(), 1..60)) {
        let mut machine = Machine::default();
        let (mut rows, mut now) = (Vec::<Row>::new(), 0_i64);
        let services = ["a", "b", "c"];
        for action in actions {
            let matches: Box<dyn Fn(&Row) -> bool>;
            let selector = match action {
                Action::Grant(p, t, s, ttl) => {
                    let spec = spec(&format!("spiffe://d/agent/{p}"), &format!("t{t}"), services[usize::from(s)], ttl.into());
                    let issued = machine.grant(vec![spec], at(now)).unwrap().remove(0);
                    let known = rows.iter().find(|row| row.key == (p, t, s) && !row.ended && now < row.expires);
                    prop_assert_eq!(issued.existing, known.is_some());
                    match known {
                        Some(row) => prop_assert_eq!(issued.grant.id, row.id),
                        None => rows.push(Row { id: issued.grant.id, key: (p, t, s), expires: now + i64::from(ttl), ended: false }),
                    }
                    continue;
                }
                Action::Pass(seconds) => { now += i64::from(seconds); continue; }
                Action::Expire => {
                    machine.run(&Actor::System, &Command::Expire, at(now)).unwrap();
                    rows.iter_mut().filter(|row| row.expires <= now).for_each(|row| row.ended = true);
                    continue;
                }
                Action::RevokeOne(n) => {
                    if rows.is_empty() { continue; }
                    let id = rows[usize::from(n) % rows.len()].id;
                    matches = Box::new(move |row| row.id == id);
                    Selector::Grant(id)
                }
                Action::RevokeTask(t) => {
                    matches = Box::new(move |row| row.key.1 == t);
                    Selector::Task(format!("t{t}").parse().unwrap())
                }
                Action::RevokePrincipal(p) => {
                    matches = Box::new(move |row| row.key.0 == p);
                    Selector::Principal(id(&format!("spiffe://d/agent/{p}")))
                }
                Action::RevokeService(s) => {
                    matches = Box::new(move |row| row.key.2 == s);
                    Selector::Service(services[usize::from(s)].parse().unwrap())
                }
                Action::RevokeAll => { matches = Box::new(|_| true); Selector::All(Everything) }
            };
            let (revocation, _) = machine.revoke(selector, at(now));
            let hit = |row: &Row| matches(row) && !row.ended && now < row.expires;
            let expected: BTreeSet<GrantId> = rows.iter().filter(|row| hit(row)).map(|row| row.id).collect();
            let revoked = machine.state.revocation(revocation).unwrap().grants.iter().copied().collect();
            prop_assert_eq!(expected, revoked);
            for row in &mut rows { if hit(row) { row.ended = true; } }
            let live: BTreeSet<GrantId> = machine.state.live().map(|live| live.grant.id).collect();
            prop_assert_eq!(rows.iter().filter(|row| !row.ended).map(|row| row.id).collect::<BTreeSet<_>>(), live);
        }
        // Each list has exactly what it is to have, from anywhere on, and no more is looked at.
        for n in 0..3_u8 {
            let (p, t) = (id(&format!("spiffe://d/agent/{n}")), format!("t{n}").parse().unwrap());
            let s = services[usize::from(n)].parse().unwrap();
            type Wanted<'a> = &'a dyn Fn(&Row) -> bool;
            let lists: [(Among<'_>, Wanted<'_>); 5] = [
                (Among::All, &|_| true),
                (Among::Principal(&p), &|row| row.key.0 == n),
                (Among::LiveOfPrincipal(&p), &|row| row.key.0 == n && !row.ended),
                (Among::LiveOfTask(&t), &|row| row.key.1 == n && !row.ended),
                (Among::LiveOfService(&s), &|row| row.key.2 == n && !row.ended),
            ];
            for (among, wanted) in lists {
                let listed = |after| -> Vec<GrantId> {
                    machine.state.grants(among, after).map(|found| found.grant().id).collect()
                };
                let all: Vec<GrantId> = rows.iter().filter(|row| wanted(row)).map(|row| row.id).collect();
                prop_assert_eq!(listed(None), all.clone());
                if let Some(middle) = all.get(all.len() / 2) {
                    prop_assert_eq!(listed(Some(*middle)), all[all.len() / 2 + 1..].to_vec());
                }
            }
        }
        // The log alone says the same.
        let mut replayed = State::default();
        for event in &machine.log {
            let json = serde_json::to_string(event).unwrap();
            replayed.apply(replayed.revision().next(), &serde_json::from_str(&json).unwrap()).unwrap();
        }
        prop_assert_eq!(replayed.digest(), machine.state.digest());
        let ids = |state: &State| state.live().map(|live| live.grant.clone()).collect::<Vec<_>>();
        prop_assert_eq!(ids(&replayed), ids(&machine.state));
        prop_assert_eq!(replayed.select(&Selector::All(Everything), at(now)), machine.state.select(&Selector::All(Everything), at(now)));
    }
}

#[test]
fn the_state_of_an_audit_trail_is_logged_at_the_change_and_not_too_often() {
    let mut machine = Machine::default();
    machine.join(EDGE, "edge").unwrap();
    let mut report = |actor: &str, name: &str, health, second| {
        let command = Command::ReportAudit { proxy: name.parse().unwrap(), health };
        let before = machine.state.revision();
        machine.run(&as_(actor), &command, at(second)).map(|_| machine.state.revision().0 - before.0)
    };
    use AuditHealth::{Good, LowSpace, Unwritable};
    for (health, second, events) in [
        (Good, 1, 0),
        (Unwritable, 2, 1),
        (Unwritable, 3, 0),
        // A trail that comes and goes must not fill the log.
        (Good, 6, 0),
        (Good, 7, 1),
        (LowSpace, 11, 0),
        (LowSpace, 12, 1),
        (Good, 40, 1),
    ] {
        assert_eq!(report(EDGE, "edge", health, second), Ok(events), "{health:?} at {second}");
    }
    for (actor, name) in [(OTHER_EDGE, "edge"), (EDGE, "other"), (ADMIN, "edge")] {
        assert!(report(actor, name, Unwritable, 60).is_err(), "{actor} {name}");
    }
    let (_, last) = machine.state.proxies().values().next().unwrap().audit.unwrap();
    assert_eq!(last, at(40));
}

#[test]
fn what_a_witness_disputes_is_logged_once_and_stays() {
    let mut machine = Machine::default();
    machine.join(EDGE, "edge").unwrap();
    let edge = || "edge".parse::<ProxyName>().unwrap();
    let mut run = |actor: &str, command: Command, second| {
        let before = machine.state.revision();
        let events =
            machine.run(&as_(actor), &command, at(second)).map(|_| machine.state.revision().0 - before.0);
        (events, machine.state.proxies().values().next().unwrap().witness_disputed)
    };
    let dispute = || Command::ReportDispute { proxy: edge() };
    assert_eq!(run(EDGE, dispute(), 1), (Ok(1), Some(at(1))));
    assert_eq!(run(EDGE, dispute(), 60), (Ok(0), Some(at(1))));
    // That the trail is well says nothing of what a witness has signed for.
    for (health, second) in [(AuditHealth::Unwritable, 61), (AuditHealth::Good, 70)] {
        let command = Command::ReportAudit { proxy: edge(), health };
        assert_eq!(run(EDGE, command, second), (Ok(1), Some(at(1))));
    }
    let keep = |key: &str, size| {
        let root = crate::tlog::Hash::leaf(b"x").to_string();
        let head = TrailHead { key: key.to_owned(), size, root, note: String::new() };
        Command::KeepCheckpoint { proxy: edge(), head, since: 0, proof: Vec::new().into() }
    };
    assert_eq!(run(EDGE, keep("k", 5), 80).0, Ok(1));
    assert_eq!(run(EDGE, keep("k", 4), 81).0, Ok(1), "rolled back");
    assert_eq!(run(EDGE, dispute(), 82), (Ok(1), Some(at(82))), "it has contradicted itself since");
    assert_eq!(run(EDGE, keep("another", 1), 483).0, Ok(1), "begun anew");
    assert_eq!(run(EDGE, keep("another", 0), 884).0, Ok(1), "and rolled back");
    assert_eq!(run(EDGE, dispute(), 885), (Ok(1), Some(at(885))));
    assert_eq!(run(EDGE, dispute(), 886), (Ok(0), Some(at(885))));
    assert!(run(OTHER_EDGE, dispute(), 887).0.is_err() && run(ADMIN, dispute(), 887).0.is_err());
}
