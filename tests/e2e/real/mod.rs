//! MCP with the real parts that agents use: the conformance suite, the inspector, a server that speaks stdio alone behind a bridge, the
//! Python clients and server. What they find through the gate, where access is granted, is what they find without it.

mod conformance;
mod parts;

use crate::access::{agent, connection};
use crate::harness::tools::Tools;
use crate::harness::world::JITGATE;
use crate::harness::{Setup, World, within};
use serde_json::Value;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A world with these services; each has lines of its own for `[service.mcp]`.
async fn world(services: &[(&str, &Tools, &str)]) -> World {
    let mut world = Setup::new().prepare().await;
    for (index, (name, tools, more)) in services.iter().enumerate() {
        let (address, own, port) = (world.address, 9001 + index, tools.port);
        world.append_config(&format!(
            "[[service]]\nname = \"{name}\"\nlisten = \"{address}:{own}\"\nupstream = [\"mcp+http://127.0.0.1:{port}/mcp\"]\n[service.mcp]\n{more}\n"
        ));
    }
    world.start_control().await;
    world.start_proxy().await;
    world
}

/// `jitgate connect` for a client that can do HTTP and no mTLS.
struct Loopback {
    _process: Child,
    url: String,
}

impl Loopback {
    async fn start(world: &World, service: &str) -> Self {
        let mut command = Command::new(JITGATE);
        command.args([
            "connect",
            "--service",
            service,
            "--proxy",
            &format!("https://{}:8443", world.address),
        ]);
        command.args(connection(world, &agent(world))).args(["--listen", "127.0.0.1:0", "--output", "json"]);
        command.current_dir(world.path("")).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = within("the URLs of `connect`", lines.next_line()).await.unwrap().unwrap();
        let urls: Value = serde_json::from_str(&line).unwrap();
        Self { _process: process, url: urls["service"].as_str().unwrap().to_owned() }
    }
}

/// A grant for whatever a service has.
async fn everything(world: &World, service: &str) -> String {
    let all = r#""actions":["*"],"tools":["*"],"resources":["*"],"prompts":["*"],"arguments":true"#;
    world.grant(&format!(r#"{{"type":"mcp","locations":["{service}"],{all}}}"#)).await
}
