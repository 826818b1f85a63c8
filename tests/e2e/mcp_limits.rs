//! Limits of one call of MCP: the bytes of its arguments and of its answer.

use crate::harness::client::full;
use crate::harness::scripted::{Heard, Reply, Scripted};
use crate::harness::world::World;
use crate::harness::{Answer, Protocol, Setup, eventually, within};
use http_body_util::BodyExt;
use serde_json::{Value, json};

const SCOPE: &str = "desk:tools/call:put{*}";

/// Answers a call with a task whose result has as many bytes as the call asks for.
fn tasked(heard: &Heard) -> Reply {
    let message = heard.json();
    let (id, params) = (&message["id"], &message["params"]);
    if params["task"].is_object() {
        let task = json!({"taskId": format!("t-{}", params["arguments"]["n"]), "status": "working"});
        return Reply::Json(json!({"jsonrpc": "2.0", "id": id, "result": {"task": task}}));
    }
    match (message["method"].as_str(), params["taskId"].as_str().and_then(|task| task.strip_prefix("t-"))) {
        (Some("tasks/result"), Some(size)) => {
            let text = "x".repeat(size.parse().unwrap());
            Reply::Json(json!({"jsonrpc": "2.0", "id": id, "result": {"x": text}}))
        }
        _ => Reply::Json(json!({"jsonrpc": "2.0", "id": id, "result": {}})),
    }
}

/// Answers each call with a task that has the number of the call, in an event stream where it says so.
fn begun(heard: &Heard) -> Reply {
    let message = heard.json();
    let task = |call: &Value| json!({"taskId": format!("t-{}", call["id"]), "status": "working"});
    let answer = |call: &Value| json!({"jsonrpc": "2.0", "id": call["id"], "result": {"task": task(call)}});
    if let Some(batch) = message.as_array() {
        return Reply::Json(batch.iter().map(answer).collect());
    }
    if message["method"] != "tools/call" {
        return Reply::Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": {}}));
    }
    match message["params"]["arguments"]["s"] == 1 {
        true => Reply::Events(format!("data: {}\n\n", answer(&message))),
        false => Reply::Json(answer(&message)),
    }
}

/// Answers each call of a batch with a text of as many bytes as it asks for, with a notification between them that nobody may hear.
fn in_batches(heard: &Heard) -> Reply {
    let batch = heard.json();
    let text = |call: &Value| "x".repeat(call["params"]["arguments"]["n"].as_u64().unwrap() as usize);
    let answer = |call: &Value| json!({"jsonrpc": "2.0", "id": call["id"], "result": {"x": text(call)}});
    let mut answers: Vec<Value> = batch.as_array().unwrap().iter().map(answer).collect();
    let told = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "file:///secret"}});
    answers.insert(1, told);
    Reply::Json(answers.into())
}

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

/// Answers a call once the number that it brings was told, and one with 0 at once.
fn held(heard: &Heard) -> Reply {
    let message = heard.json();
    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": {}});
    match message["params"]["arguments"]["n"].to_string() {
        number if number == "0" => Reply::Json(answer),
        number => Reply::Held(answer, number),
    }
}

async fn desk(service: &Scripted) -> World {
    Setup::new().tables(&service.table()).start().await
}

