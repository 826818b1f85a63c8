//! Clients and servers that we did not write, with `connect` between the client and the gate: the whole story in both eras.

use super::{OURS, names as listed};
use crate::access::{agent, connection, pending};
use crate::harness::clients::{Talk, folder};
use crate::harness::tools::Tools;
use crate::harness::world::JITGATE;
use crate::harness::{Setup, World, within};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A client of an SDK that has started `jitgate connect`.
struct Desktop {
    _process: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Desktop {
    async fn start(world: &World, sdk: &str, more: &[&str]) -> (Self, Value) {
        let mut command = Command::new("node");
        command.args(["stdio.mjs", sdk, JITGATE, "connect", "--service", "ops"]).args(more);
        command.args(["--proxy", &format!("https://{}:8443", world.address)]);
        command.args(connection(world, &agent(world))).current_dir(folder().await);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let to = process.stdin.take().unwrap();
        let from = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut desktop = Self { _process: process, to, from };
        let version = desktop.line().await["version"].take();
        (desktop, version)
    }

    async fn line(&mut self) -> Value {
        let line = within("an answer of a client", self.from.next_line()).await.unwrap();
        serde_json::from_str(&line.expect("the client is gone")).unwrap()
    }

    /// What is answered; that lists have changed may come in between.
    async fn answer(&mut self) -> Value {
        loop {
            let line = self.line().await;
            if line["changed"].is_null() {
                return line;
            }
        }
    }

    async fn send(&mut self, asked: &Value) {
        self.to.write_all(format!("{asked}\n").as_bytes()).await.unwrap();
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.send(&json!({"tool": tool, "arguments": arguments})).await;
        self.answer().await
    }

    async fn tools(&mut self) -> Vec<String> {
        self.send(&json!({"list": true})).await;
        let list = json!({"result": self.answer().await});
        listed(&list).into_iter().map(str::to_owned).collect()
    }

    async fn changed(&mut self) {
        let line = self.line().await;
        assert_eq!(line["changed"], true, "{line}");
    }
}

async fn world(tools: &Tools) -> World {
    let mut world = Setup::new().prepare().await;
    let port = tools.port;
    world.append_config(&format!(
        "[[service]]\nname = \"ops\"\nupstream = [\"mcp+http://127.0.0.1:{port}/mcp\"]\n"
    ));
    world.start_control().await;
    world.start_proxy().await;
    world
}

const WHERE: &str = "ops:tools/call:restart_service{service=\"billing\",server=\"srv-7\"}";

fn asked(scope: &Value) -> Value {
    json!({"task": "INC-1", "reason": "billing hangs", "ttl": "10m", "scope": scope})
}

/// Refused, asked, approved for exactly that, done; everything through one client that has nothing but standard input and output.
async fn works_from_nothing_to_done(sdk: &str) {
    let tools = Tools::ops().await;
    let world = world(&tools).await;
    let (mut desktop, _) = Desktop::start(&world, sdk, &[]).await;
    assert_eq!(desktop.tools().await, OURS);
    let here = json!({"service": "billing", "server": "srv-7"});
    let refused = desktop.call("restart_service", here.clone()).await;
    assert_eq!(refused["data"]["reason"], "no_grant", "{refused}");
    let required = &refused["data"]["required"];
    assert_eq!(required[0]["tools"], json!(["restart_service"]), "{refused}");

    let request = desktop.call("request_access", asked(required)).await;
    assert_eq!(request["structuredContent"]["state"], "pending", "{request}");
    let id = pending(&world).await;
    let approved = world.cli(&["approve", &id, "--reason", "go on"]).await;
    desktop.changed().await;
    let done = desktop.call("restart_service", here).await;
    assert_eq!(done["content"][0]["text"], "restarted billing on srv-7", "{done} {approved}");
    assert!(desktop.tools().await.contains(&"restart_service".to_owned()));
    let other = desktop.call("restart_service", json!({"service": "payroll", "server": "srv-7"})).await;
    assert_eq!(other["data"]["reason"], "out_of_scope", "{other}");
    let ended = desktop.call("task_done", json!({"task": "INC-1", "reason": "it runs"})).await;
    assert_eq!(ended["structuredContent"]["state"], "done", "{ended}");
    assert_eq!(tools.said().iter().filter(|said| said["did"] == "restart_service").count(), 1);
}

#[tokio::test]
async fn the_page_of_a_request_reaches_the_client_and_its_answer_the_control_plane() {
    let tools = Tools::ops().await;
    let world = world(&tools).await;
    // Without any access it is told of the older era alone, and of tools of ours.
    world.grant("ops:tools/call:follow_log{*}").await;
    let (mut desktop, version) = Desktop::start(&world, "v2+url", &[]).await;
    assert_eq!(version, "2026-07-28");
    desktop.send(&json!({"tool": "request_access", "arguments": asked(&json!([WHERE]))})).await;
    // The SDK tells the rounds of a call as its progress.
    assert_eq!(desktop.answer().await, json!({"progress": 1}));
    let shown = desktop.answer().await;
    let id = pending(&world).await;
    let url = shown["page"]["url"].as_str();
    assert!(url.is_some_and(|url| url.ends_with(&format!("/approve/{id}"))), "{shown}");
    world.cli(&["approve", &id, "--reason", "go on"]).await;
    let approved = desktop.answer().await["structuredContent"].take();
    assert_eq!((&approved["id"], &approved["state"]), (&json!(id), &json!("approved")), "{approved}");
}

#[tokio::test]
async fn a_client_of_the_first_era_works_from_nothing_to_done() {
    works_from_nothing_to_done("v1").await;
}

#[tokio::test]
async fn a_client_that_knows_both_eras_works_from_nothing_to_done() {
    works_from_nothing_to_done("v2-auto").await;
}

#[tokio::test]
async fn a_client_of_the_second_era_calls_and_is_cut() {
    let tools = Tools::ops().await;
    let world = world(&tools).await;
    world.grant(WHERE).await;
    let follow = world.grant("ops:tools/call:follow_log{*}").await;
    let (mut desktop, version) = Desktop::start(&world, "v2", &[]).await;
    assert_eq!(version, "2026-07-28");
    let all = desktop.tools().await;
    assert!(OURS.iter().all(|ours| all.iter().any(|name| name == ours)), "{all:?}");
    assert!(
        all.contains(&"restart_service".to_owned()) && !all.contains(&"drop_database".to_owned()),
        "{all:?}"
    );
    let here = json!({"service": "billing", "server": "srv-7"});
    let done = desktop.call("restart_service", here.clone()).await;
    assert_eq!(done["content"][0]["text"], "restarted billing on srv-7", "{done}");
    let mine = desktop.call("my_access", json!({})).await;
    assert_eq!(mine["structuredContent"]["grants"].as_array().map(Vec::len), Some(2), "{mine}");
    desktop.send(&json!({"tool": "follow_log", "arguments": here})).await;
    tools.says(&json!({"did": "follow_log", "service": "billing", "server": "srv-7"})).await;
    world.revoke(&follow).await;
    let cut = desktop.answer().await;
    assert!(cut["error"].is_string(), "{cut}");
    tools.says(&json!({"cancelled": "follow_log"})).await;
    let after = desktop.call("drop_database", json!({"name": "x"})).await;
    assert_eq!(after["data"]["reason"], "out_of_scope", "{after}");
}

#[tokio::test]
async fn clients_of_both_eras_call_over_http_on_this_machine() {
    let tools = Tools::ops().await;
    let world = world(&tools).await;
    world.grant(WHERE).await;
    let mut command = super::command(&world, &["--listen", "127.0.0.1:0", "--output", "json"]);
    let mut connect = command.stdin(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(connect.stdout.take().unwrap()).lines();
    let urls = within("the URLs", lines.next_line()).await.unwrap().unwrap();
    let urls: Value = serde_json::from_str(&urls).unwrap();
    for (sdk, version) in [("v1", "2025-11-25"), ("v2", "2026-07-28")] {
        let mut service = Talk::start(&world, sdk, urls["service"].as_str().unwrap(), &agent(&world)).await;
        assert_eq!(service.version, version);
        let here = json!({"service": "billing", "server": "srv-7"});
        let done = service.call("restart_service", here).await;
        assert_eq!(done["content"][0]["text"], "restarted billing on srv-7", "{done}");
        let mut access = Talk::start(&world, sdk, urls["access"].as_str().unwrap(), &agent(&world)).await;
        let mine = access.call("my_access", json!({})).await;
        assert_eq!(mine["structuredContent"]["grants"].as_array().map(Vec::len), Some(1), "{mine}");
    }
    let mut access = Talk::start(&world, "v1+url", urls["access"].as_str().unwrap(), &agent(&world)).await;
    let mut ask = asked(&json!([WHERE]));
    (ask["task"], ask["idempotency_key"]) = (json!("INC-2"), json!("k-1"));
    let told = access.call("request_access", ask).await;
    let url = format!("/approve/{}", pending(&world).await);
    let shown = told["data"]["elicitations"][0]["url"].as_str();
    assert!(shown.is_some_and(|shown| shown.ends_with(&url)), "{told}");
}

#[tokio::test]
async fn a_server_with_sessions_answers_many_calls_at_once_and_tells_their_progress() {
    let tools = Tools::everything().await;
    let world = world(&tools).await;
    for scope in ["ops:tools/call:echo{*}", "ops:tools/call:trigger-long-running-operation{*}"] {
        world.grant(scope).await;
    }
    let (mut desktop, _) = Desktop::start(&world, "v1", &[]).await;
    for n in 0..20 {
        let message = format!("{n}").repeat(if n == 0 { 256 << 10 } else { 1 });
        desktop.send(&json!({"tool": "echo", "arguments": {"message": message}, "n": n})).await;
    }
    let mut seen = Vec::new();
    for _ in 0..20 {
        let answer = desktop.answer().await;
        assert!(answer["content"][0]["text"].as_str().unwrap().starts_with("Echo: "), "{answer}");
        seen.push(answer["n"].as_u64().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    let long = json!({"duration": 1, "steps": 4});
    desktop.send(&json!({"tool": "trigger-long-running-operation", "arguments": long})).await;
    let mut steps = 0;
    loop {
        let line = desktop.answer().await;
        if line["progress"].is_null() {
            assert!(line["content"].is_array(), "{line}");
            break;
        }
        steps += 1;
    }
    assert!(steps >= 3, "{steps}");
}
