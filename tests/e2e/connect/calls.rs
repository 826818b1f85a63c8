//! Calls in both eras, as the service gets to see them.

use super::{Connected, SCOPE, names, world};
use crate::harness::eventually;
use crate::harness::world::AGENT;
use serde_json::{Value, json};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

fn alone(mut params: Value) -> Value {
    params["_meta"] = json!({VERSION: "2026-07-28", "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}});
    params
}

#[tokio::test]
async fn a_session_is_kept_told_of_and_ended() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, answer) = Connected::greeted(&world, &["--no-asking", "--task", "t-1"]).await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(answer["result"]["instructions"], "Be kind.", "nothing is added: {answer}");
    let echoed = client.call(1, "tools/call", json!({"name": "echo", "arguments": {"a": "ü\u{2028}"}})).await;
    assert!(echoed["result"]["content"][0]["text"].as_str().unwrap().contains('ü'), "{echoed}");
    endpoint.heard(1).await;
    let (rest, code, told) = client.end().await;
    assert_eq!((rest.len(), code, told.as_str()), (0, Some(0), ""));

    let received = endpoint.received();
    let [first, second, ..] = &received[..] else { panic!("{received:?}") };
    assert_eq!(first.body["method"], "initialize");
    assert!(
        !first.headers.contains_key("mcp-session-id") && !first.headers.contains_key("mcp-protocol-version")
    );
    assert_eq!(second.body["method"], "notifications/initialized", "before any call");
    for later in &received[1..] {
        assert_eq!(later.headers["mcp-session-id"], "session-1", "{later:?}");
        assert_eq!(later.headers["mcp-protocol-version"], "2025-11-25", "{later:?}");
        assert!(
            !later.headers.contains_key("mcp-method") && !later.headers.contains_key("jitgate-task"),
            "{later:?}"
        );
    }
    for post in endpoint.of("POST") {
        assert_eq!(post.headers["accept"], "application/json, text/event-stream");
        assert_eq!(post.headers["content-type"], "application/json");
    }
    assert_eq!((endpoint.of("GET").len(), endpoint.of("DELETE").len()), (1, 1), "{received:?}");
    let line = &world.ends("/mcp").await[0];
    assert_eq!((&line["principal"], &line["task"]), (&json!(AGENT), &json!("t-1")));
}

#[tokio::test]
async fn what_the_service_says_in_between_arrives_at_once_and_is_answered() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &["--no-asking"]).await;
    client.begin(1, "tools/call", json!({"name": "wait"})).await;
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}});
    endpoint.heard(1).await;
    endpoint.open(2).await;
    endpoint.tell(Some(progress.clone())).await;
    assert_eq!(client.next().await, progress);
    let question = json!({"jsonrpc": "2.0", "id": "q-1", "method": "roots/list"});
    endpoint.tell(Some(question.clone())).await;
    assert_eq!(client.next().await, question);
    let reply = json!({"jsonrpc": "2.0", "id": "q-1", "result": {"roots": []}});
    client.send(&reply).await;
    eventually("the answer at the service", || async {
        endpoint.received().iter().any(|received| received.body == reply).then_some(())
    })
    .await;
    // Other calls go on meanwhile, and come back in their own order.
    for id in 10..30 {
        client.begin(id, "tools/call", json!({"name": "echo"})).await;
    }
    let mut seen = Vec::new();
    for _ in 10..30 {
        seen.push(client.next().await["id"].as_u64().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (10..30).collect::<Vec<_>>());
    let told = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
    endpoint.say(told.clone()).await;
    assert_eq!(client.next().await, told);
    let result = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}});
    endpoint.tell(Some(result.clone())).await;
    assert_eq!(client.next().await, result);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_ends_the_question_and_no_call_with_the_same_id() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &["--no-asking"]).await;
    client.begin(3, "tools/call", json!({"name": "wait"})).await;
    endpoint.heard(1).await;
    endpoint.open(2).await;
    let question = json!({"jsonrpc": "2.0", "id": 3, "method": "sampling/createMessage", "params": {}});
    endpoint.tell(Some(question.clone())).await;
    assert_eq!(client.next().await, question);
    client.line(r#"{"jsonrpc":"2.0","id":3,"result":{"content":{"type":"text","text":"\ud83d"}}}"#).await;
    let told = client.next().await;
    assert_eq!((&told["id"], &told["error"]["code"]), (&Value::Null, &json!(-32_600)), "{told}");
    eventually("the end of the question at the service", || async {
        let received = endpoint.received();
        let mut bodies = received.iter().map(|received| &received.body);
        bodies.any(|body| body["id"] == 3 && body["error"]["code"] == -32_600).then_some(())
    })
    .await;
    let result = json!({"jsonrpc": "2.0", "id": 3, "result": {"content": []}});
    endpoint.tell(Some(result.clone())).await;
    assert_eq!(client.next().await, result);
}

#[tokio::test]
async fn the_end_of_the_input_finishes_what_runs() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &["--no-asking"]).await;
    client.begin(1, "tools/call", json!({"name": "wait"})).await;
    endpoint.heard(1).await;
    endpoint.open(2).await;
    let ending = tokio::spawn(client.end());
    let result = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}});
    endpoint.tell(Some(result.clone())).await;
    let (rest, code, _) = ending.await.unwrap();
    assert_eq!((rest, code), (vec![result], Some(0)));
    assert_eq!(endpoint.of("DELETE").len(), 1);
}

