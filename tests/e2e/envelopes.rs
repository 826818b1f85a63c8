//! A task envelope: what one task needs, each so often, in one decision; every entry counts for itself and all end with the task.

use crate::harness::form::{fields, filled};
use crate::harness::{Protocol, World, eventually, id};
use serde_json::{Value, json};

#[tokio::test]
async fn one_approval_makes_a_grant_with_its_own_limits_of_each_entry() {
    let world = World::start().await;
    let entry = |action: &str, path: &str| json!([{"type": "http", "locations": ["orders"], "actions": [action], "paths": [path]}]);
    let envelope = json!([
        {"scope": entry("GET", "/v1/orders/*"), "limits": {"max_uses": 2}},
        {"scope": entry("POST", "/v1/orders")},
    ]);
    let ask = json!({"task": "INC-1", "reason": "clean up", "ttl": "10m", "envelope": envelope});
    let request = world.ask(&world.agent, &ask).await;
    assert_eq!((&request["state"], &request["envelope"]), (&json!("pending"), &envelope));

    let operator = world.ca.svid("operator/local");
    let page = world.page(&operator, id(&request)).await;
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(
        html.contains("Entry 1, {&quot;max_uses&quot;:2}") && html.contains("Entry 2, no limit of its own"),
        "{html}"
    );
    let form = filled(fields(&page), &[("reason", "fine"), ("decision", "approve")]);
    assert_eq!(world.submit(&operator, id(&request), (&form, &[])).await.status, 303);
    let request = world.cli(&["requests", "show", id(&request)]).await;
    let grants = request["grants"].as_array().unwrap();
    assert_eq!(grants.len(), 2, "{request}");
    world.granted(&request).await;

    let call = async |method: &str, path: &str| {
        world.client(Protocol::H1).connect().await.call(method, path, "").await
    };
    for _ in 0..2 {
        assert_eq!(call("GET", "/v1/orders/7").await.status, 200);
    }
    assert_eq!(call("GET", "/v1/orders/7").await.reason(), "limit");
    for _ in 0..3 {
        assert_eq!(call("POST", "/v1/orders").await.status, 200);
    }
    assert_eq!(call("DELETE", "/v1/orders/7").await.status, 403);
    let done = world.api(&world.agent, ("POST", "/v1/tasks/INC-1/done"), &json!({"reason": "clean"})).await;
    assert_eq!((done.status.as_u16(), &done.json()["grants"]), (200, &json!([])));
    eventually("the end of every entry", || async {
        (call("POST", "/v1/orders").await.status == 403).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_envelope_is_read_strictly() {
    let world = World::start().await;
    let scope =
        json!([{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders"]}]);
    let ask = |envelope: Value| json!({"task": "INC-1", "reason": "r", "ttl": "5m", "envelope": envelope});
    for (status, envelope) in [
        (422, json!([])),
        (422, json!([{"scope": scope}, {"scope": scope, "limits": {"max_uses": 1}}])),
        (400, json!([{"scope": scope, "limits": {}}])),
        (400, json!([{"scope": scope, "limits": {"max_uses": 0}}])),
        (400, json!([{"scope": scope, "limits": null}])),
        (400, json!([{"scope": scope, "max_uses": 1}])),
        (400, json!([{"limits": {"max_uses": 1}}])),
        (400, json!({"scope": scope})),
    ] {
        let answer = world.try_ask(&world.agent, &ask(envelope.clone())).await;
        assert_eq!(answer.status, status, "{envelope}: {answer:?}");
    }
    let mut both = ask(json!([{"scope": scope}]));
    both["scope"] = scope.clone();
    assert_eq!(world.try_ask(&world.agent, &both).await.status, 400);

    // On the command line, in text form.
    let file = r#"[{"scope": "orders:GET:/v1/orders", "limits": {"rate": {"requests": 5, "per": "1m"}}}]"#;
    std::fs::write(world.path("envelope.json"), file).unwrap();
    let agent = world.agent.write(&world.path("agent"));
    let asked = [
        "request",
        "--task",
        "INC-2",
        "--envelope",
        "envelope.json",
        "--ttl",
        "5m",
        "--reason",
        "r",
        "--output",
        "json",
    ];
    let output = world.cli_as(&agent, &asked).await;
    assert!(output.status.success(), "{output:?}");
    let request: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(request["envelope"][0]["limits"]["rate"]["requests"], 5, "{request}");
}
