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
    let now = world.cli(&["status"]).await["proxies"][0]["trail"].clone();
    assert!(now["size"].as_u64() >= kept["size"].as_u64(), "what was acknowledged is not lost: {now} {kept}");
    world.start_proxy().await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
    let later = trail(&world, |trail| trail["size"].as_u64() > kept["size"].as_u64()).await;
    assert!(later["disputed"].is_null(), "{later}");
    // The event log has the first of them; it does not grow by each.
    let events = world.api_as(&operator).get("/v1/log/entries").await;
    let events = String::from_utf8(events.body.to_vec()).unwrap();
    assert_eq!(events.matches("\"trail_recorded\"").count(), 1, "{events}");

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

    // What is kept now fits the new trail, which proves nothing of the old one: unless somebody says that this was intended.
    let (found, before) = (again["disputed_at"].as_str().unwrap(), kept["at"].as_str().unwrap());
    for (more, good) in [
        (&[][..], false),
        (&["--accept-disputes-until", before], false),
        (&["--accept-disputes-until", found], true),
    ] {
        let name = path.split("/").nth(3).unwrap();
        let fixed = ["audit", "verify", "--file", "audit/audit.jsonl", "--proxy", name, "--output", "json"];
        let verified = world.try_cli(&[&fixed[..], more].concat()).await;
        let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!(verified.status.code(), Some(i32::from(!good)), "{verified:?}");
        assert_eq!(report["verified"], good, "{report}");
        let wrong = if good {
            Value::Array(Vec::new())
        } else {
            let detail = report["wrong"][0]["detail"].clone();
            assert!(detail.as_str().unwrap().contains("has fewer lines than it had signed for"), "{detail}");
            serde_json::json!([{"kind": "disputed", "fault": "rolled_back", "at": found, "detail": detail}])
        };
        assert_eq!(report["wrong"], wrong);
    }
}

/// What the proxy remembers of the event log, once it is so.
async fn remembered(world: &World, is: impl Fn(&Value) -> bool) -> Value {
    let file = world.path("audit/audit.jsonl.control-log.json");
    eventually("what the proxy remembers of the event log", || async {
        let memory: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        is(&memory).then_some(memory)
    })
    .await
}

fn size(memory: &Value) -> u64 {
    let note = memory["now"]["checkpoint"].as_str().unwrap();
    note.lines().nth(1).unwrap().parse().unwrap()
}

/// Changes an event in the store, as only whoever has the file can.
fn rewrite(world: &World) {
    let script = "import sqlite3,sys; db=sqlite3.connect(sys.argv[1]); \
        db.execute(\"update events set event=replace(event,'edge-1','edge-2') where revision=2\"); db.commit()";
    let mut python = std::process::Command::new("python3");
    let done = python.args(["-c", script]).arg(world.path("control.db")).status().unwrap();
    assert!(done.success());
}

#[tokio::test]
async fn the_event_log_can_be_checked_from_outside_and_is_not_rewritten_unseen() {
    use jitgate::tlog::{Checkpoint, Hash, Tree, VerifierKey};
    let mut world = World::start().await;
    world.grant("orders:GET:/**").await;
    let first = remembered(&world, |memory| !memory["now"].is_null()).await;

    // Whoever may read has the events and computes the root that was signed for.
    let operator = world.ca.svid("operator/local");
    let api = world.api_as(&operator);
    let text = |answer: crate::harness::Answer| String::from_utf8(answer.body.to_vec()).unwrap();
    let key: VerifierKey = text(api.get("/v1/log/key").await).trim().parse().unwrap();
    assert_eq!(key.to_string(), first["now"]["key"].as_str().unwrap());
    let signed = Checkpoint::open(&text(api.get("/v1/log/checkpoint").await), &key).unwrap();
    assert!(signed.origin.ends_with("/events/0"), "{signed}");
    let mut tree = Tree::default();
    let limit = signed.size;
    for event in text(api.get(&format!("/v1/log/entries?limit={limit}")).await).lines() {
        tree.push(Hash::leaf(event.as_bytes()));
    }
    assert_eq!((tree.size(), tree.root()), (signed.size, signed.root));
    let tile = api.get(&format!("/v1/log/tile/0/000.p/{limit}")).await;
    assert_eq!((tile.status.as_u16(), tile.body.len() as u64), (200, limit * 32));
    assert_eq!(
        world.api_as(&world.agent).get("/v1/log/entries").await.status,
        404,
        "an agent learns nothing"
    );

    // It goes on after the control plane was killed.
    world.control().kill();
    world.start_control().await;
    world.grant("orders:POST:/**").await;
    let later = remembered(&world, |memory| size(memory) > size(&first)).await;
    assert_eq!(later["disputed"], Value::Array(Vec::new()), "{later}");
    assert_eq!(world.metric("jitgate_control_log_disputes").await, 0.0);

    // An event is changed in the store: it is not signed for any more.
    world.control().kill();
    rewrite(&world);
    world.start_control().await;
    eventually("attention", || async {
        let status = world.cli(&["status"]).await;
        let notes = status["attention"].as_array().unwrap().clone();
        notes
            .iter()
            .any(|note| note.as_str().unwrap().contains("not those that were signed for"))
            .then_some(())
    })
    .await;

    // Who has the control plane's key as well can sign for another past; the proxy knows the old one.
    world.control().kill();
    fs::remove_dir_all(world.path("control.events.tlog")).unwrap();
    world.start_control().await;
    let disputed = remembered(&world, |memory| memory["disputed"] != Value::Array(Vec::new())).await;
    assert_eq!(disputed["disputed"][0]["fault"], "forked", "{disputed}");
    assert_eq!(disputed["disputed"][0]["before"], later["now"], "what it was is kept");
    assert_eq!(world.metric("jitgate_control_log_disputes").await, 1.0);
    assert!(world.log_of_proxy().contains("it was rewritten"), "{}", world.log_of_proxy());
}
