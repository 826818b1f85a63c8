//! Whoever looks for something in the trail finds it, over all files that it was rotated and compressed into.

use crate::harness::{Protocol, Setup, World, eventually};
use serde_json::Value;
use std::collections::BTreeSet;

const TRAIL: &str = "audit/audit.jsonl";

/// Names of the files of the trail that end so.
fn files(world: &World, end: &str) -> Vec<String> {
    let entries = std::fs::read_dir(world.path("audit")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(end));
    names.sort();
    names
}

async fn search(world: &World, conditions: &[&str]) -> Vec<Value> {
    let fixed = ["audit", "search", "--file", TRAIL];
    world.cli(&[&fixed, conditions].concat()).await.as_array().unwrap().clone()
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn every_line_is_found_once_over_rotated_and_compressed_files() {
    let world = Setup::new().audited("rotate_bytes = 6_000").start().await;
    let grant = world.grant("orders:GET:/v1/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    for number in 0..60 {
        let refused = number % 6 == 5;
        let path = if refused { format!("/secret/{number}") } else { format!("/v1/{number}") };
        connection.get(&path).await;
        // A batch each, so that there are several files.
        eventually("its line", || async {
            let found = search(&world, &["--text", &path]).await;
            found.iter().any(|line| line["path"] == path.as_str()).then_some(())
        })
        .await;
    }
    eventually("all rotated files compressed", || async {
        let packed = files(&world, ".jsonl.zst").len();
        (packed > 2 && files(&world, ".jsonl").len() == 1 && files(&world, ".idx").len() == packed)
            .then_some(())
    })
    .await;

    let ends = search(&world, &["--kind", "end", "--limit", "1000"]).await;
    assert_eq!(ends.len(), 60);
    let seen = numbers(&ends);
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first, each once: {seen:?}");
    assert_eq!(
        ends.iter().map(|line| line["request_id"].as_str().unwrap()).collect::<BTreeSet<_>>().len(),
        60
    );
    assert_eq!(search(&world, &["--grant", &grant, "--decision", "permit"]).await.len(), 50);
    let denied = search(&world, &["--reason", "out_of_scope", "--oldest"]).await;
    assert_eq!(denied.len(), 10);
    assert!(numbers(&denied).is_sorted());
    assert_eq!(search(&world, &["--since", "1h", "--kind", "end", "--limit", "7"]).await, ends[..7]);
    let middle = ends[30]["time"].as_str().unwrap();
    let before = search(&world, &["--kind", "end", "--until", middle]).await;
    let after = search(&world, &["--kind", "end", "--since", middle]).await;
    assert_eq!(numbers(&[after, before].concat()), seen);
    let one = ends[59]["request_id"].as_str().unwrap();
    assert_eq!(search(&world, &["--request", one]).await, [ends[59].clone()], "in the first file");
    let shown = world.cli(&["audit", "show", one, "--file", TRAIL]).await;
    assert_eq!(shown["lines"], Value::from(vec![ends[59].clone()]));

    let output =
        world.try_cli(&["audit", "search", "--file", TRAIL, "--grant", &grant, "--output", "csv"]).await;
    let csv = String::from_utf8(output.stdout).unwrap();
    assert_eq!(csv.lines().count(), 51, "{csv}");
    assert!(csv.starts_with("seq,time,kind,request_id,"));
    let output = world.try_cli(&["audit", "tail", "--file", TRAIL, "--output", "csv"]).await;
    assert_eq!(output.status.code(), Some(2));

    // An index that was changed hides nothing, and a file that was is named.
    let index = world.path("audit").join(files(&world, ".idx")[0].clone());
    let mut bytes = std::fs::read(&index).unwrap();
    bytes[60..].fill(0);
    std::fs::write(&index, bytes).unwrap();
    assert_eq!(search(&world, &["--request", one]).await.len(), 1);
    let first = files(&world, ".zst")[0].clone();
    let mut bytes = std::fs::read(world.path("audit").join(&first)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(world.path("audit").join(&first), bytes).unwrap();
    let output = world.try_cli(&["audit", "search", "--file", TRAIL, "--kind", "end"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(&first), "{output:?}");
}
