//! `jitgate connect`: a client that cannot do mTLS reaches a service through the gate, line by line, and learns what the gate says.

mod calls;
mod endpoint;
mod hostile;
mod listen;
mod sdk;
mod without_access;

use crate::access::{agent, connection};
use crate::harness::world::JITGATE;
use crate::harness::{Setup, World, within};
use endpoint::Endpoint;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What a session needs of a service that is plain HTTP for the gate.
const SCOPE: &str = "ops:GET,POST,DELETE:/mcp";

/// The control plane's tools.
const OURS: [&str; 5] = ["request_access", "access_status", "my_access", "task_done", "task_failed"];

/// A world with the endpoint as the service `ops`.
async fn world() -> (World, Endpoint) {
    let endpoint = Endpoint::start().await;
    let service = format!("[[service]]\nname = \"ops\"\nupstream = [\"http://{}\"]\n", endpoint.address);
    (Setup::new().tables(&service).start().await, endpoint)
}

/// `jitgate connect` as the agent, with its standard input and output in the test's hands.
struct Connected {
    child: Child,
    to: Option<ChildStdin>,
    from: Lines<BufReader<ChildStdout>>,
}

fn command(world: &World, more: &[&str]) -> Command {
    let mut command = Command::new(JITGATE);
    command.args(["connect", "--service", "ops", "--proxy", &format!("https://{}:8443", world.address)]);
    command.args(connection(world, &agent(world))).args(more).current_dir(world.path(""));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Connected {
    fn start(world: &World, more: &[&str]) -> Self {
        let mut child = command(world, more).spawn().unwrap();
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, to, from }
    }

    /// The same, and the handshake of the first era; what `initialize` was answered with.
    async fn greeted(world: &World, more: &[&str]) -> (Self, Value) {
        let mut client = Self::start(world, more);
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let answer = client.call(0, "initialize", params).await;
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        (client, answer)
    }

    async fn line(&mut self, line: &str) {
        let to = self.to.as_mut().unwrap();
        to.write_all(line.as_bytes()).await.unwrap();
        to.write_all(b"\n").await.unwrap();
        to.flush().await.unwrap();
    }

    async fn send(&mut self, message: &Value) {
        self.line(&message.to_string()).await;
    }

    async fn begin(&mut self, id: u64, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
    }

    /// The next message.
    async fn next(&mut self) -> Value {
        let line = within("a message", self.from.next_line()).await.unwrap().expect("it said no more");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// A call and its answer, which is the next message.
    async fn call(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.begin(id, method, params).await;
        let answer = self.next().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    async fn tool(&mut self, id: u64, name: &str) -> Value {
        self.call(id, "tools/call", json!({"name": name, "arguments": {}})).await
    }

    /// Ends the input; what was still said, the exit code, and what was told on standard error.
    async fn end(mut self) -> (Vec<Value>, Option<i32>, String) {
        self.to.take();
        self.rest().await
    }

    async fn rest(mut self) -> (Vec<Value>, Option<i32>, String) {
        let mut rest = Vec::new();
        while let Some(line) = within("the end of the output", self.from.next_line()).await.unwrap() {
            rest.push(serde_json::from_str(&line).unwrap());
        }
        let output = within("the end of `connect`", self.child.wait_with_output()).await.unwrap();
        (rest, output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}
