//! A client that has no access yet comes up, learns what to ask for, and goes on when there is access.

use super::{Connected, SCOPE, names, world};
use serde_json::{Value, json};

#[tokio::test]
async fn a_client_comes_up_without_access_and_is_told_when_there_is() {
    let (world, endpoint) = world().await;
    let (mut client, answer) = Connected::greeted(&world, &[]).await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
    assert_eq!(answer["result"]["capabilities"]["tools"]["listChanged"], true, "{answer}");
    assert!(answer["result"]["instructions"].as_str().unwrap().contains("request_access"), "{answer}");
    assert_eq!(client.call(1, "ping", json!({})).await["result"], json!({}));
    let list = client.call(2, "tools/list", json!({})).await;
    assert!(!names(&list).contains(&"echo"), "{list}");
    let denied = client.tool(3, "echo").await;
    assert_eq!(denied["error"]["data"]["reason"], "no_grant", "{denied}");
    assert!(denied["error"]["data"]["required"].is_array(), "{denied}");
    assert_eq!(endpoint.received().len(), 0);

    let grant = world.grant(SCOPE).await;
    let changed = client.next().await;
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    let list = client.call(4, "tools/list", json!({})).await;
    assert!(names(&list).contains(&"echo"), "{list}");
    assert_eq!(client.tool(5, "echo").await["error"], Value::Null);
    let handshake: Vec<Value> =
        endpoint.received().iter().take(2).map(|seen| seen.body["method"].clone()).collect();
    assert_eq!(handshake, [json!("initialize"), json!("notifications/initialized")]);
    assert_eq!(endpoint.of("initialize")[0].body["params"]["clientInfo"]["name"], "t");

    world.revoke(&grant).await;
    assert_eq!(client.next().await["method"], "notifications/tools/list_changed");
    let list = client.call(6, "tools/list", json!({})).await;
    assert!(!names(&list).contains(&"echo"), "{list}");
}

#[tokio::test]
async fn a_tool_of_the_service_is_never_taken_for_ours() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let (mut client, _) = Connected::greeted(&world, &[]).await;
    let list = client.call(1, "tools/list", json!({})).await;
    let theirs: Vec<&str> = names(&list).into_iter().filter(|name| !super::OURS.contains(name)).collect();
    assert_eq!(theirs, ["echo", "ops__request_access"], "look-alikes are left out");
    for (id, name) in (2..).zip(super::OURS) {
        client.tool(id, name).await;
    }
    assert_eq!(
        endpoint.of("tools/call").len(),
        0,
        "whatever the service says, these are the control plane's"
    );
    let other = client.tool(9, "ops__request_access").await;
    assert!(
        other["result"]["content"][0]["text"].as_str().unwrap().contains("\"request_access\""),
        "{other}"
    );
    assert_eq!(endpoint.of("tools/call")[0].body["params"]["name"], "request_access");
}

#[tokio::test]
async fn without_asking_the_service_alone_is_there() {
    let (world, _) = world().await;
    let (mut client, answer) = Connected::greeted(&world, &["--no-asking"]).await;
    assert_eq!(answer["error"]["data"]["reason"], "no_grant", "{answer}");
    world.grant(SCOPE).await;
    let list = client.call(2, "tools/list", json!({})).await;
    assert_eq!(names(&list), ["echo", "request_access", "Request-Access", "ops__my_access"]);
}
