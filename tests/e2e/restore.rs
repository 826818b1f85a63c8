//! A control plane whose store came back from a backup: what was taken away since does not come back with it.

use crate::harness::{Protocol, Setup, World, eventually};
use serde_json::json;
use std::path::Path;

const STORE: [&str; 3] = ["control.db", "control.db-wal", "control.db-shm"];

/// Kills the control plane and copies its store, as it then is, from one folder to another.
fn copy_store(world: &mut World, from: &str, to: &str) {
    world.control().kill();
    let folder = |name: &str| world.path(name);
    std::fs::create_dir_all(folder(to)).unwrap();
    for file in STORE {
        let (from, to) = (folder(from).join(file), folder(to).join(file));
        let _was_not_there = std::fs::remove_file(&to);
        if Path::new(&from).exists() {
            std::fs::copy(from, to).unwrap();
        }
    }
}

async fn start_control(world: &mut World, more: &[&str]) {
    let process = world.spawn("control", &[&["control", "--config", "jitgate.toml"], more].concat());
    *world.control() = process;
    world.ready(9465).await;
}

#[tokio::test]
async fn a_restored_backup_brings_back_nothing_that_was_taken_away() {
    let mut world = Setup::new().lease("2s").start().await;
    world.grant("orders:GET:/kept").await;
    let revoked = world.grant("orders:GET:/revoked").await;
    copy_store(&mut world, ".", "backup");
    start_control(&mut world, &[]).await;
    world.revoke(&revoked).await;
    world.grant("orders:GET:/later").await;
    copy_store(&mut world, "backup", ".");

    // Without being told, the proxy sees a log that has lost what it knows: it believes nothing of it, says so, and closes.
    start_control(&mut world, &[]).await;
    eventually("a word on what to do", || async {
        world.log_of_proxy().contains("--restored").then_some(())
    })
    .await;
    eventually("a closed gate", || async {
        let answer = world.client(Protocol::H1).get("/kept").await;
        (answer.status == 503 && answer.reason() == "stale").then_some(())
    })
    .await;
    assert_eq!(world.admin(9464, "/readyz").await.unwrap().0, 503);
    world.upstream.forget();

    world.control().kill();
    start_control(&mut world, &["--restored"]).await;
    world.ready(9464).await;
    assert_eq!(world.cli(&["grants"]).await, json!([]));
    assert_refused(&world).await;
    // A proxy that remembers nothing is no way around it.
    world.proxy().kill();
    world.start_proxy().await;
    assert_refused(&world).await;
    world.grant("orders:GET:/again").await;
    assert_eq!(world.client(Protocol::H1).get("/again").await.status, 200);
    let received = world.upstream.received();
    assert!(received.iter().all(|received| received.target == "/again"), "{received:?}");
}

async fn assert_refused(world: &World) {
    for path in ["/kept", "/revoked", "/later"] {
        let answer = world.client(Protocol::H1).get(path).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }
}
