//! A trail is proved with the real binary: its lines to somebody who has only a key and a checkpoint, and what was done to it since.

use crate::harness::{Protocol, Setup, World, eventually};
use serde_json::Value;
use std::process::{Command, Output};

async fn audit(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(crate::harness::world::JITGATE);
    command.arg("audit").args(arguments).current_dir(world.path(""));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

const VERIFY: [&str; 3] = ["verify", "--file", "audit/audit.jsonl"];

#[tokio::test]
async fn a_line_is_proved_and_tampering_is_named() {
    let mut world = Setup::new().start().await;
    world.grant("orders:GET:/**").await;
    let mut client = world.client(Protocol::H1).connect().await;
    for n in 0..20 {
        client.get(&format!("/v1/orders/{n}")).await;
    }
    let line = world.ends("/v1/orders/7").await.remove(0);
    let checkpoint = world.path("audit/audit.jsonl.tlog/checkpoint");
    eventually("a checkpoint over the line", || async {
        let note = std::fs::read_to_string(&checkpoint).unwrap_or_default();
        let size = note.lines().nth(1).and_then(|size| size.parse::<u64>().ok());
        size.filter(|size| Some(*size) >= line["seq"].as_u64())
    })
    .await;
    let id = line["request_id"].as_str().unwrap();
    let proved =
        audit(&world, &["prove", id, "--file", "audit/audit.jsonl", "--out", "kept.tlog-proof"]).await;
    assert!(proved.status.success(), "{proved:?}");
    drop(client);
    world.proxy().terminate();
    world.proxy().ended().await;
    let good = audit(&world, &[&VERIFY[..], &["--output", "json"]].concat()).await;
    assert!(good.status.success(), "{good:?}");
    let report: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(
        report["lines"], report["checkpoint"],
        "at its end the proxy vouches for every line: {report}"
    );
    std::fs::copy(&checkpoint, world.path("kept.checkpoint")).unwrap();
    std::fs::copy(world.path("audit/audit.jsonl.tlog/key.pub"), world.path("kept.pub")).unwrap();

    // Somebody changes a line, and the proxy does not go on.
    let trail = world.path("audit/audit.jsonl");
    let text = std::fs::read_to_string(&trail).unwrap();
    std::fs::write(&trail, text.replacen("/v1/orders/7\"", "/v1/orders/8\"", 1)).unwrap();
    let bad = audit(&world, &VERIFY).await;
    let said = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert_eq!(bad.status.code(), Some(1));
    assert!(said.contains(&format!("line {} in `audit/audit.jsonl` was changed", line["seq"])), "{said}");
    world.spawn_proxy();
    assert!(!world.proxy().ended().await.success());
    assert!(world.log_of_proxy().contains("jitgate audit verify"), "{}", world.log_of_proxy());

    // The last lines go, with all that is beside the trail; what was kept elsewhere tells.
    let short: String = text.split_inclusive('\n').take(5).collect();
    std::fs::write(&trail, short).unwrap();
    std::fs::remove_dir_all(world.path("audit/audit.jsonl.tlog")).unwrap();
    let kept = ["--checkpoint", "kept.checkpoint", "--key", "kept.pub"];
    let bad = audit(&world, &[&VERIFY[..], &kept].concat()).await;
    let said = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert!(bad.status.code() == Some(1) && said.contains("the trail ends at line 5"), "{bad:?}");

    // The proof needs nothing but the key.
    let proof = ["verify", "--proof", "kept.tlog-proof", "--key", "kept.pub", "--output", "json"];
    let checked = audit(&world, &proof).await;
    assert!(checked.status.success(), "{checked:?}");
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((&checked["content"], &checked["line"]), (&line, &line["seq"]));
}
