//! A task envelope: what one task needs, each so often, in one decision; every entry counts for itself and all end with the task.

use crate::harness::form::{fields, filled};
use crate::harness::scripted::{Scripted, done};
use crate::harness::{Protocol, Setup, World, eventually, id};
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
async fn a_tool_call_outside_of_the_envelope_is_refused() {
    let service = Scripted::start(done).await;
    let world = Setup::new().tables(&service.table()).start().await;
    let arguments = json!({
        "type": "object", "properties": {"server": {"const": "srv-7"}},
        "required": ["server"], "additionalProperties": false,
    });
    let call = |tool: &str, arguments: &Value| json!([{"type": "mcp", "locations": ["desk"], "actions": ["tools/call"], "tools": [tool], "arguments": arguments}]);
    let envelope = json!([
        {"scope": call("restart", &arguments), "limits": {"max_uses": 1}},
        {"scope": call("logs", &json!(true))},
    ]);
    let ask = json!({"task": "INC-1", "reason": "it hangs", "ttl": "10m", "envelope": envelope});
    let request = world.ask(&world.agent, &ask).await;
    assert_eq!(request["state"], "pending", "{request}");
    let operator = world.ca.svid("operator/local");
    let page = world.page(&operator, id(&request)).await;
    let form = filled(fields(&page), &[("reason", "fine"), ("decision", "approve")]);
    assert_eq!(world.submit(&operator, id(&request), (&form, &[])).await.status, 303);
    let request = world.cli(&["requests", "show", id(&request)]).await;
    assert_eq!(request["grants"].as_array().map(Vec::len), Some(2), "{request}");
    world.granted(&request).await;

    let (seven, eight) = (json!({"server": "srv-7"}), json!({"server": "srv-8"}));
    for (tool, server) in [("restart", &eight), ("delete", &seven), ("restart", &json!({}))] {
        let refused = world.call_tool(tool, server).await;
        assert_eq!(refused["error"]["data"]["reason"], "out_of_scope", "{tool} {server}: {refused}");
    }
    assert_eq!(service.count("tools/call"), 0);
    assert!(world.call_tool("restart", &seven).await["result"].is_object());
    // Each entry has its own limit.
    let refused = world.call_tool("restart", &seven).await;
    assert_eq!(refused["error"]["data"]["reason"], "limit", "{refused}");
    for server in [&seven, &eight] {
        assert!(world.call_tool("logs", server).await["result"].is_object());
    }
    assert_eq!(service.count("tools/call"), 3);
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
