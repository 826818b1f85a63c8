//! Policy sets as a whole: what is refused at load, and what is decided.

use super::question::{History, PolicyAction, Question};
use super::*;
use crate::model::{
    AccessRequest, AccessRequestId, Attributes, Owner, PrincipalKind, PrincipalProfile, RequestKind, Risk,
    Scope, Sensitivity, ServiceName, ServiceProfile, Time,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;

/// What a question is made of; changed by each test as it needs.
pub(super) struct World {
    pub(super) action: PolicyAction,
    pub(super) request: AccessRequest,
    pub(super) principal: PrincipalProfile,
    services: BTreeMap<ServiceName, ServiceProfile>,
    history: History,
    now: Time,
}

pub(super) fn world(scope: &[&str]) -> World {
    let now: Time = "2026-11-25T10:00:00Z".parse().unwrap();
    let id: crate::model::SpiffeId = "spiffe://d/agent/support".parse().unwrap();
    let service = |environment: &str, sensitivity| ServiceProfile {
        owner: Owner::Group("payments".parse().unwrap()),
        sensitivity,
        environment: Some(environment.into()),
        labels: [("data".to_owned(), "customers".to_owned())].into(),
        tools: BTreeMap::new(),
        requestable: true,
    };
    World {
        action: PolicyAction::Request,
        request: AccessRequest {
            id: AccessRequestId::from_bits(7),
            requester: id.clone(),
            principal: id.clone(),
            task: "INC-1".parse().unwrap(),
            scope: Scope::parse_all(scope).unwrap(),
            role: None,
            ttl: "30m".parse().unwrap(),
            not_before: None,
            reason: "a customer asks".into(),
            ticket: Some("INC-1".into()),
            ticket_open: None,
            on_behalf_of: None,
            authenticated: None,
            emergency: false,
            plan: None,
            envelope: None,
            task_deadline: None,
            task_idle_timeout: None,
            kind: RequestKind::Access,
            source: Some("::ffff:10.1.2.3".parse().unwrap()),
            requested_at: now,
            expires_at: now.plus(std::time::Duration::from_secs(3600)),
        },
        principal: PrincipalProfile {
            id,
            kind: Some(PrincipalKind::Workload),
            person: None,
            attributes: Attributes {
                risk: Some(Risk::Low),
                compliant: Some(true),
                groups: ["support".parse().unwrap()].into(),
                labels: [("team".to_owned(), "support".to_owned())].into(),
            },
        },
        services: [
            ("orders".parse().unwrap(), service("production", Sensitivity::High)),
            ("stock".parse().unwrap(), service("staging", Sensitivity::Low)),
        ]
        .into(),
        history: History::default(),
        now,
    }
}

impl World {
    fn ask(&self, policies: &PolicySet) -> Evaluation {
        let evaluation = self.ask_once(policies);
        // Whatever is decided is decided again from what is logged, also after it was stored as text.
        let stored: serde_json::Value = serde_json::from_str(&evaluation.facts.to_string()).unwrap();
        assert_eq!(policies.replay(&stored), evaluation);
        evaluation
    }

    fn ask_once(&self, policies: &PolicySet) -> Evaluation {
        policies.evaluate(&self.question())
    }

    pub(super) fn question(&self) -> Question<'_> {
        Question {
            action: self.action,
            request: &self.request,
            requester: &self.principal,
            principal: &self.principal,
            services: &self.services,
            history: &self.history,
            now: self.now,
        }
    }
}

pub(super) fn file(name: &str, text: &str) -> PolicyFile {
    PolicyFile { path: name.into(), name: name.into(), text: text.into() }
}

fn load(text: &str) -> Result<PolicySet, Vec<Problem>> {
    PolicySet::of(&[file("a.cedar", text)], TimeZone::UTC)
}

fn policies(text: &str) -> PolicySet {
    load(text).unwrap_or_else(|problems| panic!("{}", PolicyErrors { problems }))
}

fn terms(evaluation: &Evaluation) -> &Terms {
    evaluation.outcome.terms().unwrap_or_else(|| panic!("denied: {:?}", evaluation.outcome))
}

/// Why it was denied.
fn because(evaluation: &Evaluation) -> String {
    match &evaluation.outcome {
        PolicyOutcome::Denied { because } => because.join("; "),
        PolicyOutcome::Permitted(terms) => panic!("permitted: {terms:?}"),
    }
}

const ALL: &str = r#"@id("all") permit(principal, action, resource);"#;

