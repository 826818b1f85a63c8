//! Streamable HTTP on the loopback interface, and what is printed for clients.

use super::{SCOPE, command, world};
use crate::harness::within;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

async fn curl(url: &str, more: &[&str]) -> (String, String) {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"])
        .args(more)
        .arg(url);
    let output = within("curl", command.output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

#[tokio::test]
async fn whoever_knows_the_url_reaches_the_one_path_and_nobody_else_anything() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let mut child = command(&world, &["--listen", "127.0.0.1:0", "--output", "json"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let urls: Value =
        serde_json::from_str(&within("the URLs", lines.next_line()).await.unwrap().unwrap()).unwrap();
    let (service, access) = (urls["service"].as_str().unwrap(), urls["access"].as_str().unwrap());
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}).to_string();
    let post = ["--data", hello.as_str(), "--header", "content-type: application/json"];
    let (status, body) = curl(service, &post).await;
    assert!(status == "200" && body.contains("2025-11-25"), "{status} {body}");

    let (origin, secret) = (&service[..service.rfind(":").unwrap()], service.split('/').nth(3).unwrap());
    let port = service[origin.len() + 1..].split('/').next().unwrap();
    let at = |path: &str| format!("{origin}:{port}/{path}");
    for (url, more, status) in [
        (at("mcp"), vec![], "401"),
        (at(&format!("{secret}x/mcp")), vec![], "401"),
        (at(&format!("{secret}/v1/orders")), vec![], "404"),
        (at(&format!("{secret}/mcp/../x")), vec!["--path-as-is"], "404"),
        (service.to_owned(), vec!["--header", "origin: http://evil.example"], "403"),
        (service.to_owned(), vec!["--header", "host: evil.example"], "403"),
        // The other port has another secret.
        (access.replace(access.split('/').nth(3).unwrap(), secret), vec![], "401"),
        // Of the control plane there is its MCP server, not its API.
        (access.replace("/mcp", "/v1/grants"), vec![], "404"),
    ] {
        assert_eq!(curl(&url, &more).await.0, status, "{url} {more:?}");
    }
    assert_eq!(endpoint.received().len(), 1);
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(within("its end", child.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn only_loopback_addresses_are_heard_on_and_only_private_keys_are_used() {
    let (world, _) = world().await;
    let run = async |more: &[&str]| {
        within("its end", command(&world, more).stdin(Stdio::null()).output()).await.unwrap()
    };
    let open = run(&["--listen", "0.0.0.0:0"]).await;
    assert!(open.status.code() == Some(2) && open.stdout.is_empty(), "{open:?}");
    std::fs::set_permissions(
        world.path("agent/key.pem"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let loose = run(&[]).await;
    assert!(
        loose.status.code() == Some(2) && String::from_utf8_lossy(&loose.stderr).contains("key.pem"),
        "{loose:?}"
    );
}

#[tokio::test]
async fn what_is_printed_starts_it_from_anywhere() {
    let (world, endpoint) = world().await;
    world.grant(SCOPE).await;
    let print = async |more: &[&str]| -> Value {
        let output = within(
            "the snippet",
            command(&world, &[&["--no-asking", "--print-config"], more].concat()).output(),
        )
        .await
        .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let vscode = print(&["vscode"]).await;
    assert_eq!(vscode["servers"]["ops"]["type"], "stdio");
    let generic = print(&[]).await;
    assert_eq!(generic, print(&["claude-desktop"]).await);
    assert_eq!(generic, print(&["cursor"]).await);
    let server = &generic["mcpServers"]["ops"];
    assert_eq!(server["env"], json!({}));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let arguments: Vec<String> = server["args"].as_array().unwrap().iter().map(text).collect();
    let mut command = Command::new(text(&server["command"]));
    command.args(arguments).current_dir("/").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    {
        use tokio::io::AsyncWriteExt;
        let mut to = child.stdin.take().unwrap();
        to.write_all(format!("{hello}\n").as_bytes()).await.unwrap();
    }
    let output = within("its end", child.wait_with_output()).await.unwrap();
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("session")
            || endpoint.of("initialize").len() == 1,
        "{output:?}"
    );
}
