//! MCP requests: found by method, name and arguments; attendance; lists.

use super::*;
use crate::access::{attend, attend_recorded, decide_after, offers, shows};
use crate::model::grant::Lineage;
use crate::model::{McpCall, Recording, ServiceName};
use DenyReason::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Does something with a request of agent `a` at service `orders`.
fn with<T>(
    table: &Table,
    call: Option<&McpCall<'_>>,
    task: Option<&str>,
    ask: impl FnOnce(&crate::access::GrantSet, &Request<'_>) -> T,
) -> T {
    let headers: Vec<_> = task.map(|task| ("jitgate-task", task)).into_iter().collect();
    let parts = parts("POST", "/mcp", &headers);
    let view = View::of(&parts).unwrap();
    let set = table.slot(&agent("a"));
    let request = Request {
        service: "orders",
        view: &view,
        call,
        only: None,
        source: HERE,
        token: None,
        token_required: false,
        user: UserProof::NotDemanded,
    };
    ask(&set.load(), &request)
}

fn call<'a>(method: &'a str, name: &'a str, arguments: &'a Value) -> McpCall<'a> {
    // Left where it is: a test's arguments are few.
    let arguments = arguments.as_object().cloned().map(|members| &*Box::leak(Box::new(members.into())));
    McpCall { method, name: Some(name).filter(|name| !name.is_empty()), arguments }
}

fn may(table: &Table, method: &str, name: &str, arguments: &Value, now: Time) -> Result<GrantId, DenyReason> {
    let call = call(method, name, arguments);
    with(table, Some(&call), None, |set, request| outcome(decide(set, request, now)))
        .map_err(|denial| denial.reason)
}

fn attends(table: &Table, now: Time) -> Result<GrantId, DenyReason> {
    with(table, None, None, |set, request| match attend(set, request, now) {
        Verdict::Permit(permit) => {
            assert!(permit.is_attendance());
            Ok(permit.cell().id())
        }
        Verdict::Deny(denial) => Err(denial.reason),
    })
}

fn shown(table: &Table, method: &str, name: &str, now: Time) -> bool {
    with(table, Some(&call(method, name, &Value::Null)), None, |set, request| shows(set, request, now))
}

#[test]
fn a_call_needs_a_permission_of_type_mcp() {
    let table = table(vec![grant(1, "orders:*:/**"), grant(2, "orders:tools/call:restart{server=srv-7}")]);
    let exact = json!({"server": "srv-7"});
    assert_eq!(may(&table, "tools/call", "restart", &exact, at(150)), Ok(id(2)));
    for (method, name, arguments) in [
        ("tools/call", "restart", json!({"server": "srv-8"})),
        ("tools/call", "restart", json!({"server": "srv-7", "x": 1})),
        ("tools/call", "restart", Value::Null),
        ("tools/call", "stop", exact.clone()),
        ("tools/call", "", exact.clone()),
        ("prompts/get", "restart", exact.clone()),
        ("logging/setLevel", "", Value::Null),
        ("POST", "/mcp", Value::Null),
    ] {
        assert_eq!(
            may(&table, method, name, &arguments, at(150)),
            Err(OutOfScope),
            "{method} {name} {arguments}"
        );
    }
    assert_eq!(may(&table, "tools/call", "restart", &exact, at(200)), Err(Expired));
    // And without a call an `mcp` permission permits nothing.
    let only = super::table(vec![grant(2, "orders:tools/call:*{*}")]);
    assert_eq!(ask(&only, "POST /mcp", at(150)), Err(OutOfScope));
    assert_eq!(ask(&only, "GET /tools/call", at(150)), Err(OutOfScope));
}

