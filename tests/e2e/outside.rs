//! Clients that we did not write: what works for our own must work for curl and nghttp.

use crate::harness::World;
use std::process::{Command, Output};

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
