//! An agent that has nothing but an MCP client asks, waits, works and finishes: the control plane is an MCP server.

use crate::harness::client::full;
use crate::harness::clients::Talk;
use crate::harness::form::{fields, filled};
use crate::harness::pki::{Files, Leaf};
use crate::harness::{Answer, Protocol, Setup, World, eventually, id};
use serde_json::{Value, json};

pub(crate) fn agent(world: &World) -> Files {
    Files { cert: world.path("agent/cert.pem"), key: world.path("agent/key.pem") }
}

pub(crate) fn server(world: &World) -> String {
    format!("https://{}:8444/mcp", world.address)
}

/// What a tool answered for programs; it did not refuse.
pub(crate) fn done(answer: &Value) -> Value {
    assert_eq!(answer["isError"], false, "{answer}");
    answer["structuredContent"].clone()
}

/// The reason of a tool that refused.
pub(crate) fn refused(answer: &Value) -> String {
    assert_eq!(answer["isError"], true, "{answer}");
    let text = answer["content"][0]["text"].as_str().unwrap();
    let problem = &answer["structuredContent"];
    let reason = problem["reason"].as_str().unwrap();
    assert!(text.contains(reason) && text.contains(problem["next"].as_str().unwrap()), "{answer}");
    reason.to_owned()
}

