//! MCP where real servers are seldom: batches, streams that are gone on with, subscriptions, tasks, questions of the service, TLS behind.

use crate::harness::client::{Body, Connection, empty, full};
use crate::harness::pki::Authority;
use crate::harness::scripted::{Heard, Reply, Scripted};
use crate::harness::world::AGENT;
use crate::harness::{Answer, Protocol, Setup, World, eventually, within};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

const CHANGED: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";
const NEW: &str = "2025-11-25";

fn result(id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}})
}

fn desk(heard: &Heard) -> Reply {
    let message = heard.json();
    if heard.method == Method::GET {
        return Reply::Open(match heard.headers.get("last-event-id") {
            Some(_) => format!("id: next\ndata: {}\n\n", result(&json!(5))),
            None => CHANGED.to_owned(),
        });
    }
    if let Some(batch) = message.as_array() {
        let answers = batch.iter().filter_map(|message| message.get("id")).map(result);
        return Reply::Json(answers.collect());
    }
    let id = &message["id"];
    let params = &message["params"];
    match (message["method"].as_str().unwrap_or_default(), params["name"].as_str().unwrap_or_default()) {
        ("initialize", _) => {
            let server = json!({"name": "desk", "version": "1"});
            let found = json!({"protocolVersion": params["protocolVersion"], "capabilities": {}, "serverInfo": server});
            Reply::Session(json!({"jsonrpc": "2.0", "id": id, "result": found}), "s-1")
        }
        ("tools/call", "wait") => Reply::Open(format!("id: e-{id}\ndata: \n\n")),
        ("tools/call", "ask") => {
            let params = json!({"message": "sure?", "requestedSchema": {"type": "object", "properties": {}}});
            let question =
                json!({"jsonrpc": "2.0", "id": "q-1", "method": "elicitation/create", "params": params});
            Reply::Open(format!("data: {question}\n\n"))
        }
        ("tools/call", _) if params.get("task").is_some() => {
            let task = json!({"taskId": "t-1", "status": "working", "createdAt": "2026-01-01T00:00:00Z",
                "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttl": 60_000});
            Reply::Json(json!({"jsonrpc": "2.0", "id": id, "result": {"task": task}}))
        }
        ("tools/call", "lost") => {
            let error = json!({"code": -32_600, "message": "Session has been terminated"});
            Reply::Refused(404, json!({"jsonrpc": "2.0", "id": "server-error", "error": error}))
        }
        ("tools/call", "binary") => Reply::Json(
            json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "A=1\0B=2"}]}}),
        ),
        ("tasks/list", _) => {
            let tasks = json!([{"taskId": "t-0", "statusMessage": "somebody else's"}, {"taskId": "t-1"}]);
            Reply::Json(json!({"jsonrpc": "2.0", "id": id, "result": {"tasks": tasks}}))
        }
        // Answered when something is told.
        ("tasks/cancel", _) => Reply::Open(String::new()),
        ("subscriptions/listen", _) => Reply::Open(CHANGED.to_owned()),
        _ if id.is_null() || message.get("method").is_none() => Reply::Taken,
        _ => Reply::Json(result(id)),
    }
}

struct Desk {
    world: World,
    service: Scripted,
}

impl Desk {
    async fn start() -> Self {
        let service = Scripted::start(desk).await;
        let table =
            format!("[[service]]\nname = \"desk\"\nupstream = [\"mcp+http://{}/mcp\"]\n", service.address);
        Self { world: Setup::new().tables(&table).start().await, service }
    }

    async fn connect(&self) -> Connection {
        self.world.client(Protocol::H1).host("desk.localhost").connect().await
    }

    async fn open(&self, head: &[(&str, &str)], message: &Value) -> (Connection, Response<Incoming>) {
        let mut connection = self.connect().await;
        let request = posted(&connection, head, message);
        let response = connection.send(request).await;
        (connection, response)
    }

    async fn post(&self, head: &[(&str, &str)], message: &Value) -> Answer {
        let (_connection, response) = self.open(head, message).await;
        Answer::of(response).await
    }

