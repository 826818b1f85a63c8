//! Between the request head and the verdict nothing is allocated, whatever the verdict.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends by panicking; clippy's exceptions for tests do not reach helpers outside #[test]"
)]

use jitgate::access::{
    Request, Table, UserProof, Verdict, View, attend, decide, decide_after, host_label, shows,
};
use jitgate::config::Ceilings;
use jitgate::model::grant::{Conditions, Lineage};
use jitgate::model::{Change, Delta, EndCause, Grant, GrantId, McpCall, Revision, SpiffeId, Time};
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

fn at(seconds: i64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn grant(number: u64, scope: &str, conditions: Conditions) -> Change {
    Change::Issued(Arc::new(Grant {
        id: GrantId::from_parts(number, [0; 10]),
        principal: agent(),
        task: "T".parse().unwrap(),
        scope: scope.parse().unwrap(),
        not_before: at(100),
        expires_at: at(200),
        conditions,
        limits: Default::default(),
        recording: jitgate::model::Recording::default(),
        lineage: None,
        revision: Revision(1),
    }))
}

fn agent() -> SpiffeId {
    "spiffe://jitgate.local/agent/a".parse().unwrap()
}

fn table() -> Table {
    let conditions: Conditions = serde_json::from_str(
        r#"{"source_networks":["127.0.0.0/8"],"windows":[{"zone":"Europe/Berlin","days":["*"],"from":"00:00","to":"24:00"}]}"#,
    )
    .unwrap();
    let table = Table::new(Ceilings {
        max_ttl: "8h".parse().unwrap(),
        trust_domains: None,
        methods: None,
        tools: None,
    });
    let mut changes: Vec<_> = (10..100)
        .map(|n| grant(n, &format!("orders:GET,BREW:/v1/orders/{n}/*"), Conditions::default()))
        .collect();
    changes.push(grant(1, "orders:GET:/v1/guarded/**", conditions));
    changes.push(grant(2, "orders:/p.S/M", Conditions::default()));
    changes.push(grant(3, "orders:GET:/v1/ended", Conditions::default()));
    let mut narrowed = grant(4, "orders:GET:/v1/narrow/**", Conditions::default().with_token_required());
    if let Change::Issued(grant) = &mut narrowed {
        let within = vec!["orders:*:/v1/narrow/*".parse().unwrap(), "orders:GET:/**".parse().unwrap()];
        let lineage = Some(Arc::new(Lineage { within, ..Lineage::default() }));
        *grant = Arc::new(Grant { lineage, ..Grant::clone(grant) });
    }
    changes.push(narrowed);
    changes.extend(
        (200..300)
            .map(|n| grant(n, &format!("ops:tools/call:restart{{server=srv-{n}}}"), Conditions::default())),
    );
    let pattern = r#"{"type":"mcp","locations":["ops"],"actions":["tools/call"],"tools":["scale"],"arguments":{"type":"object",
        "properties":{"service":{"pattern":"^[a-z]+-\\d+$"},"replicas":{"type":"integer","minimum":1,"maximum":9},"zone":{"enum":["a","b"]}},
        "required":["service"],"additionalProperties":false}}"#;
    changes.push(grant(300, pattern, Conditions::default()));
    changes.push(grant(301, "ops:resources/read:file:///docs/**", Conditions::default()));
    changes.push(Change::Ended {
        grant: GrantId::from_parts(3, [0; 10]),
        cause: EndCause::Revoked,
        at: at(100),
    });
    table.apply(&Delta { revision: Revision(1), changes }, at(100)).map(drop).unwrap();
    table
}

#[test]
fn the_counter_counts() {
    assert!(allocation_counter::measure(|| drop(black_box(Box::new(1)))).count_total > 0);
}

