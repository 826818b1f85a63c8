//! Clients that send what is no message, services that answer what is no answer, and gates that are not there.

use super::{Connected, SCOPE, world};
use crate::harness::eventually;
use serde_json::{Value, json};

fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {answer}"))
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_what_follows_is_read() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &["--no-asking"]).await;
    for (line, id, code) in [
        ("nonsense".to_owned(), Value::Null, -32_700),
        ("{\"jsonrpc\":\"2.0\",\"id\":1".to_owned(), Value::Null, -32_700),
        ("\u{feff}{}".to_owned(), Value::Null, -32_700),
        ("[]".to_owned(), Value::Null, -32_600),
        ("[{\"jsonrpc\":\"2.0\",\"id\":\"b\",\"method\":\"ping\"}]".to_owned(), json!("b"), -32_600),
        ("{\"jsonrpc\":\"2.0\",\"id\":5}".to_owned(), Value::Null, -32_600),
        ("{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"ping\",\"method\":\"x\"}".to_owned(), json!(6), -32_600),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"Name\":\"x\"}}".to_owned(),
            json!(7),
            -32_600,
        ),
        (
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"ping\",\"params\":{{\"x\":\"{}\"}}}}",
                "x".repeat(9 << 20)
            ),
            Value::Null,
            -32_600,
        ),
    ] {
        client.line(&line).await;
        let answer = client.next().await;
        assert_eq!((&answer["id"], self::code(&answer)), (&id, code), "{answer}");
    }
    assert_eq!(client.tool(9, "echo").await["error"], Value::Null);
    client.begin(10, "tools/call", json!({"name": "wait"})).await;
    let twice = client.tool(10, "echo").await;
    assert_eq!(twice["error"]["data"]["reason"], "id_in_use");
    assert!(endpoint.received().iter().all(|received| received.body["id"] != 8));
}

#[tokio::test]
async fn a_service_cannot_write_more_than_its_answer() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &["--no-asking"]).await;
    client.begin(1, "tools/call", json!({"name": "wait"})).await;
    endpoint.heard(1).await;
    endpoint.open(2).await;
    // An answer to another call, an answer with line ends in and around it, and what follows.
    let other = json!({"jsonrpc": "2.0", "id": 2, "result": {"stolen": true}});
    endpoint.tell(Some(other)).await;
    let split = "data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\rdata: \"result\":{\"text\":\"a\u{2028}b\"}\r\ndata: }\n\n";
    endpoint.tell(Some(json!(split))).await;
    let answer = client.next().await;
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 1, "result": {"text": "a\u{2028}b"}}));
    for (id, tool, says) in [
        (3, "nothing", "without an answer"),
        (4, "html", "without an answer"),
        (5, "fails", "500"),
        (6, "large", "broke off"),
    ] {
        let answer = client.tool(id, tool).await;
        assert_eq!(code(&answer), -32_603, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(says), "{answer}");
    }
    endpoint.forget_calls();
    // What is no JSON-RPC never reaches standard output.
    let broken = [
        "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}{}\n\n",
        "data: hello\n\n",
        "data: {\"id\":7,\"result\":{}}\n\n",
        "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{},\"Id\":1}\n\n",
    ];
    for raw in broken {
        let calls = endpoint.of("tools/call").len();
        client.begin(7, "tools/call", json!({"name": "wait"})).await;
        eventually("the call", || async { (endpoint.of("tools/call").len() > calls).then_some(()) }).await;
        eventually("its stream", || async { (endpoint.waiting() > 0).then_some(()) }).await;
        endpoint.tell(Some(json!(raw))).await;
        let answer = client.next().await;
        assert_eq!((&answer["id"], code(&answer)), (&json!(7), -32_603), "{raw}: {answer}");
        endpoint.forget_calls();
    }
    let (rest, code, _) = client.end().await;
    assert_eq!((rest.len(), code), (0, Some(0)));
}

#[tokio::test]
async fn a_call_that_is_cut_is_told_so_and_the_next_one_why() {
    let (world, endpoint) = world().await;
    let grant = world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &["--no-asking"]).await;
    endpoint.heard(1).await;
    client.begin(1, "tools/call", json!({"name": "wait"})).await;
    endpoint.open(2).await;
    world.revoke(&grant).await;
    let cut = client.next().await;
    assert_eq!((&cut["id"], &cut["error"]["data"]["reason"]), (&json!(1), &json!("cut")), "{cut}");
    let denied = client.tool(2, "echo").await;
    assert_eq!((code(&denied), &denied["error"]["data"]["reason"]), (-32_010, &json!("revoked")), "{denied}");
    assert_eq!(denied["error"]["data"]["required"][0]["locations"], json!(["ops"]), "{denied}");
    assert_eq!(endpoint.of("tools/call").len(), 1);
}

#[tokio::test]
async fn a_gate_that_is_gone_is_an_error_with_the_calls_id() {
    let (mut world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &["--no-asking"]).await;
    endpoint.heard(1).await;
    client.begin(1, "tools/call", json!({"name": "wait"})).await;
    endpoint.open(2).await;
    world.proxy().kill();
    let cut = client.next().await;
    assert_eq!((&cut["id"], &cut["error"]["data"]["reason"]), (&json!(1), &json!("cut")), "{cut}");
    let gone = client.tool(2, "echo").await;
    assert_eq!(gone["error"]["data"]["reason"], "gate_unavailable", "{gone}");
    world.start_proxy().await;
    world.ready(9464).await;
    let mut id = 3;
    let client = tokio::sync::Mutex::new((client, &mut id));
    eventually("the gate's return", || async {
        let mut guard = client.lock().await;
        let (client, id) = &mut *guard;
        **id += 1;
        let id = **id;
        (client.tool(id, "echo").await["error"] == Value::Null).then_some(())
    })
    .await;
    // Never sent twice: one call that was cut, and those that were answered.
    assert_eq!(endpoint.of("tools/call").iter().filter(|call| call.body["id"] == 1).count(), 1);
}