    async fn get(&self, head: &[(&str, &str)]) -> (Connection, Response<Incoming>) {
        let mut connection = self.connect().await;
        let mut request = connection.request("GET", "/mcp").header("accept", "text/event-stream");
        for (name, value) in head {
            request = request.header(*name, *value);
        }
        let response = connection.send(request.body(empty()).unwrap()).await;
        (connection, response)
    }

    async fn session(&self, version: &str) {
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let answer = self.post(&[], &hello).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("mcp-session-id")),
            (200, Some("s-1")),
            "{answer:?}"
        );
    }
}

/// How often the service was told that a session is over.
fn ended(desk: &Desk) -> usize {
    desk.service.heard().iter().filter(|heard| heard.method == Method::DELETE).count()
}

fn posted(connection: &Connection, head: &[(&str, &str)], message: &Value) -> Request<Body> {
    let mut request = connection.request("POST", "/mcp").header("content-type", "application/json");
    request = request.header("accept", "application/json, text/event-stream");
    for (name, value) in head {
        request = request.header(*name, *value);
    }
    request.body(full(message.to_string())).unwrap()
}

fn own(version: &'static str) -> [(&'static str, &'static str); 2] {
    [("mcp-session-id", "s-1"), ("mcp-protocol-version", version)]
}

fn call(id: u32, name: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": {}}})
}

/// Reads a stream until this was said in it.
async fn until(body: &mut Incoming, part: &str) -> String {
    within(&format!("`{part}` in a stream"), async {
        let mut read = String::new();
        while !read.contains(part) {
            let frame = body.frame().await.unwrap_or_else(|| panic!("no `{part}` in {read}"));
            let frame = frame.unwrap_or_else(|error| panic!("{error} after {read}"));
            read.push_str(std::str::from_utf8(&frame.into_data().unwrap_or_default()).unwrap());
        }
        read
    })
    .await
}

