//! One sentence of the decision at a time.

use super::*;
use crate::access::{Lease, decide_after};
use crate::model::grant::{Conditions, Limits, Lineage};
use DenyReason::*;
use std::num::NonZeroU64;

#[test]
fn nobody_gets_in_without_a_grant() {
    let table = table(vec![]);
    assert_eq!(ask(&table, "GET /", at(150)), Err(NoGrant));
}

#[test]
fn a_grant_permits_what_it_says_and_nothing_else() {
    let table = table(vec![grant(1, "orders:GET,HEAD:/v1/orders/*")]);
    assert_eq!(ask(&table, "GET /v1/orders/7", at(150)), Ok(id(1)));
    assert_eq!(ask(&table, "HEAD /v1/orders/7?x=1", at(150)), Ok(id(1)));
    for other in [
        "POST /v1/orders/7",
        "get /v1/orders/7",
        "GET /v1/orders",
        "GET /v1/orders/",
        "GET /v1/orders/7/",
        "GET /v1/orders/7/x",
        "GET /V1/orders/7",
        "GET /",
        "BREW /v1/orders/7",
    ] {
        assert_eq!(ask(&table, other, at(150)), Err(OutOfScope), "{other}");
    }
}

#[test]
fn the_window_is_half_open() {
    let table = table(vec![grant(1, "orders:GET:/**")]);
    assert_eq!(ask(&table, "GET /", Time::from_micros(99_999_999)), Err(NotYetValid));
    assert_eq!(ask(&table, "GET /", at(100)), Ok(id(1)));
    assert_eq!(ask(&table, "GET /", Time::from_micros(199_999_999)), Ok(id(1)));
    assert_eq!(ask(&table, "GET /", at(200)), Err(Expired), "without any timer having run");
}

#[test]
fn strangers_learn_nothing() {
    let stocks = table(vec![grant(1, "stock:*:/**")]);
    assert_eq!(ask(&stocks, "GET /", at(150)), Err(NoGrant), "a grant for another service is none");
    let others = table(vec![Grant { principal: agent("b"), ..grant(1, "orders:*:/**") }]);
    assert_eq!(ask(&others, "GET /", at(150)), Err(NoGrant), "another's grant is none");
    let _ = others.apply(&delta(2, vec![ended(1, EndCause::Revoked)]), at(150)).unwrap();
    assert_eq!(ask(&others, "GET /", at(150)), Err(NoGrant), "nor is another's end");
}

#[test]
fn ended_grants_say_why() {
    for (cause, reason) in [
        (EndCause::Expired, Expired),
        (EndCause::Idle, Expired),
        (EndCause::Revoked, Revoked),
        (EndCause::TaskDone, Revoked),
        (EndCause::TaskFailed, Revoked),
        (EndCause::Superseded, Revoked),
        (EndCause::Limit, Limit),
    ] {
        let table = table(vec![grant(1, "orders:GET:/a")]);
        let cut = table.apply(&delta(2, vec![ended(1, cause)]), at(150)).unwrap();
        assert_eq!(cut.len(), 1);
        assert_eq!(ask(&table, "GET /a", at(150)), Err(reason), "{cause:?}");
        assert_eq!(ask(&table, "GET /b", at(150)), Err(OutOfScope), "{cause:?}");
    }
}

#[test]
fn the_best_reason_is_reported() {
    let mut pending = grant(2, "orders:GET:/a");
    pending.not_before = at(180);
    let table = table(vec![grant(1, "orders:GET:/a"), pending]);
    let _ = table.apply(&delta(2, vec![ended(1, EndCause::Revoked)]), at(150)).unwrap();
    assert_eq!(ask(&table, "GET /a", at(150)), Err(NotYetValid));
    assert_eq!(ask(&table, "GET /a", at(180)), Ok(id(2)));
    let parts = parts("GET", "/a", &[]);
    let view = View::of(&parts).unwrap();
    let request = Request {
        service: "orders",
        view: &view,
        call: None,
        only: None,
        source: HERE,
        token: None,
        token_required: false,
        user: UserProof::NotDemanded,
    };
    let denial = outcome(decide(&table.slot(&agent("a")).load(), &request, at(150))).unwrap_err();
    assert_eq!(denial.nearest, Some(id(2)));
}