async fn works_from_asking_to_done(sdk: &str, version: &str) {
    let world = World::start().await;
    let operator = world.ca.svid("operator/local");
    let mut talk = Talk::start(&world, sdk, &server(&world), &agent(&world)).await;
    assert_eq!(talk.version, version);
    let tools = talk.tools().await;
    let names: Vec<&str> =
        tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["request_access", "access_status", "my_access", "task_done", "task_failed"]);

    // What a refused call says it needs is what is asked for.
    let denied = world.client(Protocol::H1).get("/v1/orders/7").await;
    let ask = json!({"task": "INC-1", "reason": "a customer asks", "ttl": "10m", "scope": denied.json()["required"]});
    let asked = done(&talk.call("request_access", ask).await);
    assert_eq!(
        (&asked["state"], &asked["requester"]),
        (&json!("pending"), &json!(crate::harness::world::AGENT))
    );
    let page = format!("https://{}:8444/approve/{}", world.address, id(&asked));
    assert_eq!(asked["approval_url"], page);
    assert!(asked["next"].as_str().unwrap().contains("access_status"), "{asked}");
    let mine = done(&talk.call("my_access", json!({})).await);
    assert_eq!((&mine["grants"], &mine["pending"][0]["id"]), (&json!([]), &asked["id"]));

    // It waits while a person decides on the page.
    talk.begin("access_status", json!({"id": id(&asked), "wait": "50s"})).await;
    let form = fields(&world.page(&operator, id(&asked)).await);
    let form = filled(form, &[("decision", "approve"), ("reason", "go on")]);
    let sent = world.submit(&operator, id(&asked), (&form, &[])).await;
    assert_eq!(
        (sent.status.as_u16(), sent.header("location")),
        (303, Some(&*format!("/approve/{}", id(&asked))))
    );
    let approved = done(&talk.line().await);
    assert_eq!(approved["state"], "approved", "{approved}");
    assert_eq!(approved["access"][0]["scope"], asked["scope"], "{approved}");

    world.applied(&approved["access"][0]["revision"]).await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders/7").await.status, 200);
    let mine = done(&talk.call("my_access", json!({"task": "INC-1"})).await);
    assert_eq!((&mine["grants"][0]["id"], &mine["pending"]), (&approved["grant"], &json!([])));

    let ended = done(&talk.call("task_done", json!({"task": "INC-1", "reason": "answered"})).await);
    assert_eq!((&ended["state"], &ended["grants"]), (&json!("done"), &json!([])));
    eventually("the end of the access", || async {
        (world.client(Protocol::H1).get("/v1/orders/7").await.status == 403).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_of_the_first_era_works_from_asking_to_done() {
    works_from_asking_to_done("v1", "2025-11-25").await;
}

#[tokio::test]
async fn a_client_of_the_second_era_works_from_asking_to_done() {
    works_from_asking_to_done("v2", "2026-07-28").await;
}

#[tokio::test]
async fn a_client_of_the_second_era_may_speak_as_in_the_first() {
    works_from_asking_to_done("v2-legacy", "2025-11-25").await;
}

#[tokio::test]
async fn a_client_in_python_works_from_asking_to_done_in_both_eras() {
    works_from_asking_to_done("python", "2026-07-28").await;
    works_from_asking_to_done("python-legacy", "2025-11-25").await;
}

#[tokio::test]
async fn a_tool_refuses_with_what_to_do() {
    let world = World::start().await;
    for sdk in ["v1", "v2"] {
        let mut talk = Talk::start(&world, sdk, &server(&world), &agent(&world)).await;
        let ask =
            |scope: Value| json!({"task": format!("T-{sdk}"), "reason": "r", "ttl": "5m", "scope": scope});
        let more = |name: &str, value: Value| {
            let mut ask = ask(json!(["orders:GET:/v1/orders"]));
            ask[name] = value;
            ask
        };
        for (tool, arguments, reason, says) in [
            ("request_access", more("scopes", json!([])), "malformed", "did you mean `scope`?"),
            ("request_access", more("token", json!(true)), "malformed", "no argument `token`"),
            ("request_access", more("wait", json!("61s")), "malformed", "at most `50s`"),
            ("request_access", more("ttl", json!(15)), "malformed", "`ttl` is a string"),
            ("request_access", ask(json!(["orders:GET"])), "malformed", "entry 1"),
            (
                "request_access",
                ask(json!([{"type": "http", "locations": ["orders"]}])),
                "malformed",
                "actions",
            ),
            ("request_access", more("ttl", json!("9h")), "ttl_above_cap", ""),
            ("request_access", ask(json!(["invented:GET:/v1/orders"])), "not_requestable", "invented"),
            ("access_status", json!({}), "malformed", "`id` is missing"),
            (
                "my_access",
                json!({"principal": "spiffe://jitgate.local/agent/other"}),
                "malformed",
                "it takes",
            ),
            ("task_done", json!({"task": "nobody-s"}), "not_found", ""),
        ] {
            let answer = talk.call(tool, arguments.clone()).await;
            assert_eq!(refused(&answer), reason, "{arguments}");
            assert!(answer["content"][0]["text"].as_str().unwrap().contains(says), "{says}: {answer}");
        }
        let unknown = talk.call("drop_tables", json!({})).await;
        let told = format!("{unknown}");
        assert!(told.contains("there is no such tool") && told.contains("my_access"), "{unknown}");
    }
}

#[tokio::test]
async fn a_tool_with_its_exact_arguments_is_asked_for_in_either_form() {
    let ops = "[[service]]\nname = \"ops\"\nupstream = [\"mcp+http://127.0.0.1:9/mcp\"]\n";
    let world = Setup::new().tables(ops).start().await;
    let operator = world.ca.svid("operator/local");
    let mut talk = Talk::start(&world, "v2", &server(&world), &agent(&world)).await;
    // The name reads backwards where it is not shown as an escape.
    let arguments = json!({"type": "object", "properties": {"service": {"const": "\u{202e}gnillib<b>"}},
        "required": ["service"], "additionalProperties": false});
    let scope = json!([{"type": "mcp", "locations": ["ops"], "actions": ["tools/call"], "tools": ["restart_service"],
        "arguments": arguments}]);
    let ask = |task: &str, scope: Value| json!({"task": task, "reason": "r", "ttl": "5m", "scope": scope});
    let asked = done(&talk.call("request_access", ask("T-1", scope.clone())).await);
    assert_eq!(asked["scope"], scope, "{asked}");
    let text = json!("ops:tools/call:restart_service{service=\"\u{202e}gnillib<b>\"}");
    let same = done(&talk.call("request_access", ask("T-2", text)).await);
    assert_eq!(same["scope"], scope, "{same}");

    let page = world.page(&operator, id(&asked)).await;
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(html.contains("\\u202egnillib&lt;b&gt;") && !html.contains('\u{202e}'), "{html}");
    let form = filled(fields(&page), &[("decision", "approve"), ("reason", "r")]);
    assert_eq!(world.submit(&operator, id(&asked), (&form, &[])).await.status, 303);
    let approved = done(&talk.call("access_status", json!({"id": id(&asked)})).await);
    assert_eq!(approved["access"][0]["scope"], scope, "what was shown is what was meant");
    assert_eq!(approved["approvals"][0]["scope"], Value::Null, "{approved}");
}

#[tokio::test]
async fn nobody_learns_of_other_agents_requests_and_tasks() {
    let world = World::start().await;
    let other = world.ca.svid("agent/other").write(&world.path("other"));
    let mut own = Talk::start(&world, "v2", &server(&world), &agent(&world)).await;
    let mut others = Talk::start(&world, "v1", &server(&world), &other).await;
    let ask = json!({"task": "INC-1", "reason": "r", "ttl": "5m", "scope": "orders:GET:/v1/orders"});
    let asked = done(&own.call("request_access", ask.clone()).await);
    let foreign = others.call("access_status", json!({"id": id(&asked)})).await;
    let invented = others.call("access_status", json!({"id": "rq_01jzzzzzzzzzzzzzzzzzzzzzzz"})).await;
    let nonsense = others.call("access_status", json!({"id": "nonsense"})).await;
    assert_eq!(refused(&foreign), "not_found");
    assert!(foreign == invented && foreign == nonsense, "{foreign} {invented}");
    assert_eq!(
        done(&others.call("my_access", json!({"task": "INC-1"})).await),
        json!({"grants": [], "pending": []})
    );
    let foreign = others.call("task_failed", json!({"task": "INC-1"})).await;
    let invented = others.call("task_failed", json!({"task": "INC-2"})).await;
    assert!(refused(&foreign) == "not_found" && foreign == invented, "{foreign} {invented}");
    assert_eq!(refused(&others.call("request_access", ask).await), "foreign_task");
    assert_eq!(done(&own.call("access_status", json!({"id": id(&asked)})).await)["state"], "pending");
}

#[tokio::test]
async fn the_same_key_asks_once() {
    let world = World::start().await;
    let mut talk = Talk::start(&world, "v2", &server(&world), &agent(&world)).await;
    let ask = json!({"task": "INC-1", "reason": "r", "ttl": "5m", "scope": "orders:GET:/v1/orders", "idempotency_key": "k-1"});
    let first = done(&talk.call("request_access", ask.clone()).await);
    let again = done(&talk.call("request_access", ask.clone()).await);
    assert_eq!(first["id"], again["id"]);
    let mut other = ask;
    other["ttl"] = json!("6m");
    assert_eq!(refused(&talk.call("request_access", other).await), "key_reused");
}

/// One message over plain HTTP, with headers added.
pub(crate) async fn post(world: &World, body: &str, headers: &[(&str, &str)]) -> Answer {
    post_as(world, &world.agent, body, headers).await
}

/// As [`post`], of somebody else.
pub(crate) async fn post_as(world: &World, who: &Leaf, body: &str, headers: &[(&str, &str)]) -> Answer {
    let mut connection = world.api_as(who).connect().await;
    let mut request =
        connection.request("POST", "/mcp").header("accept", "application/json, text/event-stream");
    request = request.header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(connection.send(request.body(full(body.to_owned())).unwrap()).await).await
}

#[tokio::test]
async fn what_is_no_single_message_of_a_client_is_refused() {
    let world = World::start().await;
    const LEGACY: (&str, &str) = ("mcp-protocol-version", "2025-11-25");
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    let listed = post(&world, list, &[LEGACY]).await;
    assert_eq!(
        (listed.status, listed.json()["result"]["tools"].as_array().unwrap().len()),
        (http::StatusCode::OK, 5)
    );
    assert_eq!(listed.header("cache-control"), Some("no-store"));
    assert_eq!(listed.header("mcp-session-id"), None);

    let large = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"x":"{}"}}}}"#,
        "x".repeat(256 << 10)
    );
    let twice =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"my_access","name":"task_done"}}"#;
    let new = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"my_access","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let said =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "task_done")];
    for (status, body, headers) in [
        (413, large.as_str(), &[LEGACY][..]),
        (400, twice, &[LEGACY]),
        (400, &format!("[{list}]"), &[LEGACY]),
        (400, list, &[]),
        (400, list, &[("mcp-protocol-version", "2024-11-05")]),
        (400, new, &said),
        (403, list, &[LEGACY, ("origin", "https://evil.example")]),
        (403, list, &[LEGACY, ("origin", "null")]),
        (404, list, &[LEGACY, ("mcp-session-id", "s-1")]),
    ] {
        let answer = post(&world, body, headers).await;
        assert_eq!(answer.status, status, "{headers:?} {answer:?}");
        assert!(answer.json()["error"]["message"].is_string(), "{answer:?}");
    }
    let mut connection = world.api_as(&world.agent).host("evil.example").connect().await;
    let request = connection.request("POST", "/mcp").header("content-type", "application/json");
    let elsewhere = Answer::of(connection.send(request.body(full(list.to_owned())).unwrap()).await).await;
    assert_eq!(elsewhere.status, 421, "{elsewhere:?}");
    let stream = world.api_as(&world.agent).get("/mcp").await;
    assert_eq!((stream.status.as_u16(), stream.header("allow")), (405, Some("POST")));
}