/// Reads a stream until it breaks off.
async fn broken(mut body: Incoming) -> String {
    within("the end of a stream", async {
        let mut read = String::new();
        loop {
            match body.frame().await {
                Some(Ok(frame)) => {
                    read.push_str(std::str::from_utf8(&frame.into_data().unwrap_or_default()).unwrap())
                }
                Some(Err(_)) => return read,
                None => panic!("the stream ended as if it were whole: {read}"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn each_message_of_a_batch_is_decided() {
    const OLD: &str = "2025-03-26";
    let desk = Desk::start().await;
    let first = desk.world.grant("desk:tools/call:echo{*}").await;
    desk.session(OLD).await;
    let batch = json!([call(2, "echo"), {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}, call(3, "sum")]);
    let refused = desk.post(&own(OLD), &batch).await;
    let told = refused.json();
    assert_eq!((refused.status.as_u16(), told.as_array().map(Vec::len)), (200, Some(2)), "{told}");
    assert_eq!((&told[0]["id"], &told[1]["id"]), (&json!(2), &json!(3)), "{told}");
    let (other, cause) = (&told[0]["error"]["data"], &told[1]["error"]["data"]);
    assert!([other, cause].iter().all(|data| data["reason"] == "out_of_scope"), "{told}");
    assert!(other["detail"].as_str().unwrap().contains("the request with the id 3"), "{told}");
    assert_eq!((&cause["required"][0]["tools"], other.get("required")), (&json!(["sum"]), None), "{told}");
    let lines = eventually("the line of a refused batch", || async {
        let lines = desk.world.audit().into_iter().filter(|line| line["request_id"] == cause["request_id"]);
        Some(lines.collect::<Vec<_>>()).filter(|lines| !lines.is_empty())
    })
    .await;
    assert_eq!((lines.len(), &lines[0]["decision"], &lines[0]["status"]), (1, &json!("deny"), &json!(200)));
    // A message that is no request has no answer: those of the requests say that it was one.
    let unknown = json!({"jsonrpc": "2.0", "method": "notifications/of_nobody"});
    let refused = desk.post(&own(OLD), &json!([call(4, "echo"), unknown])).await.json();
    assert_eq!((&refused[0]["id"], refused.as_array().map(Vec::len)), (&json!(4), Some(1)), "{refused}");
    assert!(refused[0]["error"]["message"].as_str().unwrap().contains("no request"), "{refused}");
    let quiet = desk.post(&own(OLD), &json!([unknown])).await;
    assert_eq!((quiet.status.as_u16(), quiet.json().is_object()), (403, true), "{quiet:?}");
    let arrived = || desk.service.heard().into_iter().filter(|heard| heard.json().is_array()).count();
    assert_eq!(arrived(), 0, "nothing of a batch that is refused in part is forwarded");

    desk.world.grant("desk:tools/call:sum{*}").await;
    let answer = desk.post(&own(OLD), &batch).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!([result(&json!(2)), result(&json!(3))])));
    let forwarded = desk.service.heard().into_iter().find(|heard| heard.json().is_array()).unwrap();
    assert_eq!(forwarded.body, batch.to_string(), "byte for byte");

    desk.world.revoke(&first).await;
    let refused = desk.post(&own(OLD), &json!([call(4, "sum"), call(5, "echo")])).await;
    assert!(refused.json().to_string().contains("revoked"), "{refused:?}");
    assert_eq!(arrived(), 1);
}

#[tokio::test]
async fn an_error_under_an_id_of_nobody_keeps_its_status_and_a_result_may_hold_any_text() {
    let desk = Desk::start().await;
    desk.world.grant("desk:tools/call:*{*}").await;
    desk.session(NEW).await;
    let read = desk.post(&own(NEW), &call(3, "binary")).await;
    assert_eq!(
        (read.status.as_u16(), &read.json()["result"]["content"][0]["text"]),
        (200, &json!("A=1\0B=2"))
    );
    // Python's servers say so of a session that is gone: clients begin a new one by the status.
    let lost = desk.post(&own(NEW), &call(4, "lost")).await;
    assert_eq!((lost.status.as_u16(), &*lost.body), (404, &b""[..]), "{lost:?}");
}

#[tokio::test]
async fn a_call_that_its_caller_has_withdrawn_ends_though_the_service_keeps_its_stream_open() {
    let desk = Desk::start().await;
    desk.world.grant_with("desk:tools/call:*{*}", &["--concurrent", "1"]).await;
    desk.session(NEW).await;
    let (_connection, response) = desk.open(&own(NEW), &call(5, "wait")).await;
    let mut body = response.into_body();
    until(&mut body, "id: e-5").await;
    let full = desk.post(&own(NEW), &call(6, "echo")).await.json();
    assert_eq!(full["error"]["data"]["reason"], "limit", "{full}");
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    assert_eq!(desk.post(&own(NEW), &cancel).await.status, 202);
    // Servers of the TypeScript SDK answer nothing, and send a comment every 15 s.
    let ended = async { while body.frame().await.is_some_and(|frame| frame.is_ok()) {} };
    let comments = async {
        eventually("never", || async {
            desk.service.tell(": \n\n");
            None::<()>
        })
        .await
    };
    tokio::select! {
        () = ended => {}
        () = comments => {}
    }
    let free = desk.post(&own(NEW), &call(7, "echo")).await.json();
    assert_eq!(free, result(&json!(7)));
    let (_connection, response) = desk.get(&[own(NEW)[0], own(NEW)[1], ("last-event-id", "e-5")]).await;
    assert!(response.status().is_client_error(), "nobody goes on with it: {}", response.status());
}

#[tokio::test]
async fn a_stream_is_gone_on_with_while_the_grant_of_its_call_lives() {
    let desk = Desk::start().await;
    let wait = desk.world.grant("desk:tools/call:wait{*}").await;
    desk.world.grant("desk:tools/call:echo{*}").await;
    desk.session(NEW).await;
    for id in [5, 6] {
        let (connection, response) = desk.open(&own(NEW), &call(id, "wait")).await;
        let mut body = response.into_body();
        until(&mut body, &format!("id: e-{id}")).await;
        drop((body, connection));
    }
    // Only in its session, and only from what was said there.
    for head in [&[("last-event-id", "e-5")][..], &[own(NEW)[0], own(NEW)[1], ("last-event-id", "e-7")]] {
        let (_connection, response) = desk.get(head).await;
        assert!(response.status().is_client_error(), "{head:?}: {}", response.status());
    }
    let resume = |event| [own(NEW)[0], own(NEW)[1], ("last-event-id", event)];
    let (_connection, response) = desk.get(&resume("e-5")).await;
    assert_eq!(response.status(), 200);
    until(&mut response.into_body(), "\"id\":5").await;

    desk.world.revoke(&wait).await;
    let (_connection, response) = desk.get(&resume("e-6")).await;
    assert!(response.status().is_client_error(), "{}", response.status());
    let resumed =
        desk.service.heard().into_iter().filter(|heard| heard.headers.contains_key("last-event-id"));
    assert_eq!(resumed.count(), 1, "the service was asked for what lives alone");
    // The session goes on.
    assert_eq!(desk.post(&own(NEW), &call(8, "echo")).await.json(), result(&json!(8)));
}

#[tokio::test]
async fn a_subscription_lives_while_any_grant_for_the_service_does() {
    let desk = Desk::start().await;
    let first = desk.world.grant("desk:tools/call:echo{*}").await;
    let second = desk.world.grant_with("desk:tools/call:sum{*}", &["--ttl", "20m"]).await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"_meta": meta, "notifications": {"toolsListChanged": true}});
    let listen = json!({"jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen", "params": params});
    let head = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    let (_connection, response) = desk.open(&head, &listen).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    until(&mut body, "list_changed").await;
    // Whichever it runs under now, it goes on under the other.
    desk.world.revoke(&second).await;
    desk.service.tell(CHANGED);
    until(&mut body, "list_changed").await;
    let third = desk.world.grant("desk:tools/call:later{*}").await;
    desk.world.revoke(&first).await;
    desk.service.tell(CHANGED);
    until(&mut body, "list_changed").await;
    desk.world.revoke(&third).await;
    let words = broken(body).await;
    assert!(words.contains("\"id\":\"l\"") && words.contains("revoked"), "{words}");
    let (_connection, response) = desk.open(&head, &listen).await;
    assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
    assert_eq!(desk.service.count("subscriptions/listen"), 1);
}

#[tokio::test]
async fn a_session_lives_while_any_of_many_grants_does_that_it_began_with() {
    let desk = Desk::start().await;
    let kept = ["grant", "--principal", AGENT, "--task", "t-2", "--reason", "a test", "--ttl", "5m"];
    let kept = desk.world.cli(&[&kept[..], &["--scope", "desk:tools/call:keep{*}"]].concat()).await;
    for number in 0..8 {
        desk.world.grant(&format!("desk:tools/call:tool{number}{{*}}")).await;
    }
    desk.session(NEW).await;
    // All at once, and all of them live longer than the one that stays.
    desk.world.cli(&["revoke", "--task", "t-1", "--reason", "a test", "--wait"]).await;
    let answer = desk.post(&own(NEW), &call(2, "keep")).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, result(&json!(2))), "{answer:?}");
    assert_eq!(ended(&desk), 0, "the session goes on");
    // What comes later is not the access that it began with.
    desk.world.revoke(kept["id"].as_str().unwrap()).await;
    desk.world.grant("desk:tools/call:later{*}").await;
    assert_eq!(desk.post(&own(NEW), &call(3, "later")).await.status, 404);
}