#[test]
fn attendance_takes_any_live_grant_with_mcp_for_the_service() {
    assert_eq!(attends(&table(vec![]), at(150)), Err(NoGrant));
    assert_eq!(attends(&table(vec![grant(1, "orders:*:/**")]), at(150)), Err(NoGrant), "http is none");
    assert_eq!(attends(&table(vec![grant(1, "stock:tools/call:f{*}")]), at(150)), Err(NoGrant));
    let some = table(vec![grant(1, "orders:tools/call:f{}"), grant(2, "orders:tasks/get")]);
    assert_eq!(attends(&some, at(150)), Ok(id(1)));
    assert_eq!(attends(&some, at(99)), Err(NotYetValid));
    assert_eq!(attends(&some, at(200)), Err(Expired));
    let _ = some.apply(&delta(2, vec![ended(1, EndCause::Revoked)]), at(150)).unwrap();
    assert_eq!(attends(&some, at(150)), Ok(id(2)));
    let _ = some.apply(&delta(3, vec![ended(2, EndCause::Revoked)]), at(150)).unwrap();
    assert_eq!(attends(&some, at(150)), Err(Revoked));
    let of_task =
        |task| with(&some, None, Some(task), |set, request| outcome(attend(set, request, at(150))).is_err());
    assert!(of_task("T") && of_task("U"));
    // A scope that it was narrowed from has to have one as well.
    let narrowed = |parent: &str| {
        let within = vec![parent.parse().unwrap()];
        let lineage = Some(Arc::new(Lineage { within, ..Lineage::default() }));
        table(vec![Grant { lineage, ..grant(1, "orders:tools/call:f{}") }])
    };
    assert_eq!(attends(&narrowed("orders:tools/call:g{*}"), at(150)), Ok(id(1)));
    assert_eq!(attends(&narrowed("orders:*:/**"), at(150)), Err(NoGrant));
    let strict = Grant {
        conditions: crate::model::grant::Conditions::default().with_token_required(),
        ..grant(1, "orders:tools/call:f{}")
    };
    assert_eq!(attends(&table(vec![strict]), at(150)), Err(TokenRequired));
}

#[test]
fn where_less_is_recorded_than_a_grant_demands_another_is_attended() {
    let demands = |number, recording| Grant { recording, ..grant(number, "orders:tools/call:f{}") };
    let some = table(vec![
        demands(1, Recording::Full),
        demands(2, Recording::Arguments),
        demands(3, Recording::Metadata),
    ]);
    let attended = |table: &Table, most| {
        with(table, None, None, |set, request| outcome(attend_recorded(set, request, at(150), most)))
            .map_err(|denial| denial.reason)
    };
    for (most, first) in [(Recording::Full, 1), (Recording::Arguments, 2), (Recording::Metadata, 3)] {
        assert_eq!(attended(&some, most), Ok(id(first)), "{most:?}");
    }
    assert_eq!(attended(&table(vec![demands(1, Recording::Full)]), Recording::Arguments), Err(NoGrant));
}

#[test]
fn lists_show_what_is_permitted_for_some_arguments() {
    let within = vec!["orders:tools/call:restart,stop{*}".parse().unwrap()];
    let lineage = Some(Arc::new(Lineage { within, ..Lineage::default() }));
    let table = table(vec![
        Grant { lineage, ..grant(1, "orders:tools/call:restart,drop{server=srv-7}") },
        grant(2, "orders:resources/read:file:///docs/*"),
        Grant { not_before: at(160), ..grant(3, "orders:tools/call:later{*}") },
    ]);
    for (method, name, visible) in [
        ("tools/call", "restart", true),
        ("tools/call", "drop", false),
        ("tools/call", "stop", false),
        ("tools/call", "later", false),
        ("resources/read", "file:///docs/a", true),
        ("resources/read", "file:///docs/{name}", true),
        ("resources/read", "file:///{path}", false),
        ("prompts/get", "restart", false),
    ] {
        assert_eq!(shown(&table, method, name, at(150)), visible, "{method} {name}");
    }
    assert!(
        shown(&table, "tools/call", "later", at(170)) && !shown(&table, "tools/call", "restart", at(200))
    );
    assert!(
        !with(&table, None, None, |set, request| shows(set, request, at(150))),
        "no call, nothing to show"
    );
}

#[test]
fn lists_do_not_show_what_has_no_use_left() {
    let limits =
        crate::model::Limits { max_uses: std::num::NonZeroU64::new(3), ..crate::model::Limits::default() };
    let table = table(vec![
        Grant { limits, ..grant(1, "orders:tools/call:restart,stop{*}") },
        grant(2, "orders:tools/call:stop{*}"),
    ]);
    let none = Value::Null;
    let offered = |name: &str| {
        let call = call("tools/call", name, &none);
        with(&table, Some(&call), None, |set, request| offers(set, request, at(150)))
    };
    assert!(offered("restart") && offered("stop") && !offered("drop"));
    table.live(id(1)).unwrap().entry.add_uses(0);
    assert!(!offered("restart") && offered("stop"), "another grant has some");
    assert!(shown(&table, "tools/call", "restart", at(150)), "what was begun may go on");
}