async fn call(world: &World, id: u32, arguments: &str) -> (u16, Vec<u8>, bool) {
    ask(world, id, "tools/call", &format!(r#"{{"name":"put","arguments":{arguments}}}"#)).await
}

async fn ask(world: &World, id: u32, method: &str, params: &str) -> (u16, Vec<u8>, bool) {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
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

#[tokio::test]
async fn a_task_is_held_to_the_limits_of_the_grant_that_made_it() {
    let service = Scripted::start(tasked).await;
    let world = desk(&service).await;
    world.grant_with(SCOPE, &["--argument-bytes", "12", "--response-bytes", "100"]).await;
    for size in [40, 200] {
        let params = format!(r#"{{"name":"put","arguments":{{"n":{size}}},"task":{{"ttl":60000}}}}"#);
        let (_, body, _) = ask(&world, size, "tools/call", &params).await;
        assert_eq!(says(&body)["result"]["task"]["taskId"], format!("t-{size}"), "{}", says(&body));
    }
    let (_, body, _) = ask(&world, 1, "tasks/result", r#"{"taskId":"t-40"}"#).await;
    assert!(says(&body)["result"].is_object(), "{}", says(&body));
    let (_, body, _) = ask(&world, 2, "tasks/result", r#"{"taskId":"t-200"}"#).await;
    let refused = says(&body);
    assert_eq!(
        (&refused["id"], &refused["error"]["data"]["reason"]),
        (&json!(2), &json!("limit")),
        "{refused}"
    );
    assert!(!String::from_utf8_lossy(&body).contains("xxx"), "{refused}");
    // The handle alone is no input; what the task is told is.
    let told = |inputs: &str| format!(r#"{{"taskId":"t-40","arguments":{{}},"inputResponses":{inputs}}}"#);
    let (_, body, _) = ask(&world, 3, "tasks/update", &told(r#"{"a":1234}"#)).await;
    assert!(says(&body)["result"].is_object(), "{}", says(&body));
    let (_, body, _) = ask(&world, 4, "tasks/update", &told(r#"{"a":12345}"#)).await;
    assert_eq!(says(&body)["error"]["data"]["reason"], "limit", "{}", says(&body));
    let (_, body, _) = ask(&world, 5, "tasks/get", r#"{"taskId":"t-40","_meta":{"a":"0123456789"}}"#).await;
    assert!(says(&body)["result"].is_object(), "{}", says(&body));
    assert_eq!((service.count("tasks/result"), service.count("tasks/update")), (2, 1));
    // What answers a tool's own questions is an argument as well.
    let params = r#"{"name":"put","arguments":{"n":1},"inputResponses":{"a":"b"}}"#;
    let (_, body, _) = ask(&world, 6, "tools/call", params).await;
    assert_eq!(says(&body)["error"]["data"]["reason"], "limit", "{}", says(&body));
}

#[tokio::test]
async fn a_task_whose_handle_the_caller_does_not_get_is_cancelled() {
    let service = Scripted::start(begun).await;
    let world = desk(&service).await;
    // Shorter than any answer with a task.
    world.grant_with(SCOPE, &["--response-bytes", "60"]).await;
    let params =
        |arguments: &str| format!(r#"{{"name":"put","arguments":{arguments},"task":{{"ttl":60000}}}}"#);
    for (id, arguments) in [(1, "{}"), (2, r#"{"s":1}"#)] {
        let (_, body, _) = ask(&world, id, "tools/call", &params(arguments)).await;
        assert_eq!(says(&body)["error"]["data"]["reason"], "limit", "{}", says(&body));
    }
    let called = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "put", "arguments": {}}});
    let batch = json!([called(3), called(4)]).to_string();
    let mut connection = world.client(Protocol::H1).host("desk.localhost").connect().await;
    let request = connection.request("POST", "/mcp").header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream");
    let request = request.header("mcp-protocol-version", "2025-03-26");
    let both = Answer::of(connection.send(request.body(full(batch)).unwrap()).await).await.json();
    assert!((0..2).all(|call| both[call]["error"]["data"]["reason"] == "limit"), "{both}");
    eventually("the end of four tasks", || async {
        let heard = service.heard().into_iter().map(|heard| heard.json());
        let over = heard.filter(|message| message["method"] == "tasks/cancel");
        let mut over: Vec<Value> = over.map(|message| message["params"]["taskId"].clone()).collect();
        over.sort_by_key(ToString::to_string);
        (over == ["t-1", "t-2", "t-3", "t-4"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_a_batch_only_what_is_too_large_is_refused() {
    let service = Scripted::start(in_batches).await;
    let world = desk(&service).await;
    world.grant_with(SCOPE, &["--response-bytes", "100"]).await;
    let asked = |sizes: &[u32]| {
        let call = |(id, n): (usize, &u32)| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "put", "arguments": {"n": n}}});
        Value::from(sizes.iter().enumerate().map(call).collect::<Vec<_>>()).to_string()
    };
    let post = async |sizes: &[u32]| {
        let client = world.client(Protocol::H1).host("desk.localhost");
        let mut connection = client.connect().await;
        let request = connection.request("POST", "/mcp").header("content-type", "application/json");
        let request = request.header("accept", "application/json, text/event-stream");
        let request = request.header("mcp-protocol-version", "2025-03-26");
        Answer::of(connection.send(request.body(full(asked(sizes))).unwrap()).await).await
    };
    // More than its share, and more than all of their shares together.
    for size in [90, 900] {
        let answer = post(&[5, size, 7]).await;
        let answers = answer.json();
        assert_eq!((answer.status.as_u16(), answers.as_array().map(Vec::len)), (200, Some(3)), "{answers}");
        assert_eq!(answers[0]["result"]["x"], "xxxxx", "{answers}");
        let reason = &answers[1]["error"]["data"]["reason"];
        assert_eq!((&answers[1]["id"], reason), (&json!(1), &json!("limit")), "{answers}");
        assert_eq!(answers[2]["result"]["x"], "xxxxxxx", "{answers}");
    }
    let both = post(&[90, 91]).await.json();
    assert!((0..2).all(|call| both[call]["error"]["data"]["reason"] == "limit"), "{both}");
}

#[tokio::test]
async fn calls_above_what_may_run_at_once_are_refused_until_one_has_ended() {
    let service = Scripted::start(held).await;
    let world = desk(&service).await;
    world.grant_with(SCOPE, &["--concurrent", "2"]).await;
    let steps = async {
        eventually("both calls", || async { (service.count("tools/call") == 2).then_some(()) }).await;
        let (status, body, _) = call(&world, 3, r#"{"n":0}"#).await;
        let refused = says(&body);
        assert_eq!((status, &refused["id"]), (200, &json!(3)), "{refused}");
        assert_eq!(refused["error"]["data"]["reason"], "limit", "{refused}");
        assert_eq!(service.count("tools/call"), 2);
        // The other one still runs.
        service.tell("1");
        eventually("a place for another call", || async {
            let (_, body, _) = call(&world, 4, r#"{"n":0}"#).await;
            says(&body)["result"].is_object().then_some(())
        })
        .await;
        service.tell("2");
    };
    let (one, two) = (call(&world, 1, r#"{"n":1}"#), call(&world, 2, r#"{"n":2}"#));
    let (one, two, ()) = within("the end of both calls", async { tokio::join!(one, two, steps) }).await;
    for (_, body, whole) in [one, two] {
        assert!(whole && says(&body)["result"].is_object(), "{}", says(&body));
    }
}