#[tokio::test]
async fn a_task_belongs_to_the_grant_of_the_call_that_made_it() {
    let desk = Desk::start().await;
    let grant = desk.world.grant("desk:tools/call:build{*}").await;
    // Every method of tasks, and another call: none of it is the grant that made the task.
    desk.world
        .grant(r#"{"type":"mcp","locations":["desk"],"actions":["tasks/get","tasks/result","tasks/cancel","tasks/list"]}"#)
        .await;
    let other = desk.world.ca.svid("agent/other");
    let principal = AGENT.replace("demo", "other");
    let its = ["grant", "--principal", &principal, "--task", "t-2", "--reason", "a test", "--ttl", "10m"];
    let its = desk.world.cli(&[&its[..], &["--scope", "desk:tools/call:build{*}"]].concat()).await;
    desk.world.applied(&its["revision"]).await;
    desk.session(NEW).await;
    let mut made = call(2, "build");
    made["params"]["task"] = json!({"ttl": 60_000});
    let answer = desk.post(&own(NEW), &made).await;
    assert_eq!(answer.json()["result"]["task"]["taskId"], "t-1", "{answer:?}");
    let about = |id: u32, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"taskId": "t-1"}});
    for (id, method) in [(3, "tasks/get"), (4, "tasks/result")] {
        assert_eq!(desk.post(&own(NEW), &about(id, method)).await.json(), result(&json!(id)), "{method}");
    }
    // The service takes all callers of the gate for one: what it lists is not all this caller's.
    let list = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "tasks/list"});
    assert_eq!(desk.post(&own(NEW), &list(10)).await.json()["result"]["tasks"], json!([{"taskId": "t-1"}]));
    // Another principal with the same access knows the handle.
    let version = [own(NEW)[1]];
    let mut stolen = desk.world.client_as(Some(&other), Protocol::H1).host("desk.localhost").connect().await;
    let request = posted(&stolen, &version, &about(5, "tasks/result"));
    let refused = Answer::of(stolen.send(request).await).await;
    let told = refused.json();
    let data = &told["error"]["data"];
    assert_eq!((&data["reason"], data.get("required")), (&json!("out_of_scope"), None), "{told}");
    assert!(data["detail"].as_str().unwrap().contains("no call of yours is known"), "{told}");

    desk.world.revoke(&grant).await;
    for (id, method) in [(6, "tasks/get"), (7, "tasks/result")] {
        let refused = desk.post(&own(NEW), &about(id, method)).await;
        assert!(refused.json()["error"]["data"]["reason"].is_string(), "{method}: {refused:?}");
        // There is nothing to ask for.
        assert!(!refused.json().to_string().contains("required"), "{method}: {refused:?}");
    }
    assert_eq!(desk.post(&own(NEW), &list(11)).await.json()["result"]["tasks"], json!([]));
    assert_eq!((desk.service.count("tasks/get"), desk.service.count("tasks/result")), (1, 1));
    assert_eq!(desk.service.hears("tasks/cancel").await["params"]["taskId"], "t-1");
}