#[test]
fn the_built_in_rule_asks_for_one_operator_and_knows_every_service() {
    let mut world = world(&["orders:GET:/x"]);
    let evaluation = world.ask(&PolicySet::builtin());
    assert_eq!(terms(&evaluation).stages.len(), 1);
    assert_eq!(evaluation.policy, "builtin");
    world.request.scope = Scope::parse_all(&["orders:GET:/x", "elsewhere:GET:/x"]).unwrap();
    assert!(because(&world.ask(&PolicySet::builtin())).contains("`elsewhere`"));
    assert!(because(&world.ask(&policies(ALL))).contains("`elsewhere`"));
    world.action = PolicyAction::Grant;
    assert!(terms(&world.ask(&PolicySet::builtin())).stages.is_empty());
}

#[test]
fn every_mistake_is_found_at_once_with_its_line() {
    let text = r#"
@id("a")
permit(principal, action, resource) when { principal.rsik == Risk::"low" };
permit(principal, action, resource);
@id("b") @max_tll("5m")
permit(principal, action, resource);
@id("b")
permit(principal, action, resource);
@id("t")
permit(principal == ?principal, action, resource);
@id("c")
forbid(principal, action, resource) when { principal.risk == Risk::"hihg" };
@id("d")
forbid(principal, action, resource)
when { 1 == 2 };
@id("e")
permit(principal, action, resource) when { context.ticket.open };
@id("f") @because("x")
permit(principal, action, resource) when { resource.getTag("x") == "y" };
@id("g h")
permit(principal, action == Action::"read", resource);
@id("i")
permit(principal, action, resource) when { context.source.isInRange(ip("10.0.0.0/40")) };
"#;
    let wrong = load(text).unwrap_err();
    let shown: Vec<String> =
        wrong.iter().map(|p| format!("{} {}: {}", p.line.unwrap_or(0), p.key, p.message)).collect();
    for (start, says) in [
        ("3 a:", "rsik"),
        ("4 :", "@id"),
        ("5 b:", "@max_tll is not known"),
        ("7 b:", "already"),
        ("9 t:", "templates are not used"),
        ("12 c: entity `Risk", "hihg"),
        ("13 d:", "impossible"),
        ("17 e:", "ticket"),
        ("18 f:", "@because belongs on a `forbid`"),
        ("19 f:", "tag"),
        ("20 g h:", "is no id"),
        ("23 i:", "10.0.0.0/40"),
    ] {
        assert!(
            shown.iter().any(|p| p.starts_with(start) && p.contains(says)),
            "{start} {says} in {shown:#?}"
        );
    }
    assert_eq!(shown.len(), 13, "nothing is said twice: {shown:#?}");
    assert!(
        load("@id(\"a\") permit(principal, action, resource)").unwrap_err()[0].message.contains("not Cedar")
    );
    assert!(load("// nothing").is_err(), "no policy is not permission for everybody");
    let twice = [file("a.cedar", ALL), file("b.cedar", ALL)];
    assert!(PolicySet::of(&twice, TimeZone::UTC).unwrap_err()[0].message.contains("a.cedar:1"));
}

#[test]
fn nothing_in_a_folder_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let load = || PolicySet::load(folder.path(), "UTC").map(|set| set.hash().to_owned());
    let wrong = || load().unwrap_err().to_string();
    assert!(wrong().contains("has no policy"), "{}", wrong());
    fs::write(folder.path().join("a.cedar"), ALL).unwrap();
    let first = load().unwrap();
    assert!(first.starts_with("sha256:") && first.len() == 71);
    for ignored in ["README.md", "jitgate.cedarschema", ".hidden"] {
        fs::write(folder.path().join(ignored), "x").unwrap();
    }
    fs::create_dir(folder.path().join("tests")).unwrap();
    assert_eq!(load().unwrap(), first, "what is no policy does not count");
    fs::write(folder.path().join("a.cedar"), format!("{ALL} ")).unwrap();
    assert_ne!(load().unwrap(), first);
    fs::create_dir(folder.path().join("more")).unwrap();
    fs::write(folder.path().join("guard.ceder"), ALL).unwrap();
    assert!(wrong().contains("guard.ceder") && wrong().contains("more"), "{}", wrong());
    fs::remove_dir(folder.path().join("more")).unwrap();
    fs::remove_file(folder.path().join("guard.ceder")).unwrap();
    fs::write(folder.path().join("b.cedar"), "// ".repeat(400_000)).unwrap();
    assert!(wrong().contains("1048576 bytes"), "{}", wrong());
    fs::write(folder.path().join("b.cedar"), [0xff]).unwrap();
    assert!(wrong().contains("UTF-8"), "{}", wrong());
    assert!(PolicySet::load(&folder.path().join("none"), "UTC").is_err());
    for zone in ["Mars/Olympus", "europe/berlin", ""] {
        assert!(PolicySet::load(folder.path(), zone).unwrap_err().to_string().contains("IANA"), "{zone}");
    }
}