#[tokio::test]
async fn a_cancelled_call_ends_at_the_service_in_either_era() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &["--no-asking"]).await;
    endpoint.heard(1).await;
    client.begin(1, "tools/call", json!({"name": "wait"})).await;
    endpoint.open(2).await;
    client
        .send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}))
        .await;
    endpoint.open(1).await;
    assert_eq!(endpoint.of("notifications/cancelled").len(), 1);

    client.begin(2, "tools/call", alone(json!({"name": "wait"}))).await;
    endpoint.open(2).await;
    client
        .send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}))
        .await;
    endpoint.open(1).await;
    assert_eq!(endpoint.of("notifications/cancelled").len(), 1, "the end of the answer says it");
    assert_eq!(client.tool(3, "echo").await["id"], 3, "neither was answered");
}

#[tokio::test]
async fn what_stands_alone_carries_what_its_body_says() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let mut client = Connected::start(&world, &["--no-asking"]);
    let found = client.call(1, "server/discover", alone(json!({}))).await;
    assert_eq!(found["result"]["supportedVersions"], json!(["2026-07-28"]));
    client.call(2, "tools/list", alone(json!({}))).await;
    client.call(3, "tools/call", alone(json!({"name": "größe", "arguments": {"region": "eu, west"}}))).await;
    client
        .begin(4, "subscriptions/listen", alone(json!({"notifications": {"toolsListChanged": true}})))
        .await;
    endpoint.open(1).await;
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    endpoint.tell(Some(changed.clone())).await;
    assert_eq!(client.next().await, changed);
    let (rest, code, _) = client.end().await;
    assert_eq!((rest.len(), code), (0, Some(0)), "what never ends is ended");

    let received = endpoint.received();
    assert_eq!(received.len(), 4, "no session, no stream of its own, no DELETE: {received:?}");
    for one in &received {
        assert_eq!(one.headers["mcp-method"].to_str().unwrap(), one.body["method"], "{one:?}");
        assert_eq!(one.headers["mcp-protocol-version"], "2026-07-28");
        assert!(!one.headers.contains_key("mcp-session-id"));
    }
    let call = &endpoint.of("tools/call")[0];
    assert_eq!(call.headers["mcp-name"], "=?base64?Z3LDtsOfZQ==?=");
    assert_eq!(call.headers.get("mcp-param-region"), None, "the list did not say that this tool has it");
}

#[tokio::test]
async fn arguments_are_repeated_where_the_list_said_so() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let mut client = Connected::start(&world, &[]);
    let list = client.call(1, "tools/list", alone(json!({}))).await;
    assert_eq!(names(&list), [&super::OURS[..], &["echo", "ops__request_access"]].concat());
    assert_eq!((&list["result"]["ttlMs"], &list["result"]["cacheScope"]), (&json!(0), &json!("private")));
    client.call(2, "tools/call", alone(json!({"name": "echo", "arguments": {"region": "eu, west"}}))).await;
    client.call(3, "tools/call", alone(json!({"name": "ops__request_access", "arguments": {}}))).await;
    let calls = endpoint.of("tools/call");
    assert_eq!(
        (&calls[0].headers["mcp-name"], &calls[0].headers["mcp-param-region"]),
        (&"echo".parse().unwrap(), &"eu, west".parse().unwrap())
    );
    assert_eq!(calls[1].headers["mcp-name"], "request_access");
    assert_eq!(calls[1].body["params"]["name"], "request_access");
}

#[tokio::test]
async fn a_session_that_was_lost_begins_anew_and_no_call_is_sent_twice() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &["--no-asking"]).await;
    endpoint.heard(1).await;
    endpoint.forget();
    let lost = client.tool(1, "echo").await;
    assert!(lost["error"]["message"].as_str().unwrap().contains("call again"), "{lost}");
    assert_eq!(client.tool(2, "echo").await["error"], Value::Null);
    assert_eq!(endpoint.of("tools/call").len(), 2);
    assert_eq!(endpoint.of("tools/call")[1].headers["mcp-session-id"], "session-2");
    endpoint.forget();
    // A list does no harm.
    assert_eq!(client.call(3, "tools/list", json!({})).await["error"], Value::Null);
    assert_eq!(endpoint.of("initialize").len(), 3);
}

#[tokio::test]
async fn a_certificate_that_was_replaced_is_shown_from_then_on() {
    let (world, _endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &["--no-asking"]).await;
    client.tool(1, "echo").await;
    let certificates = async || -> Vec<Value> {
        let lines = world.ends("/mcp").await;
        let mut all: Vec<Value> = lines.iter().map(|line| line["certificate_sha256"].clone()).collect();
        all.dedup();
        all
    };
    assert_eq!(certificates().await.len(), 1);
    world.ca.svid("agent/demo").write(&world.path("agent"));
    let mut id = 2;
    while certificates().await.len() < 2 {
        assert_eq!(client.tool(id, "echo").await["error"], Value::Null);
        id += 1;
        assert!(id < 2_000, "the old certificate goes on");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (_, code, told) = client.end().await;
    assert!(code == Some(0) && told.contains("the certificate was replaced"), "{told}");
}
