//! What is said under a grant that demands a recording is recorded, without secrets, for the holder of the key alone; what must be
//! recorded and cannot is refused.

use crate::harness::client::{Connection, full};
use crate::harness::world::age_key;
use crate::harness::{Answer, Protocol, Setup, World, asked, eventually, with, within};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const POLICIES: &str = r#"
@id("breaks-glass")
permit (principal, action == Action::"request", resource) when { context.emergency };
@id("arguments")
@recording("arguments")
permit (principal, action == Action::"request", resource) when { context.method == "PUT" };
"#;

async fn world(setup: Setup) -> World {
    setup.decided_by("", POLICIES).await.start_both().await
}

async fn break_glass(world: &World, action: &str, path: &str) -> Value {
    let wanted = with(asked("FIRE-1", action, path), "emergency", json!(true));
    let request = world.ask(&world.agent, &wanted).await;
    world.granted(&request).await
}

async fn post(connection: &mut Connection, path: &str, kind: &str, body: &str) -> Answer {
    let request = connection.request("POST", path).header("content-type", kind);
    Answer::of(connection.send(request.body(full(body.to_owned())).unwrap()).await).await
}

/// Files in the folder of recordings.
fn recordings(world: &World) -> Vec<PathBuf> {
    let days = std::fs::read_dir(world.path("audit/recordings")).unwrap().map(|day| day.unwrap().path());
    let files = days.filter(|day| day.is_dir()).flat_map(|day| std::fs::read_dir(day).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

async fn show(world: &World, line: &Value, more: &[&str]) -> Output {
    let id = line["request_id"].as_str().unwrap();
    let fixed = ["audit", "show", id, "--file", "audit/audit.jsonl"];
    let mut command = Command::new(crate::harness::world::JITGATE);
    command.args(fixed).args(more).current_dir(world.path(""));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What `audit show` opens.
async fn opened(world: &World, line: &Value) -> Value {
    let output = show(world, line, &["--key", "key.txt", "--output", "json"]).await;
    assert!(output.status.success(), "{output:?}");
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(shown["lines"].as_array().unwrap().contains(line), "{shown}");
    shown["recording"].clone()
}

/// What the standard tool opens.
fn by_age(world: &World, key: &str, file: &Path) -> Output {
    Command::new("age").arg("-d").arg("-i").arg(world.path(key)).arg(file).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn what_is_said_under_break_glass_opens_with_the_key_alone_and_holds_no_secret() {
    let redact =
        "redact = { keys = [\"iban\"], pointers = [\"/card/number\"], patterns = [\"cust-[0-9]{6}\"] }";
    let world = world(Setup::new().recorded_with(redact)).await;
    break_glass(&world, "POST", "/json").await;
    let body = r#"{"order":7,"pass\u0077ord":"hunter2","IBAN":"hunter2","card":{"number":"hunter2"},"note":"for cust-123456","password":"hunter2"}"#;
    for (number, protocol) in Protocol::BOTH.into_iter().enumerate() {
        let mut connection = world.client(protocol).connect().await;
        let answer = post(&mut connection, "/json?x=1&session_id=hunter2", "application/json", body).await;
        assert_eq!(answer.status, 200);
        assert!(String::from_utf8_lossy(&answer.body).contains("hunter2"), "the caller gets all of it");
        let line = eventually("its line", || async { world.ends("/json").await.get(number).cloned() }).await;
        let recording = opened(&world, &line).await;
        assert_eq!(recording["level"], "full");
        assert_eq!(recording["query"]["text"], "x=1&session_id=[redacted]");
        let request = recording["request"]["text"].as_str().unwrap();
        assert!(request.contains(r#""order":7"#) && request.contains("for [redacted]"), "{request}");
        let response = recording["response"]["text"].as_str().unwrap();
        assert_eq!(response, r#"{"id":7,"note":"for all","access_token":"[redacted]"}"#);
        assert!(!recording.to_string().contains("hunter2"), "{recording}");

        let file = world.path("audit/recordings").join(line["recording"].as_str().unwrap());
        let opened = by_age(&world, "key.txt", &file);
        assert!(opened.status.success(), "{opened:?}");
        assert_eq!(serde_json::from_slice::<Value>(&opened.stdout).unwrap(), recording);
        let raw = std::fs::read(&file).unwrap();
        assert!(!raw.windows(5).any(|part| part == b"order"), "encrypted at rest");

        let plain = show(&world, &line, &[]).await;
        let text = String::from_utf8_lossy(&plain.stdout).into_owned();
        assert!(plain.status.success() && text.contains("recording_sha256"), "{plain:?}");
        assert!(!text.contains("order\":7"), "{text}");
        let with_key = show(&world, &line, &["--key", "key.txt"]).await;
        let text = String::from_utf8_lossy(&with_key.stdout).into_owned();
        assert!(
            text.contains("request: ") && text.contains("5 redacted") && text.contains(r#""order":7"#),
            "{text}"
        );
    }
    assert_eq!(world.upstream.received()[0].body, body, "and so does the service");
}

#[tokio::test]
async fn another_key_and_a_changed_file_open_nothing() {
    let world = world(Setup::new().recorded()).await;
    break_glass(&world, "POST", "/**").await;
    let mut connection = world.client(Protocol::H1).connect().await;
    for path in ["/json", "/v1/b"] {
        assert_eq!(post(&mut connection, path, "application/json", "{}").await.status, 200);
    }
    let (line, other) = (world.ends("/json").await[0].clone(), world.ends("/v1/b").await[0].clone());
    age_key(&world.path("other.txt"));
    let wrong = show(&world, &line, &["--key", "other.txt"]).await;
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert!(stderr(&wrong).contains("encrypted for another"), "{wrong:?}");
    let no_key = show(&world, &line, &["--key", "ca.pem"]).await;
    assert_eq!(no_key.status.code(), Some(2), "{no_key:?}");

    let file = |line: &Value| world.path("audit/recordings").join(line["recording"].as_str().unwrap());
    let good = std::fs::read(file(&line)).unwrap();
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    for content in [&changed[..], &good[..good.len() - 1], &std::fs::read(file(&other)).unwrap()] {
        std::fs::write(file(&line), content).unwrap();
        let shown = show(&world, &line, &["--key", "key.txt"]).await;
        assert_eq!(shown.status.code(), Some(1), "{shown:?}");
        assert!(stderr(&shown).contains("another digest"), "{shown:?}");
    }
    std::fs::remove_file(file(&line)).unwrap();
    let gone = show(&world, &line, &["--key", "key.txt"]).await;
    assert!(gone.status.code() == Some(1) && stderr(&gone).contains("cannot be read"), "{gone:?}");
    std::fs::write(file(&line), &good).unwrap();
    opened(&world, &line).await;
    let unknown = json!({"request_id": "req_00000000000000000000000000"});
    let none = show(&world, &unknown, &[]).await;
    assert!(none.status.code() == Some(1) && stderr(&none).contains("no line of"), "{none:?}");
}

#[tokio::test]
async fn an_ordinary_grant_records_nothing_and_a_policy_may_ask_for_arguments_alone() {
    let world = world(Setup::new().recorded()).await;
    world.grant("orders:POST:/v1/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    assert_eq!(post(&mut connection, "/v1/orders", "application/json", "{\"a\":1}").await.status, 200);
    let line = world.ends("/v1/orders").await[0].clone();
    assert!(line.get("recording").is_none() && recordings(&world).is_empty(), "{line}");
    let shown = show(&world, &line, &["--key", "key.txt"]).await;
    assert!(shown.status.code() == Some(1) && stderr(&shown).contains("was not recorded"), "{shown:?}");

    let request = world.ask(&world.agent, &asked("PUT-1", "PUT", "/json")).await;
    world.granted(&request).await;
    let put =
        connection.request("PUT", "/json?a=b").header("content-type", "application/x-www-form-urlencoded");
    let put = put.body(full("x=1&token=hunter2")).unwrap();
    assert_eq!(Answer::of(connection.send(put).await).await.status, 200);
    let recording = opened(&world, &world.ends("/json").await[0]).await;
    assert_eq!((&recording["level"], &recording["query"]["text"]), (&json!("arguments"), &json!("a=b")));
    assert_eq!(recording["request"]["text"], "x=1&token=[redacted]");
    assert!(recording["response"].is_null(), "{recording}");
}

#[tokio::test]
async fn an_operators_direct_grant_may_demand_a_recording() {
    let world = world(Setup::new().recorded()).await;
    world.grant_with("orders:POST:/json", &["--recording", "full"]).await;
    world.grant_with("orders:PUT:/json", &["--recording", "arguments"]).await;
    let mut connection = world.client(Protocol::H2).connect().await;
    assert_eq!(post(&mut connection, "/json?a=b", "application/json", "{\"a\":1}").await.status, 200);
    let recording = opened(&world, &world.ends("/json").await[0]).await;
    assert_eq!((&recording["level"], &recording["query"]["text"]), (&json!("full"), &json!("a=b")));
    assert_eq!(recording["request"]["text"], "{\"a\":1}");
    assert!(recording["response"]["text"].as_str().unwrap().contains("for all"), "{recording}");
    assert_eq!(connection.call("PUT", "/json", "{}").await.status, 200);
    let line = eventually("its line", || async { world.ends("/json").await.get(1).cloned() }).await;
    let recording = opened(&world, &line).await;
    assert!(recording["level"] == "arguments" && recording["response"].is_null(), "{recording}");

    // What there is already records less.
    let more = |level: &'static str| {
        let grant = ["grant", "--principal", crate::harness::world::AGENT, "--task", "t-1", "--ttl", "10m"];
        [&grant[..], &["--scope", "orders:PUT:/json", "--reason", "more", "--recording", level]].concat()
    };
    let refused = world.try_cli(&more("full")).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(stderr(&refused).contains("records less: revoke it first"), "{refused:?}");
    assert_eq!(world.try_cli(&more("everything")).await.status.code(), Some(2));
    let of_many = world.try_cli(&["grant", "--file", "-", "--recording", "full"]).await;
    assert_eq!(of_many.status.code(), Some(2), "{of_many:?}");
}

#[tokio::test]
async fn where_the_answer_is_recorded_the_service_is_not_asked_to_compress_it() {
    let world = world(Setup::new().recorded()).await;
    world.grant("orders:GET:/json").await;
    world.grant_with("orders:PUT:/json", &["--recording", "arguments"]).await;
    world.grant_with("orders:POST:/json", &["--recording", "full"]).await;
    for protocol in Protocol::BOTH {
        let mut connection = world.client(protocol).connect().await;
        for (method, forwarded) in
            [("GET", Some("gzip, br;q=0.5")), ("PUT", Some("gzip, br;q=0.5")), ("POST", None)]
        {
            world.upstream.forget();
            let request = connection.request(method, "/json").header("accept-encoding", "gzip, br;q=0.5");
            let request = request.header("accept", "application/json").body(full("")).unwrap();
            assert_eq!(Answer::of(connection.send(request).await).await.status, 200);
            let headers = world.upstream.only().headers;
            let told = headers.get("accept-encoding").map(|value| value.to_str().unwrap());
            assert_eq!(told, forwarded, "{method} over {protocol:?}");
            assert_eq!(headers["accept"], "application/json");
        }
        world.upstream.forget();
        let request = connection.request("POST", "/json").header("accept-encoding", "identity");
        assert_eq!(Answer::of(connection.send(request.body(full("")).unwrap()).await).await.status, 200);
        assert_eq!(world.upstream.only().headers["accept-encoding"], "identity", "it may be signed");
    }
}

#[tokio::test]
async fn where_no_recording_is_configured_a_direct_grant_that_demands_one_permits_nothing() {
    let world = world(Setup::new()).await;
    world.grant_with("orders:GET:/v1/**", &["--recording", "full"]).await;
    let answer = world.client(Protocol::H1).connect().await.get("/v1/a").await;
    assert_eq!((answer.status.as_u16(), answer.reason()), (503, "audit_unavailable".into()));
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_tool_call_is_recorded_by_its_arguments_and_what_the_tool_said() {
    let redact = "redact = { pointers = [\"/server/pin\"], patterns = [\"cust-[0-9]{6}\"] }";
    let world = Setup::new().recorded_with(redact).decided_by("", POLICIES).await;
    let upstream = world.upstream.address;
    world
        .append_config(&format!("[[service]]\nname = \"ops\"\nupstream = [\"mcp+http://{upstream}/mcp\"]\n"));
    let world = world.start_both().await;
    let scope = json!([{"type": "mcp", "locations": ["ops"], "actions": ["tools/call"], "tools": ["restart"], "arguments": true}]);
    let wanted = with(with(asked("FIRE-1", "POST", "/"), "emergency", json!(true)), "scope", scope);
    let request = world.ask(&world.agent, &wanted).await;
    world.granted(&request).await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let arguments = json!({"server": {"name": "srv-7", "pin": "hunter2"}, "api_key": "hunter2"});
    let body = json!({"jsonrpc": "2.0", "id": "q", "method": "tools/call",
        "params": {"name": "restart", "arguments": arguments, "_meta": meta}});
    let mut connection = world.client(Protocol::H1).host("ops.localhost").connect().await;
    let call = connection
        .request("POST", "/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "restart");
    let answer = Answer::of(connection.send(call.body(full(body.to_string())).unwrap()).await).await;
    assert!(answer.json()["result"].is_object(), "{answer:?}");
    let line = world.ends("/mcp").await[0].clone();
    assert_eq!(line["tool"], "restart", "{line}");
    let recording = opened(&world, &line).await;
    let kept = r#"{"api_key":"[redacted]","server":{"name":"srv-7","pin":"[redacted]"}}"#;
    assert_eq!(recording["arguments"]["text"], kept, "{recording}");
    assert!(recording["request"].is_null(), "{recording}");
    assert!(recording["inputs"].is_null() && line.get("inputs_sha256").is_none(), "{recording}");
    let said = recording["response"]["text"].as_str().unwrap();
    assert!(said.contains("up") && !recording.to_string().contains("hunter2"), "{recording}");

    // The same call once more, with what it answers to questions of the service.
    let inputs = json!({"who": {"action": "accept", "content": {"token": "hunter2", "for": "cust-123456"}}});
    let body = json!({"jsonrpc": "2.0", "id": "q", "method": "tools/call",
        "params": {"name": "restart", "arguments": arguments, "inputResponses": inputs, "_meta": meta}});
    let call = connection
        .request("POST", "/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "restart");
    let answer = Answer::of(connection.send(call.body(full(body.to_string())).unwrap()).await).await;
    assert!(answer.json()["result"].is_object(), "{answer:?}");
    let again = eventually("its line", || async { world.ends("/mcp").await.get(1).cloned() }).await;
    assert_eq!(again["arguments_sha256"], line["arguments_sha256"]);
    assert_eq!(again["inputs_sha256"].as_str().map(str::len), Some(64), "{again}");
    let recording = opened(&world, &again).await;
    let answered = r#"{"who":{"action":"accept","content":{"for":"[redacted]","token":"[redacted]"}}}"#;
    assert_eq!(recording["inputs"]["text"], answered, "{recording}");
    assert!(!recording.to_string().contains("hunter2"), "{recording}");

    // What is refused leaves a line as well, which says no secret either.
    let read = json!({"jsonrpc": "2.0", "id": "r", "method": "resources/read",
        "params": {"uri": "crm://cust-123456/notes", "_meta": meta}});
    let call = connection
        .request("POST", "/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "resources/read")
        .header("mcp-name", "crm://cust-123456/notes");
    let answer = Answer::of(connection.send(call.body(full(read.to_string())).unwrap()).await).await;
    assert_eq!(answer.json()["error"]["data"]["reason"], "out_of_scope", "{answer:?}");
    let refused = eventually("its line", || async { world.ends("/mcp").await.get(2).cloned() }).await;
    assert_eq!(refused["tool"], "crm://[redacted]/notes", "{refused}");
}

#[tokio::test]
async fn what_cannot_be_redacted_is_told_by_digest_and_length() {
    let world = world(Setup::new().recorded()).await;
    break_glass(&world, "POST", "/**").await;
    let mut connection = world.client(Protocol::H1).connect().await;
    for (number, (kind, body)) in [
        ("application/json", "{\"password\":\"hunter2\""),
        ("application/octet-stream", "hunter2"),
        ("application/x-protobuf", "hunter2"),
        ("multipart/form-data; boundary=x", "--x\r\n\r\nhunter2\r\n--x--"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/v1/{number}");
        assert_eq!(post(&mut connection, &path, kind, body).await.status, 200);
        let recording = opened(&world, &world.ends(&path).await[0]).await;
        let request = &recording["request"];
        assert_eq!(
            (&request["recorded"], &request["length"]),
            (&json!("digest"), &json!(body.len())),
            "{recording}"
        );
        assert!(!recording.to_string().contains("hunter2"), "{recording}");
    }
}

#[tokio::test]
async fn a_stream_goes_on_beyond_the_bound_and_its_recording_says_so() {
    let world = world(Setup::new().recorded_with("max_body_bytes = 2048")).await;
    let grant = break_glass(&world, "GET", "/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    let mut events = connection.open("/sse").await.into_body();
    let mut download = connection.open("/download").await.into_body();
    let mut taken = 0;
    while taken < 1_000_000 {
        let frame = within("a frame", http_body_util::BodyExt::frame(&mut download)).await.unwrap().unwrap();
        taken += frame.data_ref().unwrap().len();
    }
    within("an event", http_body_util::BodyExt::frame(&mut events)).await.unwrap().unwrap();
    world.revoke(grant["id"].as_str().unwrap()).await;
    let recording = opened(&world, &world.ends("/download").await[0]).await;
    let response = &recording["response"];
    assert!(response["length"].as_u64().unwrap() >= 1_000_000, "{recording}");
    assert_eq!((&response["truncated"], &response["digested"]), (&json!(true), &json!(2048)));
    let line = world.ends("/sse").await[0].clone();
    assert_eq!(line["end"], "cut");
    let recording = opened(&world, &line).await;
    let text = recording["response"]["text"].as_str().unwrap();
    assert!(text.starts_with("data: 0\n\n"), "{recording}");
}

#[tokio::test]
async fn without_its_folder_what_must_be_recorded_is_refused_until_it_is_back() {
    let world = world(Setup::new().recorded()).await;
    world.grant("orders:GET:/**").await;
    break_glass(&world, "POST", "/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    assert_eq!(connection.call("POST", "/v1/a", "{}").await.status, 200);
    world.ends("/v1/a").await;
    std::fs::remove_dir_all(world.path("audit/recordings")).unwrap();
    std::fs::write(world.path("audit/recordings"), "in the way").unwrap();
    let refused = eventually("a refusal", || async {
        let answer = world.client(Protocol::H1).connect().await.call("POST", "/v1/b", "{}").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(refused.reason(), "audit_unavailable");
    world.upstream.forget();
    assert_eq!(connection.call("POST", "/v1/c", "{}").await.reason(), "audit_unavailable");
    assert!(world.upstream.received().is_empty());
    let line = &world.ends("/v1/c").await[0];
    assert_eq!((&line["decision"], &line["reason"]), (&json!("deny"), &json!("audit_unavailable")), "{line}");
    assert!(line.get("recording").is_none(), "{line}");
    assert_eq!(connection.get("/v1/d").await.status, 200, "what need not be recorded goes on");

    std::fs::remove_file(world.path("audit/recordings")).unwrap();
    eventually("recovery without a restart", || async {
        (world.client(Protocol::H1).connect().await.call("POST", "/v1/e", "{}").await.status == 200)
            .then_some(())
    })
    .await;
    let good = eventually("its line", || async {
        world.ends("/v1/e").await.into_iter().find(|line| line["decision"] == "permit")
    })
    .await;
    opened(&world, &good).await;
}

#[tokio::test]
async fn where_recording_is_not_configured_nothing_passes_that_must_be_recorded() {
    let world = world(Setup::new()).await;
    break_glass(&world, "POST", "/**").await;
    let answer = world.client(Protocol::H1).connect().await.call("POST", "/v1/a", "{}").await;
    assert_eq!((answer.status.as_u16(), answer.reason()), (503, "audit_unavailable".into()));
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_no_recording() {
    let world = Setup::new().recorded_with("max_body_bytes = 16_384").decided_by("", POLICIES).await;
    let Some(disk) = crate::audit::TinyDisk::mount(world.path("audit/recordings"), "1m") else { return };
    let world = world.start_both().await;
    break_glass(&world, "POST", "/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    let body = format!("[{}]", vec!["\"0123456789\""; 900].join(","));
    let mut recorded = 0;
    loop {
        let path = format!("/v1/{recorded}");
        let answer = post(&mut connection, &path, "application/json", &body).await;
        if answer.status != 200 {
            assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "audit_unavailable"));
            break;
        }
        // One at a time: what ends it is the disk.
        assert!(world.ends(&path).await[0]["recording_sha256"].is_string());
        recorded += 1;
        assert!(recorded < 1_000, "1 MiB holds a thousand bodies of 12 KiB?");
    }
    assert!(recorded > 10, "{recorded}");
    assert_eq!(recordings(&world).len(), recorded);
    opened(&world, &world.ends(&format!("/v1/{}", recorded - 1)).await[0]).await;
    disk.resize("16m");
    eventually("recovery without a restart", || async {
        (world.client(Protocol::H1).connect().await.call("POST", "/v1/again", "{}").await.status == 200)
            .then_some(())
    })
    .await;
}
