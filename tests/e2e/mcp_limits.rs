//! Limits of one call of MCP: the bytes of its arguments and of its answer.

use crate::harness::client::full;
use crate::harness::scripted::{Heard, Reply, Scripted};
use crate::harness::world::World;
use crate::harness::{Answer, Protocol, Setup, eventually};
use http_body_util::BodyExt;
use serde_json::{Value, json};

const SCOPE: &str = "desk:tools/call:put{*}";

/// Answers a call with a text of as many bytes as it asks for, in an event stream where it says so.
fn sized(heard: &Heard) -> Reply {
    let message = heard.json();
    let arguments = &message["params"]["arguments"];
    let size = usize::try_from(arguments["n"].as_u64().unwrap_or_default()).unwrap();
    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"x": ""}}).to_string();
    let filled = |size: usize| answer.replace("\"\"", &format!("\"{}\"", "x".repeat(size - answer.len())));
    match arguments["s"] == 1 {
        true => Reply::Events(format!("data: {}\n\n", filled(size - 8))),
        false => Reply::Json(serde_json::from_str(&filled(size)).unwrap()),
    }
}

async fn desk(service: &Scripted) -> World {
    Setup::new()
        .tables(&format!(
            "[[service]]\nname = \"desk\"\nupstream = [\"mcp+http://{}/mcp\"]\n",
            service.address
        ))
        .start()
        .await
}

async fn call(world: &World, id: u32, arguments: &str) -> (u16, Vec<u8>, bool) {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"put","arguments":{arguments}}}}}"#
    );
    let client = world.client(Protocol::H1).host("desk.localhost");
    let mut connection = client.connect().await;
    let request = connection.request("POST", "/mcp").header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream");
    let request = request.header("mcp-protocol-version", "2025-11-25");
    let response = connection.send(request.body(full(body)).unwrap()).await;
    let (status, mut body) = (response.status().as_u16(), response.into_body());
    let mut read = Vec::new();
    loop {
        match body.frame().await {
            None => return (status, read, true),
            Some(Err(_)) => return (status, read, false),
            Some(Ok(frame)) => read.extend(frame.into_data().unwrap_or_default()),
        }
    }
}

fn says(body: &[u8]) -> Value {
    let text = std::str::from_utf8(body).unwrap();
    let text = text.split_once("data: ").map_or(text, |(_, data)| data);
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[tokio::test]
async fn arguments_beyond_the_limit_of_their_grant_are_refused_before_anything_is_forwarded() {
    let service = Scripted::start(sized).await;
    let world = desk(&service).await;
    world.grant_with(SCOPE, &["--argument-bytes", "12"]).await;
    let (status, body, _) = call(&world, 1, r#"{"n":  60  }"#).await;
    assert_eq!((status, &says(&body)["id"]), (200, &json!(1)), "{}", says(&body));
    assert!(says(&body)["result"].is_object(), "{}", says(&body));
    // White space counts: the bytes are counted as they were sent.
    let (status, body, _) = call(&world, 2, r#"{"n":  60   }"#).await;
    let refused = says(&body);
    assert_eq!((status, &refused["id"]), (200, &json!(2)), "{refused}");
    assert_eq!(refused["error"]["data"]["reason"], "limit", "{refused}");
    assert_eq!(service.count("tools/call"), 1);

    // Another grant that permits it is asked, though it comes later in the order of preference.
    world.grant_with("desk:tools/call:put,putt{*}", &["--ttl", "5m", "--argument-bytes", "13"]).await;
    let (_, body, _) = call(&world, 3, r#"{"n":  60   }"#).await;
    assert!(says(&body)["result"].is_object(), "{}", says(&body));
    let (_, body, _) = call(&world, 4, r#"{"n":  60    }"#).await;
    assert_eq!(says(&body)["error"]["data"]["reason"], "limit");
    assert_eq!(service.count("tools/call"), 2);
}

#[tokio::test]
async fn an_answer_beyond_the_limit_of_its_grant_is_an_error_in_its_place() {
    let service = Scripted::start(sized).await;
    let world = desk(&service).await;
    let grant = world.grant_with(SCOPE, &["--response-bytes", "100"]).await;
    for (id, arguments) in [(1, r#"{"n":100}"#), (2, r#"{"n":100,"s":1}"#)] {
        let (status, body, whole) = call(&world, id, arguments).await;
        assert_eq!((status, whole), (200, true));
        assert!(says(&body)["result"].is_object(), "{}", says(&body));
    }
    for (id, arguments) in [(3, r#"{"n":101}"#), (4, r#"{"n":101,"s":1}"#), (5, r#"{"n":900000,"s":1}"#)] {
        let (status, body, whole) = call(&world, id, arguments).await;
        let refused = says(&body);
        assert_eq!((status, &refused["id"]), (200, &json!(id)), "{refused}");
        assert_eq!(refused["error"]["data"]["reason"], "limit", "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("response_bytes"), "{refused}");
        assert!(!String::from_utf8_lossy(&body).contains("xxx"), "{refused}");
        // A stream says so, then breaks off.
        assert_eq!(whole, id == 3);
    }
    let cut = eventually("the lines of three cut calls", || async {
        let lines = world.audit().into_iter().filter(|line| line["end"] == "cut").collect::<Vec<_>>();
        (lines.len() == 3).then_some(lines)
    })
    .await;
    assert!(cut.iter().all(|line| line["cause"] == "limit" && line["grant"] == *grant), "{cut:?}");
    // The grant lives on.
    let (_, body, _) = call(&world, 6, r#"{"n":99}"#).await;
    assert!(says(&body)["result"].is_object(), "{}", says(&body));
    // What carries no privilege is no call.
    let client = world.client(Protocol::H1).host("desk.localhost");
    let mut connection = client.connect().await;
    let request = connection.request("POST", "/mcp").header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream");
    let ping = r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"arguments":{"n":400}}}"#;
    let pong = Answer::of(connection.send(request.body(full(ping)).unwrap()).await).await;
    assert!(pong.json()["result"].is_object(), "{pong:?}");
}
