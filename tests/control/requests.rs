//! Access requests over the API: asked, decided on, granted, ended.

use crate::world::{AGENT, Answer, Client, World};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

fn ask(task: &str) -> Value {
    json!({
        "task": task,
        "reason": "the customer calls",
        "scope": [{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders/*"]}],
        "ttl": "15m",
    })
}

fn with(mut ask: Value, key: &str, value: Value) -> Value {
    ask[key] = value;
    ask
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_approved_granted_and_ended_with_its_task() {
    let mut world = World::start().await;
    let mut agent = world.agent("demo").await;
    let asked = agent.post("/v1/requests", &ask("INC-1")).await;
    assert_eq!(asked.status, 201, "{asked:?}");
    let request = asked.json();
    assert_eq!((&request["state"], &request["grant"]), (&json!("pending"), &Value::Null));
    assert_eq!((&request["requester"], &request["principal"]), (&json!(AGENT), &json!(AGENT)));
    assert_eq!(request["waiting_for"][0]["from"], json!(["role:approver"]));
    let id = request["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("rq_"));
    // The same again is the same; it survives a restart.
    let again = agent.post("/v1/requests", &ask("INC-1")).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (200, &request["id"]));
    world.restart().await;
    let mut agent = world.agent("demo").await;
    assert_eq!(agent.get(&format!("/v1/requests/{id}")).await.json(), request);
    let mut approver = world.operator("approver").await;
    let hash = &request["hash"];
    let wrong = approver
        .post(&format!("/v1/requests/{id}/approve"), &json!({"reason": "ok", "hash": "0".repeat(64)}))
        .await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["reason"]), (409, &json!("changed")));
    let approve = json!({"reason": "go on", "hash": hash, "ttl": "5m"});
    let approved = approver.post(&format!("/v1/requests/{id}/approve"), &approve).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    let approved = approved.json();
    assert_eq!(approved["state"], "approved");
    let grant = approved["grant"].as_str().unwrap().to_owned();
    let shown = agent.get(&format!("/v1/grants/{grant}")).await.json();
    assert_eq!((&shown["state"], &shown["lineage"]["request"]), (&json!("live"), &json!(id)));
    // A second decision is too late; the same asked again is answered by what is there.
    let late = approver.post(&format!("/v1/requests/{id}/deny"), &json!({"reason": "no"})).await;
    assert_eq!((late.status.as_u16(), &late.json()["reason"]), (409, &json!("settled")));
    let again = agent.post("/v1/requests", &ask("INC-1")).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (200, &json!(id)));
    let done = agent.post("/v1/tasks/INC-1/done", &json!({})).await;
    assert_eq!((done.status.as_u16(), &done.json()["state"]), (200, &json!("done")));
    assert_eq!(agent.get(&format!("/v1/grants/{grant}")).await.json()["state"], "task_done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_with_the_decision() {
    let world = World::start().await;
    let mut agent = world.agent("demo").await;
    let id = agent.post("/v1/requests", &ask("INC-1")).await.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/requests/{id}?wait=60s");
    let waiting = tokio::spawn(async move { agent.get(&path).await });
    let mut approver = world.operator("approver").await;
    let denied = approver.post(&format!("/v1/requests/{id}/deny"), &json!({"reason": "not today"})).await;
    assert_eq!(denied.json()["state"], "denied");
    let answer = waiting.await.unwrap().json();
    assert_eq!((&answer["state"], &answer["because"]), (&json!("denied"), &json!(["not today"])));
    // Asking again is held off, for what overlaps and whatever the task.
    let mut agent = world.agent("demo").await;
    let again = agent.post("/v1/requests", &ask("INC-2")).await;
    assert_eq!((again.status.as_u16(), &again.json()["reason"]), (429, &json!("cooldown")), "{again:?}");
    let other = with(
        ask("INC-2"),
        "scope",
        json!([
        {"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/customers/*"]}]),
    );
    assert_eq!(agent.post("/v1/requests", &other).await.status, 201);
    let lifted = format!("/v1/principals/{}/cooldowns/lift", "spiffe:%2F%2Fjitgate.local%2Fagent%2Fdemo");
    assert_eq!(agent.post(&lifted, &json!({"reason": "please"})).await.status, 403);
    assert_eq!(approver.post(&lifted, &json!({"reason": "was a mistake"})).await.status, 200);
    assert_eq!(agent.post("/v1/requests", &ask("INC-2")).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_says_what_to_change_and_logs_nothing() {
    let world = World::start().await;
    let mut agent = world.agent("demo").await;
    let http = |service: &str, action: &str, path: &str| {
        json!([
        {"type": "http", "locations": [service], "actions": [action], "paths": [path]}])
    };
    let before = world.app().plane().with_state(|state| state.revision());
    for (body, status, reason) in [
        (with(ask("t"), "scope", http("vault", "GET", "/a")), 403, "not_requestable"),
        (with(ask("t"), "scope", http("invented", "GET", "/a")), 403, "not_requestable"),
        (with(ask("t"), "scope", http("orders", "*", "/**")), 422, "too_wide"),
        (with(ask("t"), "scope", json!([])), 400, "malformed"),
        (with(ask("t"), "reason", json!("  ")), 422, "invalid"),
        (with(ask("t"), "ttl", json!("9h")), 422, "ttl_above_cap"),
        (with(ask("t"), "principal", json!("spiffe://jitgate.local/agent/other")), 403, "forbidden"),
        (with(ask("t"), "superuser", json!(true)), 400, "malformed"),
        (with(ask("t"), "token", json!("yes")), 400, "malformed"),
        (with(ask("t"), "role", Value::Null), 400, "malformed"),
        (with(ask("t"), "principal", Value::Null), 400, "malformed"),
        (json!(["t", "reason", ask("t")["scope"], null, null, "15m"]), 400, "malformed"),
        (planned(json!({"scope": ask("t")["scope"], "max_uses": null})), 400, "malformed"),
        (planned(json!({"scope": ask("t")["scope"], "max_uses": 0})), 400, "malformed"),
        (planned(json!([ask("t")["scope"], 3, false])), 400, "malformed"),
        (with(ask("t"), "role", json!("reader")), 400, "malformed"),
        (with(ask("t"), "not_before", json!("2001-01-01T00:00:00Z")), 422, "invalid"),
        (with(ask("t"), "ticket", json!("")), 422, "invalid"),
        (with(ask("t"), "on_behalf_of", json!("x.y.z")), 401, "token_invalid"),
    ] {
        let refused = agent.post("/v1/requests", &body).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["reason"]),
            (status, &json!(reason)),
            "{refused:?}"
        );
    }
    let long = |length| with(ask("t"), "reason", json!("x".repeat(length)));
    assert_eq!(agent.post("/v1/requests", &long(4097)).await.status, 422);
    let huge = agent.post("/v1/requests", &long(1 << 20)).await;
    assert_eq!((huge.status.as_u16(), &huge.json()["reason"]), (413, &json!("too_large")));
    let mut agent = world.agent("demo").await;
    let role = json!({"task": "t", "reason": "r", "role": "reader", "ttl": "5m"});
    assert_eq!(agent.post("/v1/requests", &role).await.json()["reason"], "not_requestable");
    let twice = r#"{"task":"t","task":"u","reason":"r","scope":[],"ttl":"5m"}"#;
    assert_eq!(agent.call("POST", "/v1/requests", "application/json", twice.to_owned()).await.status, 400);
    assert_eq!(world.app().plane().with_state(|state| state.revision()), before);
}

fn planned(step: Value) -> Value {
    let mut body = with(ask("t"), "plan", json!([step]));
    body.as_object_mut().unwrap().remove("scope");
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_says_what_it_narrows_or_leaves_it_out() {
    let world = World::start().await;
    let id = world.agent("demo").await.post("/v1/requests", &ask("t")).await.json()["id"].clone();
    let path = format!("/v1/requests/{}/approve", id.as_str().unwrap());
    let mut approver = world.operator("approver").await;
    for key in ["scope", "ttl", "hash"] {
        let refused = approver.post(&path, &with(json!({"reason": "r"}), key, Value::Null)).await;
        assert_eq!(refused.status, 400, "{key} {refused:?}");
    }
    let by_position = approver.post(&path, &json!(["r"])).await;
    assert_eq!(by_position.status, 400, "{by_position:?}");
    assert_eq!(approver.get("/v1/requests?state=pending").await.json()[0]["id"], id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_ask_the_same_question() {
    let world = World::start().await;
    let mut agent = world.agent("demo").await;
    for (n, task) in ["a", "b", "a", "b", "a"].into_iter().enumerate() {
        let body = with(ask(task), "ttl", json!(format!("{}m", n + 1)));
        assert_eq!(agent.post("/v1/requests", &body).await.status, 201);
    }
    let mut viewer = world.operator("viewer").await;
    let (mut seen, mut next) = (Vec::new(), Some("/v1/requests?limit=2&task=a&state=pending".to_owned()));
    while let Some(path) = next {
        let page = viewer.get(&path).await;
        seen.extend(page.json().as_array().unwrap().iter().map(|request| request["task"].clone()));
        let link = page.headers.get("link").map(|link| link.to_str().unwrap());
        next = link.map(|link| link.split_once('>').unwrap().0.trim_start_matches('<').to_owned());
    }
    assert_eq!(seen, vec![json!("a"); 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_about_principals_have_one_reading() {
    let world = World::start().await;
    let mut security = world.operator("security").await;
    let path = "/v1/principals/spiffe:%2F%2Fjitgate.local%2Fagent%2Fdemo/attributes";
    let mut put = async |body: &str| security.call("PUT", path, "application/json", body.to_owned()).await;
    for body in
        [r#"{"labels":{"a":"1","a":"2"}}"#, r#"{"risk":"low","risk":"high"}"#, r#"{"risk":"none"}"#, "[]"]
    {
        assert_eq!(put(body).await.status, 400, "{body}");
    }
    let set = put(r#"{"risk":"medium","labels":{"team":"a"}}"#).await;
    assert_eq!((set.status.as_u16(), &set.json()["attributes"]["risk"]), (200, &json!("medium")));
    let mut agent = world.agent("demo").await;
    assert_eq!(agent.call("PUT", path, "application/json", "{}".to_owned()).await.status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_sees_or_decides() {
    let world = World::start().await;
    let mut agent = world.agent("demo").await;
    let id = agent.post("/v1/requests", &ask("INC-1")).await.json()["id"].as_str().unwrap().to_owned();
    let mut other = world.agent("other").await;
    let (approve, reason) = (format!("/v1/requests/{id}/approve"), json!({"reason": "r"}));
    for path in [approve.clone(), format!("/v1/requests/{id}/deny"), format!("/v1/requests/{id}/cancel")] {
        assert_eq!(other.post(&path, &reason).await.status, 404, "{path}");
    }
    assert_eq!(other.get(&format!("/v1/requests/{id}")).await.status, 404);
    assert_eq!(other.get("/v1/requests").await.json(), json!([]));
    assert_eq!(agent.get("/v1/requests").await.json()[0]["id"], json!(id));
    // The requester sees it and cannot decide; a viewer sees it as well.
    assert_eq!(agent.post(&approve, &reason).await.status, 403);
    assert_eq!(world.operator("viewer").await.post(&approve, &reason).await.status, 403);
    // Somebody else's task.
    let foreign = other.post("/v1/requests", &ask("INC-1")).await;
    assert_eq!((foreign.status.as_u16(), &foreign.json()["reason"]), (403, &json!("foreign_task")));
    assert_eq!(other.post("/v1/tasks/INC-1/done", &json!({})).await.status, 404);
    let join = json!({"principal": "spiffe://jitgate.local/agent/other", "reason": "helps"});
    assert_eq!(agent.post("/v1/tasks/INC-1/members", &join).await.status, 200);
    assert_eq!(other.post("/v1/requests", &ask("INC-1")).await.status, 201);
    assert_eq!(other.post("/v1/tasks/INC-1/done", &json!({})).await.status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrowed_grant_is_extended_delegated_and_ended_with_its_parent() {
    let world = World::start().await;
    let mut agent = world.agent("demo").await;
    let id = agent.post("/v1/requests", &ask("INC-1")).await.json()["id"].as_str().unwrap().to_owned();
    let mut approver = world.operator("approver").await;
    let seven =
        json!([{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders/7"]}]);
    let longer = json!({"reason": "r", "ttl": "16m"});
    assert_eq!(approver.post(&format!("/v1/requests/{id}/approve"), &longer).await.status, 422);
    let narrow = json!({"reason": "only this one", "scope": seven});
    let approved = approver.post(&format!("/v1/requests/{id}/approve"), &narrow).await.json();
    let grant = approved["grant"].as_str().unwrap().to_owned();
    let shown = agent.get(&format!("/v1/grants/{grant}")).await.json();
    assert_eq!((&shown["scope"], &shown["lineage"]["within"]), (&seven, &json!([ask("x")["scope"]])));
    // More time is another decision.
    let extended = agent
        .post(&format!("/v1/grants/{grant}/extend"), &json!({"ttl": "15m", "reason": "it takes longer"}))
        .await;
    assert_eq!(
        (extended.status.as_u16(), &extended.json()["state"]),
        (201, &json!("pending")),
        "{extended:?}"
    );
    let extension = extended.json()["id"].as_str().unwrap().to_owned();
    let approved =
        approver.post(&format!("/v1/requests/{extension}/approve"), &json!({"reason": "fine"})).await.json();
    let next = agent.get(&format!("/v1/grants/{}", approved["grant"].as_str().unwrap())).await.json();
    assert_eq!((&next["not_before"], &next["state"]), (&shown["expires_at"], &json!("upcoming")));
    assert_eq!(
        (&next["lineage"]["extends"], &next["lineage"]["within"]),
        (&json!(grant), &shown["lineage"]["within"])
    );
    // A part for another, who approved nothing of it.
    let part = |principal: &str| json!({"principal": principal, "scope": seven, "reason": "helps"});
    let path = format!("/v1/grants/{grant}/delegate");
    let benefits = agent.post(&path, &part("spiffe://jitgate.local/operator/approver")).await;
    assert_eq!((benefits.status.as_u16(), &benefits.json()["reason"]), (403, &json!("self_approval")));
    let delegated = agent.post(&path, &part("spiffe://jitgate.local/agent/helper")).await.json();
    let delegation = delegated["id"].as_str().unwrap().to_owned();
    let mut second = world.operator("second").await;
    let approved =
        second.post(&format!("/v1/requests/{delegation}/approve"), &json!({"reason": "fine"})).await.json();
    let child = approved["grant"].as_str().unwrap().to_owned();
    let mut helper = world.agent("helper").await;
    let shown = helper.get(&format!("/v1/grants/{child}")).await.json();
    assert_eq!((&shown["state"], &shown["lineage"]["parent"]), (&json!("live"), &json!(grant)));
    // Ending the parent ends the child and what was to come.
    let mut security = world.operator("security").await;
    let revoked = security.post("/v1/revocations", &json!({"grant": grant, "reason": "enough"})).await.json();
    assert_eq!(revoked["grants"].as_array().map(Vec::len), Some(3), "{revoked}");
    assert_eq!(helper.get(&format!("/v1/grants/{child}")).await.json()["state"], "revoked");
}

async fn keyed(agent: &mut Client, key: &str, body: &Value) -> Answer {
    let request = Request::builder()
        .method("POST")
        .uri("/v1/requests")
        .header("host", "control")
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    agent.send(request.body(Full::new(body.to_string().into())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_a_key_is_done_once_whatever_has_become_of_it() {
    let mut world = World::start().await;
    let mut agent = world.agent("demo").await;
    let first = keyed(&mut agent, "\"one\"", &ask("INC-1")).await;
    assert_eq!(first.status, 201);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let cancelled = agent.post(&format!("/v1/requests/{id}/cancel"), &json!({})).await;
    assert_eq!(cancelled.json()["state"], "cancelled");
    // The answer was lost, the caller tries again, and the control plane was restarted in between.
    world.restart().await;
    let mut agent = world.agent("demo").await;
    let again = keyed(&mut agent, "one", &ask("INC-1")).await;
    assert_eq!(
        (again.status.as_u16(), again.json()["id"].as_str(), &again.json()["state"]),
        (200, Some(&*id), &json!("cancelled"))
    );
    keyed(&mut agent, "one", &ask("INC-2")).await.is_problem(422, "key_reused");
    for key in ["", "a b", "\"a", &"k".repeat(256)] {
        keyed(&mut agent, key, &ask("INC-1")).await.is_problem(400, "malformed");
    }
    // A key is its caller's alone, and without it the same words ask anew.
    let mut other = world.agent("other").await;
    assert_eq!(keyed(&mut other, "one", &ask("INC-9")).await.status, 201);
    let anew = agent.post("/v1/requests", &ask("INC-1")).await;
    assert_eq!(anew.status, 201, "{anew:?}");
    assert_ne!(anew.json()["id"], json!(id));
}