#[test]
fn a_forbid_beats_every_permit_and_says_why() {
    let set = policies(&format!(
        r#"{ALL}
        @id("deletes") @because("nobody deletes in production")
        forbid(principal, action, resource) when {{ context.method == "DELETE" && resource.environment == "production" }};
        @id("night") forbid(principal, action, resource) when {{ context.minute_of_day < 360 }};"#
    ));
    let evaluation = world(&["orders:DELETE:/x", "stock:GET:/x"]).ask(&set);
    assert_eq!(because(&evaluation), "nobody deletes in production");
    assert_eq!(evaluation.determining, ["deletes"]);
    assert!(
        because(&world(&["orders:*:/x"]).ask(&set)).contains("nobody deletes"),
        "a wildcard is DELETE too"
    );
    let own = policies(&format!(
        r#"{ALL} @id("own") forbid(principal, action, resource) when {{ context.method == "V2PURGE" }};"#
    ));
    assert_eq!(world(&["orders:*:/x"]).ask(&own).determining, ["own"], "and such a method too");
    assert_eq!(world(&["stock:DELETE:/x", "orders:GET:/x"]).ask(&set).determining, ["all"]);
    let mut early = world(&["stock:GET:/x"]);
    early.now = "2026-11-25T05:59:00Z".parse().unwrap();
    assert_eq!(because(&early.ask(&set)), "forbidden by the policy `night`");
    early.action = PolicyAction::Grant;
    assert_eq!(because(&early.ask(&set)), "forbidden by the policy `night`", "operators too");
}

#[test]
fn every_action_at_every_service_needs_a_permit_except_for_an_operators_grant() {
    let set = policies(
        r#"@id("read") permit(principal in Group::"support", action == Action::"request", resource)
        when { ["GET", "HEAD"].contains(context.method) };"#,
    );
    assert_eq!(world(&["orders,stock:GET,HEAD:/x"]).ask(&set).determining, ["read"]);
    let mut world = world(&["orders:GET,PUT:/x"]);
    assert_eq!(because(&world.ask(&set)), "no policy permits `PUT` at `orders`");
    world.action = PolicyAction::Grant;
    assert!(terms(&world.ask(&set)).stages.is_empty());
    world.action = PolicyAction::Extend;
    assert_eq!(
        because(&world.ask(&set)),
        "no policy permits `GET` at `orders`; no policy permits `PUT` at `orders`"
    );
    world.action = PolicyAction::Request;
    world.request.scope = Scope::parse_all(&["orders:GET:/x"]).unwrap();
    world.principal.attributes.groups.clear();
    assert!(because(&world.ask(&set)).contains("no policy permits"));
}

#[test]
fn a_fact_that_nobody_stated_is_an_error_and_denies_although_another_policy_permits() {
    let set = policies(&format!(
        r#"{ALL} @id("risky") forbid(principal, action, resource) when {{ principal.risk == Risk::"high" }};"#
    ));
    let mut world = world(&["orders:GET:/x"]);
    assert!(terms(&world.ask(&set)).stages.is_empty());
    world.principal.attributes.risk = None;
    let evaluation = world.ask(&set);
    assert!(because(&evaluation).contains("risk"), "{evaluation:?}");
    assert_eq!(evaluation.determining, ["risky"]);
    world.action = PolicyAction::Grant;
    assert!(because(&world.ask(&set)).contains("risk"), "errors deny an operator's grant too");
    // An error in a permit that would only have added to another.
    let set = policies(&format!(
        r#"{ALL} @id("odd") permit(principal, action, resource) when {{ context.ttl_minutes * 9223372036854775807 > 0 }};"#
    ));
    world.action = PolicyAction::Request;
    assert!(because(&world.ask(&set)).contains("overflow"));
}