#[test]
fn the_task_header_narrows_to_that_task() {
    let other = Grant { task: "U".parse().unwrap(), ..grant(2, "orders:GET:/b") };
    let table = table(vec![grant(1, "orders:GET:/a"), other]);
    let ask = |path: &str, task: &str| ask_with(&table, path, &[("jitgate-task", task)], at(150));
    assert_eq!(ask("GET /a", "T"), Ok(id(1)));
    assert_eq!(ask("GET /b", "U"), Ok(id(2)));
    assert_eq!(ask("GET /a", "U"), Err(OutOfScope));
    for unknown in ["V", "t", "", "T U", "*"] {
        assert_eq!(ask("GET /a", unknown), Err(NoGrant), "{unknown:?}");
    }
}

#[test]
fn forms_are_apart() {
    let table = table(vec![
        grant(1, "orders:POST:/p.S/M"),
        grant(2, "orders:/p.S/N"),
        grant(3, "orders:/q.S/*"),
        grant(4, "orders:UPGRADE:/ws"),
    ]);
    let grpc = [("content-type", "application/grpc")];
    assert_eq!(ask(&table, "POST /p.S/M", at(150)), Ok(id(1)));
    assert_eq!(ask_with(&table, "POST /p.S/M", &grpc, at(150)), Err(OutOfScope));
    assert_eq!(ask_with(&table, "POST /p.S/N", &grpc, at(150)), Ok(id(2)));
    assert_eq!(ask(&table, "POST /p.S/N", at(150)), Err(OutOfScope));
    assert_eq!(ask_with(&table, "POST /q.S/Any", &grpc, at(150)), Ok(id(3)));
    for no_method in ["POST /q.S/*", "POST /q.S/", "POST /q.S/a/b", "POST /q.S/1", "POST /q.S"] {
        assert_eq!(ask_with(&table, no_method, &grpc, at(150)), Err(OutOfScope), "{no_method}");
    }
    let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
    assert_eq!(ask_with(&table, "GET /ws", &upgrade, at(150)), Ok(id(4)));
    assert_eq!(ask(&table, "GET /ws", at(150)), Err(OutOfScope));
}

#[test]
fn any_grpc_method_is_still_a_method() {
    let table = table(vec![grant(1, "orders:*")]);
    let grpc = [("content-type", "application/grpc+proto")];
    assert_eq!(ask_with(&table, "POST /p.S/M", &grpc, at(150)), Ok(id(1)));
    for other in ["POST /", "POST /a", "POST /a/b/c", "POST /p.S/-"] {
        assert_eq!(ask_with(&table, other, &grpc, at(150)), Err(OutOfScope), "{other}");
    }
    assert_eq!(ask(&table, "POST /p.S/M", at(150)), Err(OutOfScope));
}

fn narrowed(number: u64, scope: &str, within: &[&str]) -> Grant {
    let within = within.iter().map(|scope| scope.parse().unwrap()).collect();
    let lineage = Some(Arc::new(Lineage { within, ..Lineage::default() }));
    Grant { lineage, ..grant(number, scope) }
}

#[test]
fn each_scope_that_a_grant_was_narrowed_from_must_permit_as_well() {
    let table = table(vec![
        narrowed(1, "orders:GET,POST:/a/**", &["orders,stock:GET:/**", "orders:*:/a/*"]),
        narrowed(2, "orders:GET:/b", &["stock:GET:/b"]),
        narrowed(3, "orders:/p.S/M", &["orders:/p.S/*"]),
        narrowed(4, "orders:/q.S/M", &["orders:POST:/**"]),
    ]);
    assert_eq!(ask(&table, "GET /a/1", at(150)), Ok(id(1)));
    assert_eq!(ask(&table, "POST /a/1", at(150)), Err(OutOfScope), "the first parent's method");
    assert_eq!(ask(&table, "GET /a/1/2", at(150)), Err(OutOfScope), "the second parent's path");
    assert_eq!(ask(&table, "GET /b", at(150)), Err(OutOfScope), "the parent's service");
    let grpc = [("content-type", "application/grpc")];
    assert_eq!(ask_with(&table, "POST /p.S/M", &grpc, at(150)), Ok(id(3)));
    assert_eq!(ask_with(&table, "POST /q.S/M", &grpc, at(150)), Err(OutOfScope), "the parent's form");
    let same = narrowed(1, "orders:GET,POST:/a/**", &["orders:GET:/**"]);
    let cut = table.replace(vec![Arc::new(same)], Default::default(), Revision(2), at(150)).unwrap();
    assert_eq!(cut.len(), 4, "a grant with other parents is another grant: {cut:?}");
}