#[test]
fn ceilings_are_about_mcp_as_well() {
    let mut ceilings = no_ceilings();
    ceilings.methods = Some(["GET".into(), "tools/call".into(), "resources/read".into()].into());
    ceilings.tools = Some(["status".into()].into());
    let table = Table::new(ceilings);
    let everything = r#"{"type":"mcp","locations":["orders"],"actions":["*"],"tools":["*"],"resources":["*"],"prompts":["*"],"arguments":true}"#;
    let _ = table.apply(&delta(1, vec![issued(grant(1, everything))]), at(0)).unwrap();
    let none = Value::Null;
    assert_eq!(may(&table, "tools/call", "status", &none, at(150)), Ok(id(1)));
    assert_eq!(may(&table, "tools/call", "restart", &none, at(150)), Err(Condition));
    assert_eq!(may(&table, "resources/read", "status:x", &none, at(150)), Ok(id(1)));
    assert_eq!(may(&table, "prompts/get", "status", &none, at(150)), Err(Condition));
    assert!(
        shown(&table, "tools/call", "status", at(150)) && !shown(&table, "tools/call", "restart", at(150))
    );
    assert_eq!(attends(&table, at(150)), Ok(id(1)), "what carries no privilege has no ceiling");
}

/// A thousand grants for one tool, each for its own arguments: one candidate. The others are not even compared.
#[test]
fn exact_arguments_are_found_by_their_hash() {
    let grants =
        (1..=1_000).map(|n| grant(n, &format!("orders:tools/call:restart{{server=srv-{n}}}"))).collect();
    let table = table(grants);
    for n in [1, 500, 1_000] {
        assert_eq!(
            may(&table, "tools/call", "restart", &json!({"server": format!("srv-{n}")}), at(150)),
            Ok(id(n))
        );
    }
    assert_eq!(may(&table, "tools/call", "restart", &json!({"server": "srv-0"}), at(150)), Err(OutOfScope));
    let numbers = super::table(vec![grant(1, r#"orders:tools/call:f{a=1,b={"x":[0,2.5],"y":null}}"#)]);
    let other_spelling = json!({"b": {"y": null, "x": [0.0, 2.5]}, "a": 1.0});
    assert_eq!(may(&numbers, "tools/call", "f", &other_spelling, at(150)), Ok(id(1)));
}

fn pick(values: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(values)
}

fn permission() -> impl Strategy<Value = String> {
    let service = pick(&["orders", "orders", "orders,stock", "stock"]);
    let json = |rest: &'static str| Just(format!(r#"{{"type":"mcp","locations":["orders"],{rest}}}"#));
    let text = (
        service,
        pick(&[
            "tools/call:f{*}",
            "tools/call:f,g{}",
            "tools/call:*{a=1}",
            "tools/call:f{a=1}",
            "tools/call:f{a=2}",
            "tools/call:*{*}",
            "prompts/get:f{*}",
            "prompts/get:f{a=1}",
            "resources/read:x:/a/*",
            "resources/read:x:/a,x:/a/**",
            "resources/read,resources/subscribe:*",
            "resources/subscribe:x:/*/b",
            "tasks/get",
            "tasks/get,logging/setLevel",
            "GET:/**",
            "/p.S/M",
        ]),
    )
        .prop_map(|(service, rest)| format!("{service}:{rest}"));
    prop_oneof![
        12 => text,
        1 => json(r#""actions":["*"],"tools":["f"],"resources":["x:/a/*"],"prompts":["*"],"arguments":true"#),
        1 => json(r#""actions":["*"],"tools":["*"],"resources":["*"],"prompts":["f"],"arguments":{"properties":{"a":{"const":1}},"additionalProperties":false,"type":"object","required":["a"]}"#),
        1 => json(r#""actions":["completion/complete"],"prompts":["f"],"resources":["x:/a/**"]"#),
        1 => json(r#""actions":["tools/call"],"tools":["f"],"arguments":{"properties":{"a":{"type":"integer"}}}"#),
        1 => json(r#""actions":["ping"]"#),
    ]
}

fn scope() -> impl Strategy<Value = crate::model::Scope> {
    prop::collection::btree_set(permission(), 1..4)
        .prop_map(|texts| crate::model::Scope::parse_all(&Vec::from_iter(texts)).unwrap())
}

prop_compose! {
    fn given_grant()(
        scope in scope(),
        within in prop::collection::vec(scope(), 0..2),
        until in prop::sample::select(vec![140, 200, 300]),
        token in prop::bool::weighted(0.2),
        end in prop::option::weighted(0.2, prop::sample::select(EndCause::ALL.to_vec())),
    ) -> (Grant, Option<EndCause>) {
        let lineage = (!within.is_empty()).then(|| Arc::new(Lineage { within, ..Lineage::default() }));
        let conditions = match token {
            true => crate::model::grant::Conditions::default().with_token_required(),
            false => Default::default(),
        };
        (Grant { scope, lineage, conditions, expires_at: at(until), ..grant(0, "orders:GET:/") }, end)
    }
}

fn any_call() -> impl Strategy<Value = (&'static str, &'static str, Value)> {
    let method = pick(&[
        "tools/call",
        "tools/call",
        "tools/call",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "completion/complete",
        "tasks/get",
        "ping",
        "GET",
    ]);
    let name = pick(&["f", "f", "g", "", "x:/a", "x:/a/b", "x:/a/b/c", "x:/a/..", "/p.S/M"]);
    let arguments = prop::sample::select(vec![
        Value::Null,
        json!({}),
        json!({"a": 1}),
        json!({"a": 1.0}),
        json!({"a": 2}),
        json!({"a": 1, "b": 1}),
        json!({"a": "1"}),
    ]);
    (method, name, arguments)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    /// The index against a look at every grant, for calls, lists and attendance.
    #[test]
    fn the_index_decides_calls_as_a_look_at_every_grant(
        given in prop::collection::vec(given_grant(), 0..10),
        calls in prop::collection::vec(any_call(), 1..8),
    ) {
        let mut given = given;
        for ((grant, _), number) in given.iter_mut().zip(1..) {
            grant.id = id(number);
        }
        let table = Table::new(no_ceilings());
        let all = given.iter().map(|(grant, _)| issued(grant.clone())).collect();
        let ends = given.iter().filter_map(|(grant, end)| Some(Change::Ended { grant: grant.id, cause: (*end)?, at: at(0) }));
        let _ = table.apply(&delta(1, all), at(0)).unwrap();
        let _ = table.apply(&delta(2, ends.collect()), at(0)).unwrap();
        let (now, service) = (at(150), "orders".parse::<ServiceName>().unwrap());
        let live = |grant: &Grant, end: &Option<EndCause>| {
            end.is_none() && grant.covers(now) && !grant.conditions.token_required()
        };
        let scopes = |grant: &Grant| -> Vec<crate::model::Scope> {
            std::iter::once(&grant.scope).chain(grant.within()).cloned().collect()
        };
        let by = |permits: &dyn Fn(&crate::model::Scope) -> bool| {
            let mut found: Vec<&Grant> = given.iter().filter(|(grant, end)| live(grant, end))
                .map(|(grant, _)| grant).filter(|grant| scopes(grant).iter().all(permits)).collect();
            found.sort_by_key(|grant| (std::cmp::Reverse(grant.expires_at), grant.id));
            found.iter().map(|grant| grant.id).collect::<Vec<_>>()
        };
        for (method, name, arguments) in &calls {
            let call = call(method, name, arguments);
            let expected = by(&|scope| scope.permits_mcp(&service, &call));
            let found = with(&table, Some(&call), None, |set, request| {
                let mut found = Vec::new();
                let mut verdict = decide(set, request, now);
                while let Verdict::Permit(permit) = verdict {
                    let cell = permit.into_cell();
                    found.push(cell.id());
                    verdict = decide_after(set, request, now, &cell);
                }
                found
            });
            prop_assert_eq!(&found, &expected, "{:?}", call);
            let some = by(&|scope| scope.permissions().iter().any(|permission| match permission {
                crate::model::Permission::Mcp(mcp) => permission.names(&service) && mcp.shows(method, call.name),
                crate::model::Permission::Http(_) | crate::model::Permission::Grpc(_) => false,
            }));
            prop_assert_eq!(shown(&table, method, name, now), !some.is_empty(), "{:?}", call);
        }
        let there = by(&|scope| scope.permissions().iter().any(|permission| {
            permission.names(&service) && matches!(permission, crate::model::Permission::Mcp(_))
        }));
        prop_assert_eq!(attends(&table, now).ok(), there.first().copied());
    }
}