#[test]
fn of_several_permits_the_strictest_of_everything_holds() {
    let set = policies(
        r#"@id("a") @approvers("1 of owner") @max_ttl("1h") @recording("full") @step_up("acr=x,y amr=hwk max_age=10m") @max_uses("9") @argument_bytes("4096") @response_bytes("10")
        permit(principal, action, resource);
        @id("b") @approvers("2 of group:security then 2 of owner") @max_ttl("2h") @step_up("acr=y,z amr=pin max_age=5m") @pin_source @max_risk("low") @response_bytes("9")
        permit(principal, action, resource) when { resource.sensitivity == Sensitivity::"high" };
        @id("c") @max_risk("medium") permit(principal, action, resource is Service);"#,
    );
    let evaluation = world(&["stock:GET:/x", "orders:GET:/x"]).ask(&set);
    assert_eq!(evaluation.determining, ["a", "b", "c"]);
    let json = serde_json::to_value(terms(&evaluation)).unwrap();
    let expected = serde_json::json!({
        "stages": [{"approvals": 2, "from": [{"group": "security"}]}, {"approvals": 2, "from": ["owner"]}],
        "max_ttl": "1h", "recording": "full", "max_uses": 9, "argument_bytes": 4096, "response_bytes": 9, "pin_source": true, "max_risk": "low",
        "requester_step_up": {"acr": ["y"], "amr": ["hwk", "pin"], "max_age": 300}
    });
    assert_eq!(json, expected);
    assert_eq!(world(&["stock:GET:/x"]).ask(&set).determining, ["a", "c"]);
    let exclusive = policies(
        r#"@id("a") @step_up("acr=x") permit(principal, action, resource);
        @id("b") @step_up("acr=y") permit(principal, action, resource);"#,
    );
    assert!(because(&world(&["stock:GET:/x"]).ask(&exclusive)).contains("exclude each other"));
}

#[test]
fn facts_of_every_kind_can_be_asked_about() {
    let set = policies(
        r#"@id("p") permit(principal, action, resource) when {
          principal.path like "agent/*" && principal.trust_domain == "d" && principal.kind == Kind::"workload"
          && principal.compliant && principal.hasTag("team") && principal.getTag("team") == "support"
          && context.requester == principal && context.protocol == Protocol::"http" && context.task == "INC-1"
          && ["/v1/orders/*"].containsAll(context.paths)
          && context.path_prefix like "/v1/orders/*" && context.services == 1 && context.permissions == 1
          && context.reason_length == 15 && context.ttl_minutes <= 30 && context.starts_in_minutes == 0
          && context has ticket && context.ticket.name == "INC-1" && !context.ticket.open
          && context.source.isInRange(ip("10.1.0.0/16")) && context.weekday == Weekday::"wed"
          && context.minute_of_day == 600 && context.history.first_time_for_service
          && !context.history.usual_hour && resource.owner == "group:payments"
          && resource.hasTag("data") && resource.getTag("data") == "customers"
          && !(context has on_behalf_of) && !context.emergency && context.plan_steps == 0 };"#,
    );
    let mut world = world(&["orders:GET:/v1/orders/*"]);
    assert!(terms(&world.ask(&set)).stages.is_empty());
    world.request.scope = Scope::parse_all(&["orders:GET:/v1/orders/*", "orders:GET:/v1/**"]).unwrap();
    assert!(because(&world.ask(&set)).contains("no policy permits"));
    world.request.scope = Scope::parse_all(&["orders:GET:/v1/orders/*"]).unwrap();
    world.history.services.insert("orders".parse().unwrap());
    assert!(because(&world.ask(&set)).contains("no policy permits"));
    world.history.services.clear();
    world.request.source = None;
    assert!(because(&world.ask(&set)).contains("source"), "an unknown address is no address");
}

#[test]
fn hours_are_those_of_the_zone_also_when_clocks_change() {
    let text = r#"@id("hours") permit(principal, action, resource)
        when { context.minute_of_day >= 540 && context.minute_of_day < 1020 && context.weekday != Weekday::"sun" };"#;
    let berlin = PolicySet::of(&[file("a.cedar", text)], TimeZone::get("Europe/Berlin").unwrap()).unwrap();
    let mut world = world(&["stock:GET:/x"]);
    for (time, utc, in_berlin) in [
        ("2026-11-25T08:00:00Z", false, true),
        ("2026-11-25T16:30:00Z", true, false),
        // Summer: two hours ahead.
        ("2026-07-01T07:00:00Z", false, true),
        ("2026-07-01T15:00:00Z", true, false),
        // Saturday there, Sunday here.
        ("2026-10-24T22:30:00Z", false, false),
    ] {
        world.now = time.parse().unwrap();
        assert_eq!(world.ask(&policies(text)).outcome.terms().is_some(), utc, "{time} UTC");
        assert_eq!(world.ask(&berlin).outcome.terms().is_some(), in_berlin, "{time} Berlin");
    }
    world.now = Time::MAX;
    assert!(because(&world.ask_once(&berlin)).contains("cannot be recorded"));
}

