//! The inspector, a file server behind a bridge, and Python.

use super::{Loopback, world};
use crate::access::{agent, connection};
use crate::harness::clients::{Talk, folder, node};
use crate::harness::tools::Tools;
use crate::harness::world::JITGATE;
use crate::harness::{World, within};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::process::Command;

/// Runs the inspector's command line; what it printed, as JSON.
async fn inspect(world: &World, arguments: &[&str]) -> Value {
    let mut command = Command::new(node().await);
    command.arg("node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js");
    command.arg("--cli").args(arguments);
    command
        .current_dir(folder().await)
        .env("HOME", world.path(""))
        .env("MCP_INSPECTOR_SECRET_STORE", "memory")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within("the inspector", command.output()).await.unwrap();
    let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn names(list: &Value) -> Vec<&str> {
    list["tools"]
        .as_array()
        .unwrap_or_else(|| panic!("{list}"))
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_inspector_is_shown_and_calls_what_was_granted() {
    let tools = Tools::everything().await;
    let world = world(&[("desk", &tools, "")]).await;
    world.grant("desk:tools/call:echo{*}").await;
    world.grant("desk:tools/call:get-sum{a=2,b=3}").await;
    // It sets how much is logged before anything else, and gives up where it may not.
    world.grant(r#"{"type":"mcp","locations":["desk"],"actions":["logging/setLevel"]}"#).await;
    // Over HTTP on the loopback network.
    let connect = Loopback::start(&world, "desk").await;
    let http = [connect.url.as_str(), "--transport", "http", "--method"];
    let listed = inspect(&world, &[&http[..], &["tools/list"]].concat()).await;
    assert_eq!(names(&listed), ["echo", "get-sum"]);
    let sum = ["tools/call", "--tool-name", "get-sum", "--tool-arg", "a=2"];
    let called = inspect(&world, &[&http[..], &sum, &["b=3"]].concat()).await;
    assert_eq!(called["content"][0]["text"], "The sum of 2 and 3 is 5.", "{called}");
    let refused = inspect(&world, &[&http[..], &sum, &["b=4"]].concat()).await;
    assert!(refused["error"].to_string().contains("out_of_scope"), "{refused}");
    // As a program that it starts.
    let mut started = vec![JITGATE.to_owned(), "connect".into(), "--service".into(), "desk".into()];
    started.extend(["--proxy".into(), format!("https://{}:8443", world.address)]);
    started.extend(connection(&world, &agent(&world)));
    let file = json!({"mcpServers": {"desk": {"command": started[0], "args": started[1..]}}});
    let config = world.path("inspector.json");
    std::fs::write(&config, file.to_string()).unwrap();
    let from_file = ["--config", config.to_str().unwrap(), "--server", "desk", "--method"];
    let listed = inspect(&world, &[&from_file[..], &["tools/list"]].concat()).await;
    let listed = names(&listed);
    assert!(listed.contains(&"request_access") && listed.contains(&"echo"), "{listed:?}");
    assert!(!listed.contains(&"get-env"), "{listed:?}");
    let echo = ["tools/call", "--tool-name", "echo", "--tool-arg", "message=hi"];
    let called = inspect(&world, &[&from_file[..], &echo].concat()).await;
    assert_eq!(called["content"][0]["text"], "Echo: hi", "{called}");
}

#[tokio::test]
async fn a_file_server_that_speaks_stdio_alone_is_protected_behind_a_bridge() {
    let served = tempfile::tempdir().unwrap();
    let served = served.path().canonicalize().unwrap();
    std::fs::write(served.join("plan.txt"), "buy milk").unwrap();
    std::fs::write(served.join("salaries.txt"), "a secret").unwrap();
    let tools = Tools::files(&served).await;
    let world = world(&[("files", &tools, "")]).await;
    let path = |name: &str| served.join(name).display().to_string();
    world.grant(&format!("files:tools/call:read_text_file{{path={}}}", json!(path("plan.txt")))).await;
    let url = format!("https://{}:9001/mcp", world.address);
    let mut talk = Talk::start(&world, "v2-legacy", &url, &agent(&world)).await;
    assert_eq!(names(&json!({"tools": talk.tools().await})), ["read_text_file"]);
    let read = talk.call("read_text_file", json!({"path": path("plan.txt")})).await;
    assert_eq!(read["content"][0]["text"], "buy milk", "{read}");
    for (tool, arguments) in [
        ("read_text_file", json!({"path": path("salaries.txt")})),
        ("read_text_file", json!({"path": path("x/../salaries.txt")})),
        ("read_text_file", json!({"path": path("plan.txt"), "head": 1})),
        ("read_file", json!({"path": path("plan.txt")})),
        ("write_file", json!({"path": path("plan.txt"), "content": "nothing"})),
    ] {
        let refused = talk.call(tool, arguments).await;
        assert_eq!(refused["data"]["reason"], "out_of_scope", "{tool}: {refused}");
    }
    assert_eq!(std::fs::read_to_string(served.join("plan.txt")).unwrap(), "buy milk");
}

#[tokio::test]
async fn python_clients_of_both_eras_call_what_was_granted() {
    let tools = Tools::shop().await;
    let world = world(&[("shop", &tools, "")]).await;
    world.grant("shop:tools/call:add{*}").await;
    let url = format!("https://{}:9001/mcp", world.address);
    for (sdk, version) in [
        ("python", "2026-07-28"),
        ("python-legacy", "2025-11-25"),
        ("fastmcp", "2026-07-28"),
        ("fastmcp-legacy", "2025-11-25"),
    ] {
        let mut talk = Talk::start(&world, sdk, &url, &agent(&world)).await;
        assert_eq!(talk.version, version, "{sdk}");
        assert_eq!(names(&json!({"tools": talk.tools().await})), ["add"], "{sdk}");
        let sum = talk.call("add", json!({"a": 1, "b": 2})).await;
        assert_eq!(sum["content"][0]["text"], "3", "{sdk}: {sum}");
        let refused = talk.call("refund", json!({"order": "7"})).await;
        assert!(
            refused["error"].as_str().is_some_and(|error| error.contains("out_of_scope")),
            "{sdk}: {refused}"
        );
    }
    assert!(tools.said().iter().all(|said| said["did"].is_null()), "{:?}", tools.said());
    world.grant("shop:tools/call:refund{order=\"7\"}").await;
    let mut talk = Talk::start(&world, "fastmcp", &url, &agent(&world)).await;
    for order in ["8", "7"] {
        talk.call("refund", json!({"order": order})).await;
    }
    let done = json!({"did": "refund", "order": "7"});
    tools.says(&done).await;
    assert_eq!(tools.said(), [done]);
}
