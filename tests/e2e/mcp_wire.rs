//! MCP as it stands on the wire: what is refused, whose a session is, what strangers see.

use crate::harness::client::{Connection, empty, full};
use crate::harness::pki::Leaf;
use crate::harness::scripted::{Heard, Reply, Scripted};
use crate::harness::tools::Tools;
use crate::harness::world::AGENT;
use crate::harness::{Answer, Client, Protocol, Setup, World, eventually};
use serde_json::{Value, json};

/// Header fields that are added to a request.
type Head<'h> = &'h [(&'h str, &'h str)];

const JSON: &str = "application/json";
const BOTH: &str = "application/json, text/event-stream";

struct Ledger {
    world: World,
    tools: Tools,
}

impl Ledger {
    async fn before(tools: Tools, more: &str) -> Self {
        let mut world = Setup::new().prepare().await;
        world.append_config(&format!(
            "[[service]]\nname = \"ledger\"\nupstream = [\"mcp+http://127.0.0.1:{}/mcp\"]\n{more}",
            tools.port
        ));
        world.start_control().await;
        world.start_proxy().await;
        Self { world, tools }
    }

    fn client_as(&self, leaf: &Leaf, name: &str) -> Client {
        let host = format!("{name}.localhost");
        Client::new(&self.world.ca, Some(leaf), self.world.listener(), &host, Protocol::H1)
    }

    async fn connect(&self) -> Connection {
        self.client_as(&self.world.agent, "ledger").connect().await
    }