#[test]
fn what_begins_later_is_judged_by_the_clock_of_its_start() {
    let set = policies(&format!(
        r#"{ALL} @id("hours") forbid(principal, action, resource)
        unless {{ context.minute_of_day >= 480 && context.minute_of_day < 1080 && context.weekday == Weekday::"wed" }};
        @id("usual") permit(principal, action, resource) when {{ context.history.usual_hour }};"#
    ));
    let mut world = world(&["stock:GET:/x"]);
    world.history.usual_hours = [10].into();
    for (start, allowed) in [
        ("2026-11-25T10:00:00Z", true),
        ("2026-11-25T17:59:00Z", true),
        ("2026-11-25T18:00:00Z", false),
        ("2026-11-26T10:00:00Z", false),
        // By then it is over: it begins now.
        ("2026-11-24T23:00:00Z", true),
    ] {
        world.request.not_before = Some(start.parse().unwrap());
        for action in [PolicyAction::Request, PolicyAction::Grant] {
            world.action = action;
            let evaluation = world.ask(&set);
            assert_eq!(evaluation.outcome.terms().is_some(), allowed, "{start} {action:?}");
        }
        world.action = PolicyAction::Request;
        // Habits are about asking.
        let expected = if allowed { &["all", "usual"][..] } else { &["hours"] };
        assert_eq!(world.ask(&set).determining, expected, "{start}");
    }
    // Asked at night for the day.
    world.now = "2026-11-25T03:00:00Z".parse().unwrap();
    world.request.not_before = Some("2026-11-25T10:00:00Z".parse().unwrap());
    assert_eq!(world.ask(&set).determining, ["all"]);
}

#[test]
fn facts_that_cannot_be_read_deny() {
    let set = policies(ALL);
    let good = world(&["orders:GET:/x"]).ask(&set).facts;
    let mut more = good.clone();
    more["vip"] = true.into();
    let mut less = good;
    less.as_object_mut().unwrap().remove("time");
    for facts in [more, less, serde_json::json!({}), serde_json::Value::Null] {
        assert!(because(&set.replay(&facts)).contains("cannot be read"));
        assert!(because(&PolicySet::builtin().replay(&facts)).contains("cannot be read"));
    }
}

