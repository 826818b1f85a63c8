//! Nobody holds standing access: it is asked for, decided by somebody else, narrowed, and ends with its task.

use crate::harness::client::full;
use crate::harness::pki::Leaf;
use crate::harness::{Answer, Protocol, World, eventually, within};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

async fn post(world: &World, leaf: &Leaf, path: &str, body: &Value) -> Answer {
    let mut connection = world.api_as(leaf).connect().await;
    let request = connection.request("POST", path).header("content-type", "application/json");
    Answer::of(connection.send(request.body(full(body.to_string())).unwrap()).await).await
}

/// Approves, and waits until the proxy has heard of the grant.
async fn approve(world: &World, request: &Value, body: &Value) -> Value {
    let path = format!("/v1/requests/{}/approve", request["id"].as_str().unwrap());
    let approved = post(world, &world.ca.svid("operator/local"), &path, body).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    let grant = approved.json()["grant"].as_str().unwrap().to_owned();
    let shown = world.cli(&["grants"]).await;
    let shown = shown.as_array().unwrap().iter().find(|shown| shown["id"] == *grant).unwrap().clone();
    world.applied(&shown["revision"]).await;
    shown
}

#[tokio::test]
async fn access_is_asked_for_narrowed_handed_on_and_ends_with_its_task() {
    let world = World::start().await;
    let helper = world.ca.svid("agent/helper");
    let orders = |action: &str, path: &str| json!([{"type": "http", "locations": ["orders"], "actions": [action], "paths": [path]}]);
    let ask = json!({"task": "INC-1", "reason": "a test", "scope": orders("GET", "/**"), "ttl": "10m"});
    assert_eq!(world.client(Protocol::H1).get("/v1/orders/7").await.reason(), "no_grant");
    let request = post(&world, &world.agent, "/v1/requests", &ask).await.json();
    assert_eq!(request["state"], "pending", "{request}");
    // The requester cannot approve it, and nothing is open while it waits.
    let own = format!("/v1/requests/{}/approve", request["id"].as_str().unwrap());
    assert_eq!(post(&world, &world.agent, &own, &json!({"reason": "me"})).await.status, 403);
    assert_eq!(world.client(Protocol::H2).get("/v1/orders/7").await.reason(), "no_grant");

    let narrower = json!([
        {"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders/*"]},
        {"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/sse"]},
    ]);
    let wider = json!({"reason": "r", "scope": orders("DELETE", "/v1/orders/7")});
    let refused = post(&world, &world.ca.svid("operator/local"), &own, &wider).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let grant = approve(&world, &request, &json!({"reason": "only orders", "scope": narrower})).await;
    assert_eq!(grant["lineage"]["within"], json!([ask["scope"]]));
    for protocol in Protocol::BOTH {
        assert_eq!(world.client(protocol).get("/v1/orders/7").await.status, 200);
        assert_eq!(world.client(protocol).get("/v1/stock").await.reason(), "out_of_scope");
    }

    // How much it was used becomes part of its story.
    let story = format!("/v1/requests/{}/story", request["id"].as_str().unwrap());
    let used = eventually("the use of the grant", || async {
        let told = world.api_as(&world.agent).get(&story).await.json();
        let used = told.as_array().unwrap().iter().find(|told| told["kind"] == "grant_used")?;
        Some(used["text"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(used.contains("2 requests"), "{used}");

    // A part for another, for which a decision is needed as well.
    let part = json!({"principal": "spiffe://jitgate.local/agent/helper", "scope": orders("GET", "/v1/orders/7"), "reason": "helps"});
    let path = format!("/v1/grants/{}/delegate", grant["id"].as_str().unwrap());
    let request = post(&world, &world.agent, &path, &part).await.json();
    let child = approve(&world, &request, &json!({"reason": "fine"})).await;
    assert_eq!(child["lineage"]["within"], json!([narrower, ask["scope"]]));
    let as_helper = world.client_as(Some(&helper), Protocol::H1);
    assert_eq!(as_helper.get("/v1/orders/7").await.status, 200);
    assert_eq!(as_helper.get("/v1/orders/8").await.reason(), "out_of_scope");

    // The task ends: what runs is cut, for everybody.
    let mut connection = world.client(Protocol::H2).connect().await;
    let mut running = connection.open("/sse").await;
    within("the first event", running.frame()).await.unwrap().unwrap();
    assert_eq!(post(&world, &helper, "/v1/tasks/INC-1/done", &json!({})).await.status, 403, "not its task");
    assert_eq!(post(&world, &world.agent, "/v1/tasks/INC-1/done", &json!({})).await.status, 200);
    let cut = async { while let Some(Ok(_)) = running.frame().await {} };
    within("the cut", cut).await;
    let lines = world.ends("/sse").await;
    assert_eq!((&lines[0]["end"], &lines[0]["cause"]), (&json!("cut"), &json!("task_done")), "{lines:?}");
    assert_ne!(world.client(Protocol::H1).get("/v1/orders/7").await.status, 200);
    assert_ne!(as_helper.get("/v1/orders/7").await.status, 200);
}

#[tokio::test]
async fn everything_of_a_service_cannot_be_asked_for() {
    let world = World::start().await;
    let mcp = |tools: Value, arguments: Value| json!([{"type": "mcp", "locations": ["orders"], "actions": ["tools/call"], "tools": tools, "arguments": arguments}]);
    let asks = async |scope: Value| {
        let ask = json!({"task": "INC-1", "reason": "a test", "scope": scope, "ttl": "5m"});
        post(&world, &world.agent, "/v1/requests", &ask).await
    };
    let http = json!([{"type": "http", "locations": ["orders"], "actions": ["*"], "paths": ["/**"]}]);
    let part = mcp(json!(["get_metrics"]), json!(true));
    let among = json!([part[0], mcp(json!(["*"]), json!(true))[0]]);
    for wide in [http, mcp(json!(["*"]), json!(true)), among] {
        let refused = asks(wide).await;
        assert_eq!((refused.status.as_u16(), refused.reason()), (422, "too_wide".into()), "{refused:?}");
        let said = refused.json()["detail"].to_string();
        assert!(said.contains("name the actions, the paths or the tools that the task needs"), "{said}");
    }
    assert_eq!(world.cli(&["requests"]).await, json!([]), "nothing is left of them");
    for narrower in [part, mcp(json!(["*"]), json!({"properties": {"server": {"const": "srv-7"}}}))] {
        let asked = asks(narrower).await;
        assert_eq!((asked.status.as_u16(), &asked.json()["state"]), (201, &json!("pending")), "{asked:?}");
    }
}
