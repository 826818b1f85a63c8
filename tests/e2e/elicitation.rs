//! A client that can show its user a page is asked to show that of the request that it has just made: in the form of its version, once,
//! and without making a second request.

use crate::asking_over_mcp::{agent, done, post, post_as, refused, server};
use crate::harness::clients::Talk;
use crate::harness::form::{fields, filled};
use crate::harness::pki::Leaf;
use crate::harness::{Answer, Protocol, World, id};
use serde_json::{Value, json};

const TASK: &str = "INC-1";

fn ask() -> Value {
    json!({"task": TASK, "reason": "a customer asks", "ttl": "10m", "scope": ["orders:GET:/v1/orders/7"]})
}

fn with_key() -> Value {
    let mut ask = ask();
    ask["idempotency_key"] = json!("k-1");
    ask
}

/// The request whose page it is; the page is ours, and says what it is about.
fn request_of(world: &World, page: &Value) -> String {
    assert_eq!(page["mode"], "url", "{page}");
    let url = page["url"].as_str().unwrap();
    let id = url.strip_prefix(&format!("https://{}:8444/approve/", world.address)).expect(url);
    let message = page["message"].as_str().unwrap();
    for says in [
        crate::harness::world::AGENT,
        TASK,
        "orders:GET:/v1/orders/7",
        "10m",
        "Nobody is signed in by the link",
    ] {
        assert!(message.contains(says), "{says}: {message}");
    }
    assert!(!message.contains("a customer asks"), "{message}");
    id.to_owned()
}

async fn approve(world: &World, request: &str) {
    let operator = world.ca.svid("operator/local");
    let form = filled(
        fields(&world.page(&operator, request).await),
        &[("decision", "approve"), ("reason", "go on")],
    );
    assert_eq!(world.submit(&operator, request, (&form, &[])).await.status, 303);
}

