//! A proxy's trail is witnessed by the control plane: what was signed for cannot be taken back unseen.

use crate::harness::{Protocol, World, eventually};
use serde_json::Value;
use std::fs;

/// What the control plane has of the proxy's trail, once it is so.
async fn trail(world: &World, is: impl Fn(&Value) -> bool) -> Value {
    eventually("the trail at the control plane", || async {
        let status = world.cli(&["status"]).await;
        let trail = status["proxies"][0]["trail"].clone();
        is(&trail).then_some(trail)
    })
    .await
}

#[tokio::test]
async fn checkpoints_reach_the_control_plane_and_a_trail_begun_anew_is_disputed() {
    let mut world = World::start().await;
    world.grant("orders:GET:/**").await;
    for _ in 0..5 {
        assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
    }
    let kept = trail(&world, |trail| trail["size"].as_u64() >= Some(5)).await;
    assert!(kept["disputed"].is_null(), "{kept}");
    let key = fs::read_to_string(world.path("audit/audit.jsonl.tlog/key.pub")).unwrap();
    assert_eq!(kept["key"], key.trim());

    // The note is what the proxy signed.
    let operator = world.ca.svid("operator/local");
    let path = format!(
        "/v1/proxies/{}/checkpoint",
        world.cli(&["status"]).await["proxies"][0]["name"].as_str().unwrap()
    );
    let verified = world
        .cli(&["audit", "verify", "--file", "audit/audit.jsonl", "--proxy", path.split("/").nth(3).unwrap()])
        .await;
    assert_eq!(verified["verified"], true, "{verified}");
    let note = world.api_as(&operator).get(&path).await;
    assert_eq!((note.status.as_u16(), note.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    let key: jitgate::tlog::VerifierKey = key.trim().parse().unwrap();
    let text = String::from_utf8(note.body.to_vec()).unwrap();
    let signed = jitgate::tlog::Checkpoint::open(&text, &key).unwrap();
    assert!(signed.size >= 5 && signed.origin.ends_with("/audit"), "{text}");
    assert_eq!(world.api_as(&world.agent).get(&path).await.status, 404, "an agent learns nothing");

    // It goes on after both were killed.
    world.proxy().kill();
    world.control().kill();
    world.start_control().await;
    world.start_proxy().await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
    let later = trail(&world, |trail| trail["size"].as_u64() > kept["size"].as_u64()).await;
    assert!(later["disputed"].is_null(), "{later}");

    // Whoever is root at the proxy takes the trail away and begins another, with the same key.
    world.proxy().kill();
    fs::remove_file(world.path("audit/audit.jsonl")).unwrap();
    fs::remove_file(world.path("audit/audit.jsonl.lock")).unwrap();
    fs::remove_dir_all(world.path("audit/audit.jsonl.tlog")).unwrap();
    world.start_proxy().await;
    let after = trail(&world, |trail| !trail["disputed"].is_null()).await;
    assert_eq!(after["disputed"], "rolled_back", "{after}");
    let status = world.cli(&["status"]).await;
    let notes = status["attention"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().unwrap().contains("fewer lines")), "{notes:?}");
    // It is served all the same, and what follows counts from there.
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
    let again = trail(&world, |trail| trail["size"].as_u64() > after["size"].as_u64()).await;
    assert_eq!(again["disputed"], "rolled_back", "{again}");
}