#[test]
fn a_token_narrows_to_its_grant_and_permits_nothing() {
    let demanding = Conditions::default().with_token_required();
    let table = table(vec![
        Grant { conditions: demanding, ..grant(1, "orders:GET:/a") },
        grant(2, "orders:GET:/b"),
        grant(3, "orders:GET:/c"),
    ]);
    let _ = table.apply(&delta(2, vec![ended(3, EndCause::Revoked)]), at(150)).unwrap();
    let demanded = |path: &str, token: Option<u64>, token_required: bool| {
        let parts = parts("GET", path, &[]);
        let view = View::of(&parts).unwrap();
        let token = token.map(id);
        let request = Request {
            service: "orders",
            view: &view,
            call: None,
            only: None,
            source: HERE,
            token,
            token_required,
            user: UserProof::NotDemanded,
        };
        outcome(decide(&table.slot(&agent("a")).load(), &request, at(150))).map_err(|denial| denial.reason)
    };
    let ask = |path: &str, token: Option<u64>| demanded(path, token, false);
    assert_eq!(ask("/a", None), Err(TokenRequired));
    assert_eq!(ask("/a", Some(1)), Ok(id(1)));
    assert_eq!(ask("/b", None), Ok(id(2)));
    assert_eq!(ask("/b", Some(2)), Ok(id(2)));
    assert_eq!(ask("/a", Some(2)), Err(OutOfScope), "another task's token");
    assert_eq!(ask("/b", Some(1)), Err(OutOfScope));
    assert_eq!(ask("/c", Some(3)), Err(Revoked), "whatever the token says");
    assert_eq!(ask("/b", Some(9)), Err(NoGrant));
    // What the service demands is told only to those whose grant would do otherwise.
    assert_eq!(demanded("/b", None, true), Err(TokenRequired));
    assert_eq!(demanded("/b", Some(2), true), Ok(id(2)));
    assert_eq!(demanded("/c", None, true), Err(Revoked));
    assert_eq!(demanded("/x", None, true), Err(OutOfScope));
}

#[test]
fn conditions_are_checked_at_each_request() {
    let networks = Conditions::new(Some(vec!["10.0.0.0/8".parse().unwrap()]), None).unwrap();
    let near = Grant { conditions: networks, ..grant(1, "orders:GET:/**") };
    let table = table(vec![near]);
    let parts = parts("GET", "/", &[]);
    let view = View::of(&parts).unwrap();
    let from = |source: &str| {
        let request = Request {
            service: "orders",
            view: &view,
            call: None,
            only: None,
            source: source.parse().unwrap(),
            token: None,
            token_required: false,
            user: UserProof::NotDemanded,
        };
        outcome(decide(&table.slot(&agent("a")).load(), &request, at(150))).map_err(|denial| denial.reason)
    };
    assert_eq!(from("10.1.2.3"), Ok(id(1)));
    assert_eq!(from("::ffff:10.1.2.3"), Ok(id(1)));
    for far in ["11.1.2.3", "::1", "127.0.0.1"] {
        assert_eq!(from(far), Err(Condition), "{far}");
    }
}

#[test]
fn windows_of_the_day_are_in_their_zone() {
    let window = serde_json::from_str(
        r#"{"windows":[{"zone":"Europe/Berlin","days":["mon","tue","wed","thu","fri"],"from":"09:00","to":"17:00"}]}"#,
    );
    let conditions: Conditions = window.unwrap();
    let (from, until): (Time, Time) =
        ("2026-11-23T00:00:00Z".parse().unwrap(), "2026-11-23T08:00:00Z".parse().unwrap());
    let by_day = |id, from: Time| Grant {
        conditions: conditions.clone(),
        not_before: from,
        expires_at: from.plus(std::time::Duration::from_secs(8 * 3_600)),
        ..grant(id, "orders:GET:/**")
    };
    let table = table(vec![by_day(1, from), by_day(2, until)]);
    for (time, expected) in [
        ("2026-11-23T07:59:59.999999Z", Err(Condition)),
        ("2026-11-23T08:00:00Z", Ok(id(2))),
        ("2026-11-23T15:59:59Z", Ok(id(2))),
    ] {
        assert_eq!(ask(&table, "GET /", time.parse().unwrap()), expected, "{time}");
    }
}