#[test]
fn a_decision_about_a_call_allocates_nothing() {
    let table = table();
    let slot = table.slot(&agent());
    let request = http::Request::builder().method("POST").uri("/mcp").header("host", "ops.localhost");
    let parts = request.body(()).unwrap().into_parts().0;
    let view = View::of(&parts).unwrap();
    for (method, name, arguments, permitted) in [
        ("tools/call", "restart", r#"{"server":"srv-250"}"#, true),
        ("tools/call", "restart", r#"{"server":"srv-9"}"#, false),
        ("tools/call", "scale", r#"{"service":"billing-7","replicas":3,"zone":"b"}"#, true),
        ("tools/call", "scale", r#"{"service":"billing-x","replicas":3}"#, false),
        ("tools/call", "stop", "{}", false),
        ("resources/read", "file:///docs/a/b%20c", "{}", true),
        ("resources/read", "file:///docs/../a", "{}", false),
        ("tools/list", "", "{}", false),
    ] {
        let arguments: serde_json::Map<_, _> = serde_json::from_str(arguments).unwrap();
        let arguments = jitgate::model::json::Object::from(arguments);
        let name = Some(name).filter(|name| !name.is_empty());
        let call = McpCall { method, name, arguments: Some(&arguments) };
        let request = Request {
            service: "ops",
            view: &view,
            call: Some(&call),
            only: None,
            source: IpAddr::from([127, 0, 0, 1]),
            token: None,
            token_required: false,
            user: UserProof::NotDemanded,
        };
        let work = || {
            let set = slot.load();
            assert!(matches!(attend(&set, &request, at(150)), Verdict::Permit(_)));
            black_box(shows(&set, &request, at(150)));
            match decide(&set, black_box(&request), at(150)) {
                Verdict::Permit(permit) => {
                    let _ = black_box(decide_after(&set, &request, at(150), permit.cell()));
                    true
                }
                Verdict::Deny(denial) => black_box(Some(denial)).is_none(),
            }
        };
        // Once before counting: the first use of a pattern builds its automaton.
        assert_eq!(work(), permitted, "{method} {arguments:?}");
        let counted = allocation_counter::measure(|| {
            let _ = black_box(work());
        });
        assert_eq!(counted.count_total, 0, "{method} {arguments:?}");
    }
}

#[test]
fn a_decision_allocates_nothing() {
    let table = table();
    let slot = table.slot(&agent());
    let domains = ["localhost".to_owned()];
    for (method, path, header, permitted) in [
        ("GET", "/v1/orders/42/lines?x=%20", ("accept", "*/*"), true),
        ("BREW", "/v1/orders/42/lines", ("jitgate-task", "T"), true),
        ("GET", "/v1/guarded/caf%C3%A9/a/b/c", ("accept", "*/*"), true),
        ("POST", "/p.S/M", ("content-type", "application/grpc"), true),
        ("POST", "/p.S/N", ("content-type", "application/grpc"), false),
        ("GET", "/v1/orders/42/lines", ("jitgate-task", "U"), false),
        ("GET", "/v1/orders/42", ("accept", "*/*"), false),
        ("GET", "/v1/ended", ("accept", "*/*"), false),
        ("GET", "/a%2fb", ("accept", "*/*"), false),
        ("GET", "/v1/narrow/a", ("accept", "token"), true),
        ("GET", "/v1/narrow/a", ("accept", "*/*"), false),
        ("GET", "/v1/narrow/a/b", ("accept", "token"), false),
    ] {
        let token = (header.1 == "token").then(|| GrantId::from_parts(4, [0; 10]));
        let request =
            http::Request::builder().method(method).uri(path).header("host", "Orders.LOCALHOST:8443");
        let parts = request.header(header.0, header.1).body(()).unwrap().into_parts().0;
        let work = || {
            let mut buffer = [0; 253];
            let Ok(view) = View::of(black_box(&parts)) else { return false };
            let service = host_label(view.authority(), &domains, &mut buffer);
            let source = IpAddr::from([127, 0, 0, 1]);
            let request = Request {
                service,
                view: &view,
                call: None,
                only: None,
                source,
                token,
                token_required: false,
                user: UserProof::NotDemanded,
            };
            match decide(&slot.load(), &request, at(150)) {
                Verdict::Permit(permit) => {
                    let _ = black_box(decide_after(&slot.load(), &request, at(150), permit.cell()));
                    true
                }
                Verdict::Deny(denial) => black_box(Some(denial)).is_none(),
            }
        };
        // Once before counting: the first use of a time zone reads it in.
        assert_eq!(work(), permitted, "{method} {path}");
        let counted = allocation_counter::measure(|| {
            let _ = black_box(work());
        });
        assert_eq!(counted.count_total, 0, "{method} {path}");
    }
}
