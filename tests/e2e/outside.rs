//! Clients that we did not write: what works for our own must work for curl, nghttp and Node.

use crate::harness::{World, within};
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn curl(world: &World, version: &str) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "20", version, "--cacert"])
        .arg(world.path("ca.pem"));
    command.arg("--cert").arg(world.path("agent/cert.pem")).arg("--key").arg(world.path("agent/key.pem"));
    command.arg("--connect-to").arg(format!("orders.localhost:8443:{}", world.listener()));
    command
}

#[tokio::test]
async fn curl_is_refused_granted_and_cut() {
    for version in ["--http1.1", "--http2"] {
        let world = World::start().await;
        let url = "https://orders.localhost:8443";
        let call = || {
            let mut command = curl(&world, version);
            command.args(["--write-out", "\n%{http_code} %{http_version}"]).arg(format!("{url}/v1/orders"));
            command
        };
        let refused = run(call()).await;
        let text = String::from_utf8_lossy(&refused.stdout).into_owned();
        let wire = if version == "--http2" { "2" } else { "1.1" };
        assert!(text.ends_with(&format!("\n403 {wire}")) && text.contains("no_grant"), "{refused:?}");

        let grant = world.grant("orders:GET:/**").await;
        let permitted = run(call()).await;
        assert_eq!(String::from_utf8_lossy(&permitted.stdout), format!("hello\n200 {wire}"));

        let mut download = curl(&world, version);
        download.args(["--output", "/dev/null"]).arg(format!("{url}/download"));
        let running = tokio::spawn(run(download));
        world.upstream.running(1).await;
        world.revoke(&grant).await;
        let cut = running.await.unwrap();
        // 18: partial file; 56: failure receiving; 92: HTTP/2 stream error.
        assert!(matches!(cut.status.code(), Some(18 | 56 | 92)), "{version}: {cut:?}");
    }
}

#[tokio::test]
async fn nghttp_sends_many_streams_over_one_connection() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    let mut command = Command::new("nghttp");
    command.args(["--no-verify-peer", "--null-out", "--stat", "--multiply=50", "--timeout=20"]);
    command.arg(format!("--cert={}", world.path("agent/cert.pem").display()));
    command.arg(format!("--key={}", world.path("agent/key.pem").display()));
    command
        .args(["--header=:authority: orders.localhost", &format!("https://{}/v1/orders", world.listener())]);
    let output = run(command).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text.matches(" 200 ").count(), 50, "{text}");
    assert_eq!(world.upstream.received().len(), 50);
}

/// The HTTP/2 client of Node, over one connection: refused, then 100 calls at once and a large upload, then a stream that is cut,
/// which the connection survives.
#[tokio::test]
async fn node_is_refused_granted_and_cut_over_one_connection() {
    let world = World::start().await;
    let mut command = tokio::process::Command::new("node");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/outside/node.mjs"));
    command.arg(world.address.to_string()).arg("8443");
    command.args(["ca.pem", "agent/cert.pem", "agent/key.pem"].map(|file| world.path(file)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut node = command.spawn().unwrap();
    let mut go_on = node.stdin.take().unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let mut step = async || {
        let line = within("a step of node", lines.next_line()).await.unwrap();
        serde_json::from_str::<Value>(&line.expect("node gave up")).unwrap()
    };

    let refused = step().await["refused"].take();
    let problem: Value = serde_json::from_str(refused["body"].as_str().unwrap()).unwrap();
    assert_eq!((&refused["status"], &problem["reason"]), (&403.into(), &"no_grant".into()), "{refused}");

    let stream = world.grant("orders:GET:/sse").await;
    world.grant("orders:*:/v1/**").await;
    world.grant("orders:GET:/trailers").await;
    go_on.write_all(b"\n").await.unwrap();
    assert_eq!(step().await, json!({"statuses": [200], "upload": 200, "trailers": "abc"}));
    let received = world.upstream.received();
    let upload = received.iter().find(|received| received.target == "/v1/upload").unwrap();
    assert_eq!((received.len(), upload.body.len()), (102, 1 << 20));

    assert_eq!(step().await, json!({"streaming": true}));
    world.revoke(&stream).await;
    let cut = step().await["cut"].take();
    assert_eq!((&cut["status"], &cut["error"]), (&200.into(), &"ERR_HTTP2_STREAM_ERROR".into()), "{cut}");
    assert_ne!(cut["code"], 0, "a cut stream does not end as if it were whole");
    assert_eq!(step().await, json!({"after": 200}));
}
