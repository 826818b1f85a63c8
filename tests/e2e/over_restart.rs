//! A control plane that is killed forgets nothing of what was asked, half approved, counted, refused and handed on.

use crate::access::agent;
use crate::harness::client::full;
use crate::harness::pki::Leaf;
use crate::harness::{Answer, Protocol, Setup, World, asked, id, with};
use serde_json::{Value, json};

const POLICIES: &str = r#"
@id("reads")
permit (principal, action in [Action::"request", Action::"delegate"], resource) when { context.method == "GET" };
@id("posts")
permit (principal, action == Action::"request", resource) when { context.method == "POST" };
@id("two")
@approvers("2 of approvers")
permit (principal, action == Action::"request", resource) when { context.method == "PUT" };
"#;

const PEOPLE: &str = r#"
[[identities]]
id = "spiffe://jitgate.local/operator/ada"
roles = ["approver"]
[[identities]]
id = "spiffe://jitgate.local/operator/bob"
roles = ["approver"]
"#;

async fn keyed(world: &World, who: &Leaf, body: &Value) -> Answer {
    let mut connection = world.api_as(who).connect().await;
    let request = connection.request("POST", "/v1/requests").header("content-type", "application/json");
    let request = request.header("idempotency-key", "night-1").body(full(body.to_string())).unwrap();
    Answer::of(connection.send(request).await).await
}

async fn approve(world: &World, who: &str, request: &Value) -> Answer {
    let path = format!("/v1/requests/{}/approve", id(request));
    world.api(&world.ca.svid(who), ("POST", &path), &json!({"reason": "r"})).await
}

#[tokio::test]
async fn what_was_begun_goes_on_after_the_control_plane_was_killed() {
    let mut world = Setup::new().tables(PEOPLE).decided_by("", POLICIES).await.start_both().await;
    let helper = world.ca.svid("agent/helper");
    // Half approved.
    let half = world.ask(&world.agent, &asked("T", "PUT", "/v1/orders/7")).await;
    assert_eq!(approve(&world, "operator/ada", &half).await.json()["state"], "pending");
    // Refused.
    let refused = world.ask(&world.agent, &asked("T", "PUT", "/v1/stock")).await;
    world.cli(&["deny", id(&refused), "--reason", "no"]).await;
    // A plan in its first step, used once of twice.
    let step = |method: &str, more: Value| {
        let mut step = json!({"scope": asked("P", method, "/v1/plan")["scope"]});
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    };
    let steps =
        json!([step("GET", json!({"max_uses": 2})), step("POST", json!({"max_uses": 1, "reassess": true}))]);
    let mut body = with(asked("P", "GET", "/"), "plan", steps);
    body.as_object_mut().unwrap().remove("scope");
    let plan = world.ask(&world.agent, &body).await;
    world.granted(&plan).await;
    assert_eq!(world.client(Protocol::H1).get("/v1/plan").await.status, 200);
    // Handed on, once under a key, with a guest in the task.
    let parent = keyed(&world, &world.agent, &asked("T", "GET", "/v1/orders/*")).await.json();
    let part = json!({"principal": "spiffe://jitgate.local/agent/helper", "reason": "helps",
        "scope": asked("T", "GET", "/v1/orders/7")["scope"]});
    let delegate = format!("/v1/grants/{}/delegate", parent["grant"].as_str().unwrap());
    let child = world.api(&world.agent, ("POST", &delegate), &part).await.json();
    world.granted(&child).await;

    world.control().kill();
    world.start_control().await;

    assert_eq!(approve(&world, "operator/ada", &half).await.reason(), "approved_already");
    let whole = approve(&world, "operator/bob", &half).await.json();
    assert_eq!(whole["state"], "approved", "{whole}");
    let again = world.try_ask(&world.agent, &asked("T", "PUT", "/v1/stock")).await;
    assert_eq!(again.reason(), "cooldown", "{again:?}");
    let same = keyed(&world, &world.agent, &asked("T", "GET", "/v1/orders/*")).await;
    assert_eq!((same.status.as_u16(), &same.json()["id"]), (200, &parent["id"]), "{same:?}");
    let other = keyed(&world, &world.agent, &asked("T", "GET", "/v1/other/*")).await;
    assert_eq!((other.status.as_u16(), other.reason()), (422, "key_reused".into()), "{other:?}");
    world.granted(&whole).await;
    assert_eq!(world.client(Protocol::H1).get("/v1/plan").await.status, 200);
    assert_eq!(world.client(Protocol::H1).get("/v1/plan").await.reason(), "limit", "twice in all");
    let advanced =
        world.cli_as(&agent(&world), &["requests", "advance", id(&plan), "--output", "json"]).await;
    let advanced = crate::access::json(&advanced);
    assert_eq!((&advanced["state"], &advanced["kind"]["step"]["number"]), (&json!("approved"), &json!(1)));
    let grant = world.granted(&advanced).await;
    assert_eq!(grant["limits"], json!({"max_uses": 1}), "{grant}");
    // The guest may ask, and what was handed on ends with what it comes from.
    assert_eq!(world.ask(&helper, &asked("T", "GET", "/v1/guest")).await["state"], "approved");
    world.revoke(parent["grant"].as_str().unwrap()).await;
    let shown = world.cli(&["grants", "show", child["grant"].as_str().unwrap()]).await;
    assert_eq!(shown["state"], "revoked", "{shown}");
}