#[test]
fn ten_thousand_permissions_are_few_questions_and_a_flood_of_reasons_is_cut() {
    let paths: Vec<String> = (0..10_000).map(|n| format!("orders:GET,HEAD:/v1/orders/{n}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let set = policies(
        r#"@id("p") permit(principal, action, resource) when { context.permissions == 10000 && !context.paths.contains("/") };"#,
    );
    assert_eq!(world(&paths).ask(&set).determining, ["p"]);
    let methods: Vec<String> = (0..300).map(|n| format!("orders:M{n}:/x")).collect();
    let methods: Vec<&str> = methods.iter().map(String::as_str).collect();
    let denied = world(&methods).ask(&set);
    assert!(because(&denied).ends_with("and 284 more reasons") && because(&denied).len() < 1_000);
    let services: Vec<String> = (0..2_000).map(|n| format!("orders:M{n}:/x")).collect();
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    assert!(because(&world(&services).ask(&policies(ALL))).contains("ask for less"));
}

/// A permit that matches the world of these tests, with some terms.
fn permit() -> impl Strategy<Value = String> {
    let approvers = prop::sample::select(vec![
        "",
        "@approvers(\"1 of owner\")",
        "@approvers(\"2 of owner then 1 of peers\")",
        "@approvers(\"3 of peers\")",
    ]);
    let lengths = prop::sample::select(vec![
        "",
        "@max_ttl(\"5m\")",
        "@max_ttl(\"1h\") @max_total(\"2h\")",
        "@idle_timeout(\"1m\")",
    ]);
    let more = prop::sample::select(vec![
        "",
        "@recording(\"full\") @review",
        "@max_uses(\"3\") @argument_bytes(\"9\")",
        "@argument_bytes(\"7\") @response_bytes(\"8\")",
        "@pin_source @max_risk(\"low\")",
        "@step_up(\"acr=a,b max_age=5m\")",
        "@step_up(\"acr=b,c amr=hwk\")",
        "@max_risk(\"medium\") @max_uses(\"2\")",
    ]);
    (approvers, lengths, more)
        .prop_map(|(a, b, c)| format!("{a} {b} {c} permit(principal, action, resource);"))
}

/// Whether nothing in `new` is looser than in `old`.
fn at_least_as_strict(new: &Terms, old: &Terms) -> bool {
    fn bound<T: Ord>(new: Option<T>, old: Option<T>) -> bool {
        old.is_none_or(|old| new.is_some_and(|new| new <= old))
    }
    let stages = old
        .stages
        .iter()
        .all(|old| new.stages.iter().any(|new| new.from == old.from && new.approvals >= old.approvals));
    let step_up = match (&new.requester_step_up, &old.requester_step_up) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(new), Some(old)) => {
            (old.acr.is_empty() || (!new.acr.is_empty() && new.acr.is_subset(&old.acr)))
                && new.amr.is_superset(&old.amr)
                && bound(new.max_age, old.max_age)
        }
    };
    stages
        && step_up
        && bound(new.max_ttl, old.max_ttl)
        && bound(new.max_total, old.max_total)
        && bound(new.idle_timeout, old.idle_timeout)
        && bound(new.max_uses, old.max_uses)
        && bound(new.argument_bytes, old.argument_bytes)
        && bound(new.response_bytes, old.response_bytes)
        && bound(new.max_risk, old.max_risk)
        && new.recording >= old.recording
        && new.pin_source >= old.pin_source
        && new.review >= old.review
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Once something permits, one more permit makes terms stricter or leaves them, wherever it stands.
    #[test]
    fn another_permit_never_loosens_anything(
        permits in prop::collection::vec(permit(), 1..5), more in permit(), first in any::<bool>(),
    ) {
        let numbered = |permits: &[String]| -> String {
            permits.iter().enumerate().map(|(n, permit)| format!("@id(\"p{n}\") {permit}\n")).collect()
        };
        let before = policies(&numbered(&permits));
        let mut all = permits;
        all.insert(if first { 0 } else { all.len() }, more);
        let after = policies(&numbered(&all));
        let world = world(&["orders:GET:/x"]);
        if let Some(new) = world.ask(&after).outcome.terms() {
            let evaluation = world.ask(&before);
            prop_assert!(at_least_as_strict(new, terms(&evaluation)), "{new:?} {evaluation:?}");
        }
    }

    /// What is logged decides the same, whatever the facts are.
    #[test]
    fn what_is_logged_decides_the_same(
        methods in prop::collection::btree_set(prop::sample::select(vec!["GET", "PUT", "DELETE", "PURGE"]), 1..4),
        service in prop::sample::select(vec!["orders", "stock", "orders,stock", "orders,elsewhere"]),
        risk in prop::option::of(prop::sample::select(vec![Risk::Low, Risk::High])),
        micros in 0_i64..4_000_000_000_000_000, ttl in 1_u64..1_000_000, emergency in any::<bool>(),
        reason in "\\PC{0,20}", action in 0_usize..4,
    ) {
        let set = policies(r#"
            @id("p") permit(principal, action, resource) when { context.method != "PUT" || context.emergency };
            @id("risk") forbid(principal, action, resource) when { resource.environment == "production" && principal.risk == Risk::"high" };
            @id("time") @approvers("1 of owner") permit(principal, action, resource) when { context.minute_of_day > 700 };
            @id("long") forbid(principal, action, resource) when { context.ttl_minutes > 600 };"#);
        let methods: Vec<_> = methods.into_iter().collect();
        let mut world = world(&[&format!("{service}:{}:/x", methods.join(","))]);
        world.principal.attributes.risk = risk;
        world.now = Time::from_micros(micros);
        world.request.ttl = crate::model::Ttl::new(std::time::Duration::from_millis(ttl * 100)).unwrap();
        world.request.emergency = emergency;
        world.request.reason = reason;
        world.action = [PolicyAction::Request, PolicyAction::Extend, PolicyAction::Delegate, PolicyAction::Grant][action];
        // Asserts it.
        world.ask(&set);
        world.ask(&PolicySet::builtin());
    }
}

#[test]
fn the_policies_that_are_shipped_load() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies");
    let set = PolicySet::load(&folder, "UTC").unwrap_or_else(|errors| panic!("{errors}"));
    assert!(set.ids().len() > 10, "{:?}", set.ids());
}