#[tokio::test]
async fn a_session_ends_at_the_service_after_its_tasks() {
    let desk = Desk::start().await;
    let grant = desk.world.grant("desk:tools/call:build{*}").await;
    desk.session(NEW).await;
    let mut made = call(2, "build");
    made["params"]["task"] = json!({"ttl": 60_000});
    let answer = desk.post(&own(NEW), &made).await;
    assert_eq!(answer.json()["result"]["task"]["taskId"], "t-1", "{answer:?}");
    desk.world.revoke(&grant).await;
    assert_eq!(desk.service.hears("tasks/cancel").await["params"]["taskId"], "t-1");
    // Takes longer than the end of a session that waits for nothing.
    desk.world.grant("desk:tools/call:other{*}").await;
    assert_eq!(ended(&desk), 0, "before the service has answered");
    desk.service.tell("data: {}\n\n");
    eventually("the end of the session", || async { (ended(&desk) == 1).then_some(()) }).await;
    assert_eq!(desk.service.count("tasks/cancel"), 1);
}

#[tokio::test]
async fn how_a_task_stands_is_told_to_whom_it_belongs_while_its_grant_lives_and_within_its_limit() {
    let desk = Desk::start().await;
    let grant = desk.world.grant_with("desk:tools/call:build{*}", &["--response-bytes", "250"]).await;
    desk.world.grant_with("desk:tools/call:echo{*}", &["--ttl", "20m"]).await;
    desk.session(NEW).await;
    let (_connection, response) = desk.get(&own(NEW)).await;
    let mut stream = response.into_body();
    until(&mut stream, "list_changed").await;
    let stands = |task: &str, method: &str, says: &str| {
        let params = json!({"taskId": task, "status": "completed", "statusMessage": says});
        let told = json!({"jsonrpc": "2.0", "method": method, "params": params});
        desk.service.tell(&format!("data: {told}\n\n"));
    };
    // Nobody here made it yet.
    stands("t-1", "notifications/tasks/status", "early");
    desk.service.tell(CHANGED);
    let told = until(&mut stream, "list_changed").await;
    assert!(!told.contains("early"), "{told}");
    let mut made = call(2, "build");
    made["params"]["task"] = json!({"ttl": 60_000});
    desk.post(&own(NEW), &made).await;
    stands("t-2", "notifications/tasks", "somebody-elses");
    stands("t-1", "notifications/tasks", &"too-large".repeat(30));
    stands("t-1", "notifications/tasks/status", "own");
    let told = until(&mut stream, "own").await;
    assert!(["somebody-elses", "too-large"].iter().all(|other| !told.contains(other)), "{told}");
    desk.world.revoke(&grant).await;
    stands("t-1", "notifications/tasks", "after-its-end");
    desk.service.tell(CHANGED);
    let told = until(&mut stream, "list_changed").await;
    assert!(!told.contains("after-its-end"), "{told}");
}

