//! Asking again is not a loophole, and what was handed on does not outlive what it comes from.

use crate::access::{ASK, agent, beside, json, pending, stderr};
use crate::harness::world::AGENT;
use crate::harness::{Protocol, World, eventually};
use serde_json::Value;

#[tokio::test]
async fn a_denial_has_a_cool_down_that_an_operator_may_lift() {
    let world = World::start().await;
    let ask = [&ASK[..], &["--output", "json"]].concat();
    let asked = json(&world.cli_as(&agent(&world), &ask).await);
    world.cli(&["deny", asked["id"].as_str().unwrap(), "--reason", "not now"]).await;

    let narrower =
        ["request", "--task", "INC-8", "--scope", "orders:GET:/v1/orders/7", "--ttl", "1m", "--reason", "r"];
    for again in [&ask[..], &narrower[..]] {
        let early = world.cli_as(&agent(&world), again).await;
        assert_eq!(early.status.code(), Some(1), "{early:?}");
        assert!(stderr(&early).contains("ask again after"), "{early:?}");
    }
    let lift = ["cooldown", "lift", "spiffe://jitgate.local/agent/demo", "--reason", "agreed with the owner"];
    let own = world.cli_as(&agent(&world), &lift).await;
    assert_eq!(own.status.code(), Some(1), "nobody lifts their own: {own:?}");
    assert_eq!(
        json(&world.cli_as(&world.operator, &[&lift[..], &["--output", "json"]].concat()).await)["id"],
        lift[2]
    );
    let anew = json(&world.cli_as(&agent(&world), &ask).await);
    assert_eq!(anew["state"], "pending", "{anew}");
    assert_ne!(anew["id"], asked["id"]);
}

#[tokio::test]
async fn what_was_revoked_is_not_asked_for_again_at_once() {
    let world = World::start().await;
    let ask = [&ASK[..], &["--output", "json"]].concat();
    json(&world.cli_as(&agent(&world), &ask).await);
    world.cli(&["approve", &pending(&world).await, "--reason", "r"]).await;
    world.cli(&["revoke", "--task", "INC-7", "--reason", "seen enough", "--wait"]).await;

    let early = world.cli_as(&agent(&world), &ask).await;
    assert_eq!(early.status.code(), Some(1), "{early:?}");
    assert!(stderr(&early).contains("was revoked lately: ask again after"), "{early:?}");
    assert_eq!(world.cli(&["requests", "--state", "pending"]).await, serde_json::json!([]));
    // Something else may be asked for, and the same once somebody has lifted it.
    let beside =
        ["request", "--task", "INC-8", "--scope", "orders:GET:/v2/*", "--ttl", "1m", "--reason", "r"];
    let beside = world.cli_as(&agent(&world), &[&beside[..], &["--output", "json"]].concat()).await;
    assert_eq!(json(&beside)["state"], "pending", "{beside:?}");
    world.cli(&["cooldown", "lift", AGENT, "--reason", "agreed"]).await;
    assert_eq!(json(&world.cli_as(&agent(&world), &ask).await)["state"], "pending");
}

#[tokio::test]
async fn the_same_asked_twice_is_one_request_and_one_grant() {
    let world = World::start().await;
    let ask = [&ASK[..], &["--output", "json"]].concat();
    let first = json(&world.cli_as(&agent(&world), &ask).await);
    let second = json(&world.cli_as(&agent(&world), &ask).await);
    assert_eq!(first["id"], second["id"], "while it waits");
    let approved = world.cli(&["approve", &pending(&world).await, "--reason", "r"]).await;
    let third = json(&world.cli_as(&agent(&world), &ask).await);
    assert_eq!(
        (&third["id"], &third["grant"]),
        (&first["id"], &approved["grant"]),
        "and while it is granted"
    );
    assert_eq!(world.cli(&["grants"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_handed_on_ends_with_what_it_comes_from() {
    let world = World::start().await;
    let asking = beside(&world, &agent(&world), &[&ASK[..], &["--wait", "--output", "json"]].concat());
    world.cli(&["approve", &pending(&world).await, "--reason", "r"]).await;
    let grant = json(&asking.await.unwrap())["grant"].as_str().unwrap().to_owned();
    let helper = world.ca.svid("agent/helper");
    let part = [
        "delegate",
        &grant,
        "--principal",
        "spiffe://jitgate.local/agent/helper",
        "--scope",
        "orders:GET:/v1/orders/7",
    ];
    let delegating = beside(
        &world,
        &agent(&world),
        &[&part[..], &["--reason", "reads one", "--wait", "--output", "json"]].concat(),
    );
    world.cli(&["approve", &pending(&world).await, "--reason", "r"]).await;
    let child = json(&delegating.await.unwrap())["grant"].as_str().unwrap().to_owned();
    let as_helper = world.client_as(Some(&helper), Protocol::H2);
    eventually("permission for the helper", || async {
        (as_helper.get("/v1/orders/7").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(as_helper.get("/v1/orders/8").await.status, 403, "a part of it");

    world.cli(&["revoke", &grant, "--reason", "seen enough", "--wait"]).await;
    assert_eq!(as_helper.get("/v1/orders/7").await.status, 403);
    let ended: Value = world.cli(&["grants", "show", &child]).await;
    assert_eq!(ended["state"], "revoked", "{ended}");
}