#[test]
fn no_grant_passes_a_ceiling() {
    let mut ceilings = no_ceilings();
    ceilings.max_ttl = "100s".parse().unwrap();
    ceilings.methods = Some(["GET".into(), "HEAD".into()].into());
    ceilings.trust_domains = Some(["jitgate.local".into()].into());
    let table = Table::new(ceilings);
    let long = Grant { expires_at: Time::from_micros(200_000_001), ..grant(2, "orders:*:/long") };
    let foreign: SpiffeId = "spiffe://other.local/agent/a".parse().unwrap();
    let stranger = Grant { principal: foreign.clone(), ..grant(3, "orders:*:/**") };
    let all = vec![issued(grant(1, "orders:*:/a")), issued(long), issued(stranger)];
    let _ = table.apply(&delta(1, all), at(0)).unwrap();

    assert_eq!(ask(&table, "GET /a", at(150)), Ok(id(1)));
    assert_eq!(ask(&table, "POST /a", at(150)), Err(Condition));
    assert_eq!(ask(&table, "GET /long", at(150)), Err(Condition));
    let parts = parts("GET", "/a", &[]);
    let view = View::of(&parts).unwrap();
    let request = Request {
        service: "orders",
        view: &view,
        call: None,
        only: None,
        source: HERE,
        token: None,
        token_required: false,
        user: UserProof::NotDemanded,
    };
    let denial = outcome(decide(&table.slot(&foreign).load(), &request, at(150))).unwrap_err();
    assert_eq!(denial.reason, Condition);
    assert_eq!(table.counts().grants, 3, "they are held all the same");
}

#[test]
fn of_several_grants_the_cheapest_then_the_longest_then_the_first_permits() {
    let limited = |number| Grant {
        limits: Limits { max_uses: NonZeroU64::new(1), ..Limits::default() },
        expires_at: at(900),
        ..grant(number, "orders:GET:/a")
    };
    let long = |number, scope| Grant { expires_at: at(300), ..grant(number, scope) };
    let table =
        table(vec![limited(1), long(5, "orders:GET:/**"), long(3, "orders:*:/*"), grant(2, "orders:GET:/a")]);
    assert_eq!(ask(&table, "GET /a", at(150)), Ok(id(3)));

    let slot = table.slot(&agent("a"));
    let parts = parts("GET", "/a", &[]);
    let view = View::of(&parts).unwrap();
    let request = Request {
        service: "orders",
        view: &view,
        call: None,
        only: None,
        source: HERE,
        token: None,
        token_required: false,
        user: UserProof::NotDemanded,
    };
    let mut order = Vec::new();
    let mut verdict = decide(&slot.load(), &request, at(150));
    while let Verdict::Permit(permit) = verdict {
        let cell = permit.into_cell();
        order.push(cell.id());
        verdict = decide_after(&slot.load(), &request, at(150), &cell);
    }
    assert_eq!(order, [id(3), id(5), id(2), id(1)], "each once, in the order of preference");
}

#[test]
fn a_denial_is_the_better_of_two() {
    let limit = Denial { reason: Limit, nearest: Some(id(1)) };
    assert_eq!(Denial::of(OutOfScope).best(limit), limit);
    assert_eq!(limit.best(Denial::of(Expired)), limit);
    assert_eq!(limit.best(Denial::of(Limit)), limit, "the first of equals");
}

#[test]
fn without_a_lease_there_is_no_time_to_decide_by() {
    assert!(Lease::default().now(crate::runtime::clock::Mono::from_nanos(1)).is_err());
}

#[test]
fn ten_thousand_permissions_are_told_apart() {
    let scope: Vec<String> = (0..10_000).map(|n| format!("orders:GET:/v1/orders/{n}/lines")).collect();
    let scope: Vec<&str> = scope.iter().map(String::as_str).collect();
    let many = Grant { scope: crate::model::Scope::parse_all(&scope).unwrap(), ..grant(1, "orders:GET:/") };
    let table = table(vec![many]);
    assert_eq!(ask(&table, "GET /v1/orders/0/lines", at(150)), Ok(id(1)));
    assert_eq!(ask(&table, "GET /v1/orders/9999/lines", at(150)), Ok(id(1)));
    for other in
        ["GET /v1/orders/10000/lines", "GET /v1/orders/1/line", "GET /v1/orders/1", "PUT /v1/orders/1/lines"]
    {
        assert_eq!(ask(&table, other, at(150)), Err(OutOfScope), "{other}");
    }
}

#[test]
fn the_longest_patterns_match_the_longest_paths() {
    let long = "/a".repeat(64);
    let table = table(vec![
        grant(1, &format!("orders:PUT:{long}")),
        grant(2, &format!("orders:GET:{}/**", "/a".repeat(63))),
    ]);
    assert_eq!(ask(&table, &format!("PUT {long}"), at(150)), Ok(id(1)));
    assert_eq!(ask(&table, &format!("GET {long}"), at(150)), Ok(id(2)));
    assert_eq!(ask(&table, &format!("GET {}", "/a".repeat(63)), at(150)), Err(OutOfScope));
    assert_eq!(ask(&table, "GET /", at(150)), Err(OutOfScope));
}