#[tokio::test]
async fn what_the_service_asked_is_answered_once_and_nothing_else_is() {
    let desk = Desk::start().await;
    desk.world.grant("desk:tools/call:ask{*}").await;
    desk.session(NEW).await;
    let answer = |id: &str| json!({"jsonrpc": "2.0", "id": id, "result": {"action": "decline"}});
    let early = desk.post(&own(NEW), &answer("q-1")).await;
    assert_eq!(early.status, 403, "{early:?}");
    let (_connection, response) = desk.open(&own(NEW), &call(2, "ask")).await;
    let mut body = response.into_body();
    until(&mut body, "elicitation/create").await;
    for (id, status) in [("q-2", 403), ("q-1", 202), ("q-1", 403)] {
        let told = desk.post(&own(NEW), &answer(id)).await;
        assert_eq!(told.status, status, "{id}: {told:?}");
    }
    let arrived = desk.service.heard().into_iter().filter(|heard| heard.json().get("result").is_some());
    assert_eq!(arrived.map(|heard| heard.json()).collect::<Vec<_>>(), [answer("q-1")]);
    desk.service.tell(&format!("data: {}\n\n", result(&json!(2))));
    until(&mut body, "\"id\":2").await;
}

#[tokio::test]
async fn a_service_of_mcp_behind_tls_is_called_like_any_other() {
    let theirs = Authority::new("the service's CA");
    let service = Scripted::start_tls(desk, &theirs.server("service/desk", [127, 0, 0, 1].into())).await;
    let at = service.address;
    let table = |name: &str, ca: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nupstream = [\"mcp+https://{at}/mcp\"]\nupstream_ca = \"{ca}\"\n"
        )
    };
    let tables = [table("desk", "theirs.pem"), table("doubtful", "ca.pem")].concat();
    let mut world = Setup::new().tables(&tables).prepare().await;
    std::fs::write(world.path("theirs.pem"), theirs.pem()).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    world.grant("desk:tools/call:echo{*}").await;
    world.grant("doubtful:tools/call:echo{*}").await;
    let desk = Desk { world, service };
    desk.session(NEW).await;
    assert_eq!(desk.post(&own(NEW), &call(2, "echo")).await.json(), result(&json!(2)));
    let (_connection, response) = desk.get(&own(NEW)).await;
    until(&mut response.into_body(), "list_changed").await;
    // One whose certificate does not hold is told nothing.
    let mut connection = desk.world.client(Protocol::H1).host("doubtful.localhost").connect().await;
    let request = posted(&connection, &own(NEW)[1..], &call(3, "echo"));
    let answer = Answer::of(connection.send(request).await).await;
    assert!(answer.json()["error"]["data"]["reason"] == "upstream_unavailable", "{answer:?}");
    assert_eq!(desk.service.count("tools/call"), 1);
    eventually("the cause in the trail", || async {
        desk.world.audit().into_iter().find(|line| line["service"] == "doubtful" && line["cause"] == "tls")
    })
    .await;
}