async fn pending(talk: &mut Talk) -> Vec<Value> {
    done(&talk.call("my_access", json!({"task": TASK})).await)["pending"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_client_of_the_second_era_shows_the_page_and_comes_back_with_access() {
    let world = World::start().await;
    let mut talk = Talk::start(&world, "v2+url", &server(&world), &agent(&world)).await;
    talk.begin_as("accept", "request_access", ask()).await;
    let request = request_of(&world, &talk.line().await["page"]);
    approve(&world, &request).await;
    let approved = done(&talk.line().await);
    assert_eq!((&approved["id"], &approved["state"]), (&json!(request), &json!("approved")), "{approved}");
    assert_eq!(approved["access"][0]["scope"][0]["paths"], json!(["/v1/orders/7"]), "{approved}");
    world.applied(&approved["access"][0]["revision"]).await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders/7").await.status, 200);
    let mine = done(&talk.call("my_access", json!({})).await);
    assert_eq!((mine["grants"].as_array().unwrap().len(), &mine["pending"]), (1, &json!([])), "{mine}");
}

#[tokio::test]
async fn a_user_who_does_not_go_there_withdraws_nothing() {
    let world = World::start().await;
    let mut talk = Talk::start(&world, "v2+url", &server(&world), &agent(&world)).await;
    for action in ["decline", "cancel"] {
        talk.begin_as(action, "request_access", with_key()).await;
        let request = request_of(&world, &talk.line().await["page"]);
        let answer = done(&talk.line().await);
        assert_eq!((&answer["id"], &answer["state"]), (&json!(request), &json!("pending")), "{answer}");
        assert!(answer["next"].as_str().unwrap().contains("access_status"), "{answer}");
    }
    assert_eq!(pending(&mut talk).await.len(), 1, "the key was the same");
    // Who asks how it stands is told how it stands.
    let id = pending(&mut talk).await[0]["id"].clone();
    assert_eq!(done(&talk.call("access_status", json!({"id": id, "wait": "1s"})).await)["state"], "pending");
}

#[tokio::test]
async fn a_client_of_the_first_era_is_told_the_page_once_by_an_error() {
    for sdk in ["v1+url", "v2-legacy+url"] {
        let world = World::start().await;
        let mut talk = Talk::start(&world, sdk, &server(&world), &agent(&world)).await;
        assert_eq!(talk.version, "2025-11-25");
        let told = talk.call("request_access", with_key()).await;
        assert_eq!(told["code"], -32042, "{told}");
        let page = &told["data"]["elicitations"][0];
        let request = request_of(&world, page);
        assert_eq!(page["elicitationId"], json!(request));

        let mut again = with_key();
        assert_eq!(done(&talk.call("request_access", again.clone()).await)["state"], "pending");
        assert_eq!(pending(&mut talk).await.len(), 1);
        approve(&world, &request).await;
        let approved = done(&talk.call("request_access", again.clone()).await);
        assert_eq!(
            (&approved["id"], &approved["access"][0]["state"]),
            (&json!(request), &json!("live")),
            "{approved}"
        );
        // Without a key the same call is another request: there is no error after which it would be sent again.
        again["task"] = json!("INC-2");
        again.as_object_mut().unwrap().remove("idempotency_key");
        let plain = done(&talk.call("request_access", again).await);
        assert!(plain["approval_url"].is_string(), "{plain}");
    }
}

/// A call of `request_access` over plain HTTP, in either era.
async fn call(world: &World, session: Option<&str>, more: &Value) -> Answer {
    call_as(world, &world.agent, session, more).await
}

async fn call_as(world: &World, who: &Leaf, session: Option<&str>, more: &Value) -> Answer {
    let stands_alone = session.is_none();
    let mut params = json!({"name": "request_access", "arguments": with_key()});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let version = if stands_alone { "2026-07-28" } else { "2025-11-25" };
    let mut headers = vec![("mcp-protocol-version", version)];
    match session {
        None => headers.extend([("mcp-method", "tools/call"), ("mcp-name", "request_access")]),
        Some("") => {}
        Some(session) => headers.push(("mcp-session-id", session)),
    }
    post_as(world, who, &message, &headers).await
}

/// What stands alone says of the client, with members added.
fn new(capabilities: &Value, more: &Value) -> Value {
    let mut params = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    }});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

#[tokio::test]
async fn only_clients_that_show_pages_are_asked() {
    let world = World::start().await;
    for sdk in ["v1", "v2", "v2-legacy"] {
        let mut talk = Talk::start(&world, sdk, &server(&world), &agent(&world)).await;
        let plain = done(&talk.call("request_access", with_key()).await);
        assert!(plain["state"] == "pending" && plain["approval_url"].is_string(), "{plain}");
    }
    let form = call(&world, None, &new(&json!({"elicitation": {"form": {}}}), &json!({}))).await.json();
    assert_eq!(form["result"]["structuredContent"]["state"], "pending", "{form}");
    let asked = call(&world, None, &new(&json!({"elicitation": {"url": {}}}), &json!({}))).await.json();
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let wanted = &result["inputRequests"]["approval"];
    assert_eq!(wanted["method"], "elicitation/create", "{asked}");
    assert_eq!(json!(request_of(&world, &wanted["params"])), result["requestState"]);
}