    /// A session of the agent, initialized.
    async fn session(&self) -> String {
        let answer = post(&mut self.connect().await, &[], &initialize()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("mcp-session-id").unwrap().to_owned()
    }
}

fn initialize() -> String {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string()
}

fn echo(id: u32) -> String {
    let params = json!({"name": "echo", "arguments": {"message": "hi"}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

async fn post(connection: &mut Connection, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = connection.request("POST", "/mcp");
    for (name, value) in [("content-type", JSON), ("accept", BOTH)] {
        if !headers.iter().any(|(given, _)| *given == name) {
            request = request.header(name, value);
        }
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(connection.send(request.body(full(body.to_owned())).unwrap()).await).await
}

#[tokio::test]
async fn what_has_two_readings_never_reaches_the_service() {
    let ledger = Ledger::before(Tools::ops().await, "[service.mcp]\nmessage_bytes = 4096\n").await;
    ledger.world.grant("ledger:tools/call:drop_database,restart_service{*}").await;
    let call = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"drop_database","arguments":{arguments}}}}}"#
        )
    };
    let plain = call(r#"{"name":"x"}"#);
    let mark = format!("\u{feff}{plain}");
    let large = call(&format!(r#"{{"name":"{}"}}"#, "x".repeat(5_000)));
    let deep = call(&format!(r#"{{"name":{}1{}}}"#, "[".repeat(70), "]".repeat(70)));
    let batch = format!("[{plain}]");
    let bodies: [(&str, u16); 14] = [
        (&call(r#"{"name":"x","name":"y"}"#), 400),
        (&call(r#"{"a":{"b":1,"b":2}}"#), 400),
        (&plain.replace(r#""method""#, r#""Method":"ping","method""#), 400),
        (&plain.replace(r#""method""#, r#""m\u0065thod":"ping","method""#), 400),
        (&plain.replace(r#""name":"drop"#, r#""ｎame":"x","name":"drop"#), 400),
        (&format!("{plain}{plain}"), 400),
        (&mark, 400),
        (&call(r#"{"name":NaN}"#), 400),
        (&call(r#"{"name":1e400}"#), 400),
        (&deep, 413),
        (&large, 413),
        (&batch, 400),
        ("", 400),
        ("null", 400),
    ];
    for (body, status) in bodies {
        let answer = post(&mut ledger.connect().await, &[("mcp-protocol-version", "2025-11-25")], body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.json()["error"]["code"].is_i64(), "{body}: {answer:?}");
    }
    let new = ("mcp-protocol-version", "2026-07-28");
    let stateless = plain.replace(
        r#""params":{"#,
        r#""params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"#,
    );
    let method = ("mcp-method", "tools/call");
    let heads: [Head<'_>; 9] = [
        &[("content-type", "text/plain")],
        &[("content-type", "application/json; charset=latin1")],
        &[("content-encoding", "gzip")],
        &[("origin", "https://evil.example")],
        &[new, method, ("mcp-name", "restart_service")],
        &[new, method],
        &[new, ("mcp-method", "tools/list"), ("mcp-name", "drop_database")],
        &[new, method, ("mcp-name", "drop_database"), ("mcp-session-id", "s")],
        &[new, method, ("mcp-name", "drop_database"), ("mcp_name", "restart_service")],
    ];
    for head in heads {
        let answer = post(&mut ledger.connect().await, head, &stateless).await;
        assert!(matches!(answer.status.as_u16(), 400 | 403 | 404), "{head:?}: {answer:?}");
    }
    assert!(ledger.tools.said().iter().all(|line| line["did"].is_null()), "{:?}", ledger.tools.said());
    // The same with one reading goes through.
    let head = [new, method, ("mcp-name", "drop_database")];
    let answer = post(&mut ledger.connect().await, &head, &stateless).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    ledger.tools.says(&json!({"did": "drop_database", "name": "x"})).await;
}

/// Two tools; one wants one of its two arguments repeated.
fn declares(heard: &Heard) -> Reply {
    let message = heard.json();
    let server = json!({"type": "string", "x-mcp-header": "Server"});
    let schema = json!({"type": "object", "properties": {"service": {"type": "string"}, "server": server}});
    let result = match message["method"] == "tools/list" {
        true => json!({"resultType": "complete", "tools": [
            {"name": "restart", "inputSchema": schema},
            {"name": "other", "inputSchema": {"type": "object"}}]}),
        false => json!({"resultType": "complete", "content": []}),
    };
    Reply::Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
}

#[tokio::test]
async fn a_header_repeats_the_argument_that_its_tool_declares() {
    let service = Scripted::start(declares).await;
    let table =
        format!("[[service]]\nname = \"desk\"\nupstream = [\"mcp+http://{}/mcp\"]\n", service.address);
    let world = Setup::new().tables(&table).start().await;
    // Two uses: one that is refused for its headers takes none.
    world.grant_with("desk:tools/call:restart{*}", &["--max-uses", "2"]).await;
    let other = world.ca.svid("agent/other");
    let scope = ["--scope", "desk:tools/call:other{*}", "--reason", "a test", "--ttl", "10m"];
    let principal = AGENT.replace("demo", "other");
    let its = world.cli(&[&["grant", "--principal", &principal, "--task", "t-2"], &scope[..]].concat()).await;
    world.applied(&its["revision"]).await;

    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let new = ("mcp-protocol-version", "2026-07-28");
    let call = json!({"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": {
        "name": "restart", "arguments": {"service": "billing", "server": "srv-7"}, "_meta": meta}})
    .to_string();
    let head = [new, ("mcp-method", "tools/call"), ("mcp-name", "restart")];

    // The list of whoever asks shows what it may call; what the tools declare is learnt from all of it.
    let its = world.client_as(Some(&other), Protocol::H1).host("desk.localhost");
    let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"_meta": meta}});
    let alone = [new, ("mcp-method", "tools/list")];
    let listed = post(&mut its.connect().await, &alone, &list.to_string()).await.json();
    assert_eq!(listed["result"]["tools"], json!([{"name": "other", "inputSchema": {"type": "object"}}]));

    let own = world.client(Protocol::H1).host("desk.localhost");
    let wrong: [Head<'_>; 4] = [
        &[],
        &[("mcp-param-server", "billing")],
        &[("mcp-param-service", "billing")],
        &[("mcp-param-server", "srv-7"), ("mcp-param-service", "billing")],
    ];
    for said in wrong {
        let refused = post(&mut own.connect().await, &[&head[..], said].concat(), &call).await;
        let (status, refused) = (refused.status.as_u16(), refused.json());
        assert_eq!((status, &refused["id"]), (400, &json!(8)), "{said:?}: {refused}");
        assert_eq!(refused["error"]["code"], -32_020, "{said:?}: {refused}");
        // Who may not call it is not told what it declares.
        let denied = post(&mut its.connect().await, &[&head[..], said].concat(), &call).await.json();
        assert_eq!(denied["error"]["data"]["reason"], "out_of_scope", "{said:?}: {denied}");
    }
    assert_eq!(service.count("tools/call"), 0);
    for server in ["srv-7", "=?base64?c3J2LTc=?="] {
        let head = [head[0], head[1], head[2], ("mcp-param-server", server)];
        let answer = post(&mut own.connect().await, &head, &call).await;
        assert_eq!(answer.json()["result"]["resultType"], "complete", "{answer:?}");
    }
    assert_eq!(service.count("tools/call"), 2);
}

#[tokio::test]
async fn a_session_is_its_openers_alone_and_ends_with_its_access() {
    let ledger = Ledger::before(Tools::everything().await, "").await;
    let world = &ledger.world;
    let grant = world.grant("ledger:tools/call:echo{*}").await;
    let session = ledger.session().await;
    let own = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let answer = post(&mut ledger.connect().await, &own, &echo(2)).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    // Another agent with the same access, and the id that it has seen somewhere.
    let other = world.ca.svid("agent/other");
    let principal = AGENT.replace("demo", "other");
    let scope = ["--scope", "ledger:tools/call:echo{*}", "--reason", "a test", "--ttl", "10m"];
    let its = world.cli(&[&["grant", "--principal", &principal, "--task", "t-2"], &scope[..]].concat()).await;
    world.applied(&its["revision"]).await;
    let mut stolen = ledger.client_as(&other, "ledger").connect().await;
    let answer = post(&mut stolen, &own, &echo(3)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["id"]), (404, &Value::Null), "{answer:?}");
    let request = stolen.request("DELETE", "/mcp").header("mcp-session-id", &session);
    let ended = Answer::of(stolen.send(request.body(empty()).unwrap()).await).await;
    assert_eq!(ended.status, 404);
    let invented = [("mcp-session-id", "00000000-0000-0000-0000-000000000000"), own[1]];
    let none = post(&mut stolen, &invented, &echo(3)).await;
    assert_eq!(
        (none.status, none.json()["error"]["code"].clone()),
        (answer.status, answer.json()["error"]["code"].clone())
    );

    // What the service did not ask is not answered.
    let response = json!({"jsonrpc": "2.0", "id": 77, "result": {}}).to_string();
    let answer = post(&mut ledger.connect().await, &own, &response).await;
    assert_eq!(answer.status, 403, "{answer:?}");

    // Access ends; other access does not bring the session back.
    let request = ledger.connect().await;
    let mut stream = request;
    let get = stream.request("GET", "/mcp").header("accept", "text/event-stream");
    let get = get.header("mcp-session-id", &session).header("mcp-protocol-version", "2025-11-25");
    let open = stream.send(get.body(empty()).unwrap()).await;
    assert_eq!(open.status(), 200);
    world.revoke(&grant).await;
    let broken = http_body_util::BodyExt::collect(open.into_body()).await;
    assert!(broken.is_err(), "the stream of a session without access breaks off");
    world.grant("ledger:tools/call:echo{*}").await;
    let answer = post(&mut ledger.connect().await, &own, &echo(4)).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    let again = ledger.session().await;
    assert_ne!(again, session);
}

#[tokio::test]
async fn a_stream_of_a_session_lives_while_any_grant_does() {
    let ledger = Ledger::before(Tools::everything().await, "").await;
    let first = ledger.world.grant("ledger:tools/call:echo{*}").await;
    let second = ledger.world.grant_with("ledger:tools/call:get-sum{*}", &["--ttl", "20m"]).await;
    let session = ledger.session().await;
    let mut stream = ledger.connect().await;
    let get = stream.request("GET", "/mcp").header("accept", "text/event-stream");
    let get = get.header("mcp-session-id", &session).header("mcp-protocol-version", "2025-11-25");
    let open = stream.send(get.body(empty()).unwrap()).await;
    for grant in [&second, &first] {
        let ends = || {
            ledger
                .world
                .audit()
                .into_iter()
                .filter(|line| line["method"] == "GET" && line["kind"] == "end")
                .count()
        };
        assert_eq!(ends(), 0, "before {grant} ended");
        let receipt = ledger.world.revoke(grant).await;
        assert_eq!(receipt["effective"], true, "{receipt}");
    }
    assert!(http_body_util::BodyExt::collect(open.into_body()).await.is_err());
    let line = eventually("the end of the stream", || async {
        ledger.world.audit().into_iter().find(|line| line["method"] == "GET" && line["kind"] == "end")
    })
    .await;
    assert_eq!((&line["end"], &line["cause"]), (&json!("cut"), &json!("revoked")), "{line}");
}

#[tokio::test]
async fn lists_say_how_to_ask_where_that_is_configured_and_the_same_to_everybody() {
    let rules = "[service.mcp]\nlist_hint = true\nrequestable = [\"ledger:tools/call:get-env{*}\"]\n";
    let list = r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#;
    let version = ("mcp-protocol-version", "2025-11-25");
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let stateless =
        json!({"jsonrpc": "2.0", "id": 5, "method": "tools/list", "params": {"_meta": meta}}).to_string();
    // Answers with event streams, and with JSON; each tool that is granted is another.
    let (streams, json) = tokio::join!(Tools::everything(), Tools::ops());
    let mut said = Vec::new();
    for (tools, tool, media) in [(streams, "echo", "text/event-stream"), (json, "drop_database", JSON)] {
        let ledger = Ledger::before(tools, rules).await;
        ledger.world.grant(&format!("ledger:tools/call:{tool}{{*}}")).await;
        let session = if tool == "echo" { ledger.session().await } else { String::new() };
        let own = [version, ("mcp-session-id", session.as_str())];
        let alone = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
        let (head, body) = if session.is_empty() { (alone, stateless.as_str()) } else { (own, list) };
        let answer = post(&mut ledger.connect().await, &head, body).await;
        assert!(answer.header("content-type").is_some_and(|value| value.starts_with(media)), "{answer:?}");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let text = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap_or(&text);
        let result = serde_json::from_str::<Value>(text).unwrap()["result"].take();
        let tools: Vec<_> = result["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
        assert_eq!(tools, [tool]);
        let hint = result["_meta"]["io.jitgate/access"].clone();
        assert_eq!((&hint["filtered"], &hint["tool"]), (&json!(true), &json!("request_access")), "{result}");
        assert_eq!(hint["requestable"][0]["tools"], json!(["get-env"]), "{result}");
        said.push(hint);
        // Nothing is said to whom it is not a service.
        let other = ledger.world.ca.svid("agent/other");
        let answer = post(&mut ledger.client_as(&other, "ledger").connect().await, &[version], list).await;
        assert!(!format!("{answer:?}").contains("get-env"), "{answer:?}");
    }
    assert_eq!(said[0], said[1]);
}

#[tokio::test]
async fn strangers_of_mcp_learn_nothing() {
    let ledger = Ledger::before(Tools::ops().await, "").await;
    let version = ("mcp-protocol-version", "2026-07-28");
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let call = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": {"name": "drop_database", "arguments": {"name": "x"}, "_meta": meta}});
    let discover =
        json!({"jsonrpc": "2.0", "id": "d", "method": "server/discover", "params": {"_meta": meta}});
    let requests: [(Head<'_>, String, u16); 8] = [
        (&[version, ("mcp-method", "tools/call"), ("mcp-name", "drop_database")], call.to_string(), 200),
        (&[version, ("mcp-method", "server/discover")], discover.to_string(), 404),
        (&[], initialize(), 200),
        (&[("mcp-session-id", "s")], echo(3), 200),
        (&[("mcp-protocol-version", "2025-03-26")], format!("[{}]", echo(3)), 403),
        (&[], "{".to_owned(), 403),
        (&[], r#"{"model":"x","stream":true}"#.to_owned(), 403),
        (&[("content-type", "text/plain")], echo(3), 403),
    ];
    for (headers, body, status) in requests {
        let mut answers = Vec::new();
        // A service of MCP, one of HTTP, and none.
        for name in ["ledger", "orders", "ordars"] {
            let mut connection = ledger.client_as(&ledger.world.agent, name).connect().await;
            let answer = post(&mut connection, headers, &body).await;
            let mut json = answer.json();
            for place in ["/request_id", "/error/data/request_id"] {
                json.pointer_mut(place).map(Value::take);
            }
            answers.push((answer.status.as_u16(), json.to_string().replace(name, "NAME")));
        }
        assert_eq!(answers[0].0, status, "{answers:?}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    for name in ["ledger", "orders", "ordars"] {
        let answer = ledger
            .client_as(&ledger.world.agent, name)
            .get("/.well-known/oauth-protected-resource/mcp")
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["resource"], format!("https://{name}.localhost/mcp"));
    }
    assert!(ledger.tools.said().iter().all(|line| line["did"].is_null()));
}

#[tokio::test]
async fn a_caller_with_a_token_is_refused_in_the_form_of_mcp_authorization() {
    let ledger = Ledger::before(Tools::everything().await, "").await;
    ledger.world.grant("ledger:tools/call:get-sum{*}").await;
    let session = ledger.session().await;
    let head = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2025-11-25"),
        ("authorization", "Bearer of-somebody-else"),
    ];
    let answer = post(&mut ledger.connect().await, &head, &echo(2)).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let challenge = answer.header("www-authenticate").unwrap();
    for part in [
        "Bearer error=\"insufficient_scope\"",
        "scope=\"ledger:tools/call:echo\"",
        "resource_metadata=\"https://ledger.localhost/.well-known/oauth-protected-resource/mcp\"",
    ] {
        assert!(challenge.contains(part), "{part} in {challenge}");
    }
    assert_eq!(answer.json()["error"]["data"]["reason"], "out_of_scope");
}

#[tokio::test]
async fn what_belongs_to_a_call_belongs_to_nobody_else() {
    let ledger = Ledger::before(Tools::everything().await, "").await;
    let world = &ledger.world;
    world
        .grant(
            r#"{"type":"mcp","locations":["ledger"],"actions":["tasks/get","tasks/result","tasks/cancel"]}"#,
        )
        .await;
    world.grant("ledger:tools/call:echo{*}").await;
    let slow = world.grant("ledger:tools/call:trigger-long-running-operation{*}").await;
    let session = ledger.session().await;
    let own = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];

    // A task that no call of this caller is known to have made, though the method is granted.
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        let body =
            json!({"jsonrpc": "2.0", "id": 2, "method": method, "params": {"taskId": "somebody-elses"}});
        let answer = post(&mut ledger.connect().await, &own, &body.to_string()).await;
        assert_eq!(answer.json()["error"]["data"]["reason"], "out_of_scope", "{method}: {answer:?}");
    }
    // A list is no task, and nothing is cancelled that does not run here.
    let list = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": {"task": {}}}).to_string();
    assert_eq!(post(&mut ledger.connect().await, &own, &list).await.status, 400);
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}})
        .to_string();
    assert_eq!(post(&mut ledger.connect().await, &own, &cancel).await.status, 400);

    // The id of a call that was cut: the service may still answer it, so nothing else goes by it.
    let params =
        json!({"name": "trigger-long-running-operation", "arguments": {"duration": 300, "steps": 3}});
    let body = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params}).to_string();
    let mut running = ledger.connect().await;
    let mut request = running.request("POST", "/mcp").header("content-type", JSON).header("accept", BOTH);
    for (name, value) in own {
        request = request.header(name, value);
    }
    let open = running.send(request.body(full(body)).unwrap()).await;
    assert_eq!(open.status(), 200);
    world.revoke(&slow).await;
    let again = post(&mut ledger.connect().await, &own, &echo(5)).await;
    assert_eq!(again.status, 400, "{again:?}");
    let other = post(&mut ledger.connect().await, &own, &echo(6)).await;
    assert_eq!(other.status, 200, "{other:?}");
}

#[tokio::test]
async fn a_grant_for_http_permits_nothing_at_a_service_of_mcp() {
    let ledger = Ledger::before(Tools::ops().await, "").await;
    ledger.world.grant("ledger:POST,GET,DELETE:/**").await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "drop_database", "arguments": {"name": "x"}}});
    let answer = post(&mut ledger.connect().await, &[], &call.to_string()).await;
    assert!(answer.json()["error"]["data"]["reason"].is_string(), "{answer:?}");
    let answer = post(&mut ledger.connect().await, &[("accept", "*/*")], &call.to_string()).await;
    assert!(answer.json()["error"]["data"]["reason"].is_string(), "{answer:?}");
    assert!(ledger.tools.said().iter().all(|line| line["did"].is_null()));
}

#[tokio::test]
async fn calls_are_counted_by_their_grant_and_the_handshake_is_not() {
    let ledger = Ledger::before(Tools::everything().await, "").await;
    ledger.world.grant_with("ledger:tools/call:echo{*}", &["--max-uses", "2"]).await;
    ledger.world.grant("ledger:tools/call:get-sum{*}").await;
    let session = ledger.session().await;
    let own = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let list = json!({"jsonrpc": "2.0", "id": 90, "method": "tools/list"}).to_string();
    for (id, reason) in [(2, None), (3, None), (4, Some("limit")), (5, Some("limit"))] {
        let listed = post(&mut ledger.connect().await, &own, &list).await;
        assert_eq!(listed.status, 200, "{listed:?}");
        let text = String::from_utf8_lossy(&listed.body);
        assert_eq!(text.contains("\"name\":\"echo\""), reason.is_none(), "{id}: {text}");
        assert!(text.contains("\"name\":\"get-sum\""), "{id}: {text}");
        let answer = post(&mut ledger.connect().await, &own, &echo(id)).await;
        match reason {
            None => {
                assert!(answer.body.starts_with(b"event:") || answer.body.starts_with(b"id:"), "{answer:?}")
            }
            Some(reason) => assert_eq!(answer.json()["error"]["data"]["reason"], reason, "{answer:?}"),
        }
    }
}

#[tokio::test]
async fn only_the_versions_that_are_configured_are_spoken() {
    let ledger = Ledger::before(Tools::ops().await, "[service.mcp]\nversions = [\"2026-07-28\"]\n").await;
    ledger.world.grant("ledger:tools/call:drop_database{*}").await;
    let answer = post(&mut ledger.connect().await, &[], &initialize()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]["code"]),
        (400, &json!(-32_022)),
        "{answer:?}"
    );
    assert_eq!(answer.json()["error"]["data"]["supported"], json!(["2026-07-28"]), "{answer:?}");
    let old = ("mcp-protocol-version", "2025-06-18");
    let answer = post(&mut ledger.connect().await, &[old], &echo(1)).await;
    assert_eq!(answer.json()["error"]["code"], -32_022, "{answer:?}");
    let new = ("mcp-protocol-version", "2026-07-28");
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let call = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": {"name": "drop_database", "arguments": {"name": "x"}, "_meta": meta}});
    let head = [new, ("mcp-method", "tools/call"), ("mcp-name", "drop_database")];
    let answer = post(&mut ledger.connect().await, &head, &call.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Clients that probe give up after 401, 403 and 5xx, and go on after 404.
#[tokio::test]
async fn a_probe_is_never_refused_so_that_a_client_gives_up() {
    let ledger = Ledger::before(Tools::ops().await, "").await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let probe = json!({"jsonrpc": "2.0", "id": "p", "method": "server/discover", "params": {"_meta": meta}})
        .to_string();
    let head = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "server/discover")];
    let foreign = [head[0], head[1], ("origin", "https://evil.example")];
    let token = [head[0], head[1], ("authorization", "Bearer x.y.z")];
    let answers = async || {
        let mut found = Vec::new();
        for fields in [&head[..], &foreign, &token] {
            for body in [&*probe, "{"] {
                let answer = post(&mut ledger.connect().await, fields, body).await;
                found.push((fields.len(), body == "{", answer.status.as_u16()));
            }
        }
        found
    };
    // Without a grant, and with one that is over.
    let gives_up = |status: u16| matches!(status, 401 | 403 | 500..);
    let found = answers().await;
    assert!(found.iter().all(|(_, _, status)| !gives_up(*status)), "{found:?}");
    let grant = ledger.world.grant("ledger:tools/call:drop_database{*}").await;
    ledger.world.revoke(&grant).await;
    let found = answers().await;
    assert!(found.iter().all(|(_, _, status)| !gives_up(*status)), "{found:?}");
}