#[tokio::test]
async fn a_state_that_was_not_given_to_this_caller_is_one_of_no_request() {
    let world = World::start().await;
    let other = world.ca.svid("agent/other").write(&world.path("other"));
    let mut others = Talk::start(&world, "v1", &server(&world), &other).await;
    // Of the same task's name is nobody else's task.
    let mut theirs = ask();
    theirs["task"] = json!("INC-9");
    let foreign = done(&others.call("request_access", theirs).await);
    let own = call(&world, None, &new(&json!({}), &json!({}))).await.json();
    let own = &own["result"]["structuredContent"];
    let url = json!({"elicitation": {"url": {}}});
    let back = |state: &Value, task: &str| {
        let mut arguments = with_key();
        arguments["task"] = json!(task);
        let accepted = json!({"approval": {"action": "decline"}});
        new(&url, &json!({"arguments": arguments, "requestState": state, "inputResponses": accepted}))
    };
    let mut refusals = Vec::new();
    for (state, task) in [
        (&foreign["id"], "INC-9"),
        (&json!("rq_01jzzzzzzzzzzzzzzzzzzzzzzz"), TASK),
        (&json!("nonsense"), TASK),
        (&json!(""), TASK),
        (&own["id"], "INC-9"),
    ] {
        let answer = call(&world, None, &back(state, task)).await.json();
        assert_eq!(refused(&answer["result"]), "not_found", "{state}");
        refusals.push(answer);
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
    let answer = call(&world, None, &back(&own["id"], TASK)).await.json();
    assert_eq!(answer["result"]["structuredContent"]["id"], json!(id(own)), "{answer}");
    // Whoever may see a request is not its requester for that.
    let operator = world.ca.svid("operator/local");
    let answer = call_as(&world, &operator, None, &back(&own["id"], TASK)).await.json();
    assert_eq!(answer, refusals[0]);
    let lost = json!({"inputResponses": {"approval": {"action": "accept"}}});
    let answer = call(&world, None, &new(&url, &lost)).await.json();
    assert_eq!(refused(&answer["result"]), "malformed");
}

#[tokio::test]
async fn a_session_is_its_callers_and_says_only_what_the_client_shows() {
    let world = World::start().await;
    let hello = |version: &str, capabilities: Value| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": version,
            "capabilities": capabilities, "clientInfo": {"name": "c", "version": "1"}}})
        .to_string()
    };
    let url = json!({"elicitation": {"url": {}}});
    for (version, capabilities) in
        [("2025-11-25", json!({})), ("2025-11-25", json!({"elicitation": {}})), ("2025-06-18", url.clone())]
    {
        let begun = post(&world, &hello(version, capabilities), &[]).await;
        assert_eq!((begun.status.as_u16(), begun.header("mcp-session-id")), (200, None), "{begun:?}");
    }
    let begun = post(&world, &hello("2025-11-25", url), &[]).await;
    let session = begun.header("mcp-session-id").unwrap().to_owned();
    let told = call(&world, Some(&session), &json!({})).await;
    assert_eq!((told.status.as_u16(), &told.json()["error"]["code"]), (200, &json!(-32042)), "{told:?}");

    let (nonce, tag) = session.split_once('.').unwrap();
    let other = format!("{}{}", if nonce.starts_with('0') { '1' } else { '0' }, &nonce[1..]);
    for none in [format!("{other}.{tag}x"), format!("{nonce}."), nonce.to_owned(), tag.to_owned()] {
        let answer = call(&world, Some(&none), &json!({})).await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    // What looks like one, or is somebody else's, says nothing of the client; nor does a message without one.
    let other_caller = world.ca.svid("agent/other");
    let forged = format!("{other}.{tag}");
    for (n, who, session) in
        [(1, &world.agent, forged.as_str()), (2, &other_caller, session.as_str()), (3, &world.agent, "")]
    {
        let mut ask = ask();
        (ask["task"], ask["idempotency_key"]) = (json!(format!("INC-2{n}")), json!(format!("k-2{n}")));
        let answer = call_as(&world, who, Some(session), &json!({"arguments": ask})).await.json();
        assert_eq!(answer["result"]["structuredContent"]["state"], "pending", "{n}: {answer}");
    }
    let mut ask = ask();
    (ask["task"], ask["idempotency_key"]) = (json!("INC-3"), json!("k-3"));
    let told = call(&world, Some(&session), &json!({"arguments": ask})).await.json();
    assert_eq!(told["error"]["code"], -32042, "{told}");
}
