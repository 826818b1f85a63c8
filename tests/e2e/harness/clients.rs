//! Clients of MCP that we did not write: packages of `tests/clients`, installed once at the versions of their lock file.

use super::pki::Files;
use super::wait::within;
use super::world::World;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// The folder with the scripts and their packages.
pub(crate) async fn folder() -> PathBuf {
    tokio::task::spawn_blocking(install).await.unwrap()
}

fn install() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    fs::create_dir_all(&folder).unwrap();
    // One installs, the other tests wait.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    for entry in fs::read_dir(SOURCE).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let listed =
        ["package-lock.json", "requirements.txt"].map(|name| fs::read(Path::new(SOURCE).join(name)).unwrap());
    let wanted = listed.concat();
    let done = folder.join("installed");
    if fs::read(&done).ok().as_ref() != Some(&wanted) {
        let mut npm = std::process::Command::new("npm");
        npm.args(["ci", "--include=optional", "--ignore-scripts", "--no-audit", "--no-fund"]);
        npm.current_dir(&folder);
        let output = npm.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut pip = std::process::Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--upgrade",
            "--target",
            "python",
            "-r",
            "requirements.txt",
        ]);
        let output = pip.current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::write(&done, wanted).unwrap();
    }
    folder
}

/// The Node that the newest packages want, whatever the machine has: one of the packages itself.
pub(crate) async fn node() -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let node = folder().await.join(format!("node_modules/node-linux-{arch}/bin/node"));
    assert!(node.exists(), "no {}: what is optional is not left out", node.display());
    node
}

/// A client that talks to one MCP server until it is dropped.
pub(crate) struct Talk {
    _process: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    /// The version of MCP that was agreed on.
    pub(crate) version: String,
}

impl Talk {
    /// `sdk` is `v1`, `v2` or `v2-legacy` (TypeScript; with `+url` it shows pages to its user), `python` or `fastmcp`, with `-legacy`.
    pub(crate) async fn start(world: &World, sdk: &str, url: &str, who: &Files) -> Self {
        let folder = folder().await;
        let (program, script) =
            if sdk.starts_with('v') { ("node", "talk.mjs") } else { ("python3", "talk.py") };
        let mut command = Command::new(program);
        command.env("PYTHONPATH", folder.join("python"));
        command.arg(script).args([sdk, url]).arg(world.path("ca.pem")).arg(&who.cert).arg(&who.key);
        command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let to = process.stdin.take().unwrap();
        let from = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut talk = Self { _process: process, to, from, version: String::new() };
        talk.version = talk.line().await["version"].as_str().unwrap().to_owned();
        talk
    }

    /// Calls a tool; what the SDK made of the answer.
    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.send(&json!({"tool": tool, "arguments": arguments})).await;
        self.line().await
    }

    /// Sends a call and does not wait for its answer; it is the next [`Self::line`].
    pub(crate) async fn begin(&mut self, tool: &str, arguments: Value) {
        self.send(&json!({"tool": tool, "arguments": arguments})).await;
    }

    /// As [`Self::begin`]; a user who is shown a page does `action`.
    pub(crate) async fn begin_as(&mut self, action: &str, tool: &str, arguments: Value) {
        self.send(&json!({"tool": tool, "arguments": arguments, "action": action})).await;
    }

    /// The tools that the client is shown.
    pub(crate) async fn tools(&mut self) -> Value {
        self.send(&json!({"list": true})).await;
        self.line().await["tools"].take()
    }

    pub(crate) async fn send(&mut self, line: &Value) {
        self.to.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn line(&mut self) -> Value {
        let line = within("an answer of a client", self.from.next_line()).await.unwrap();
        serde_json::from_str(&line.expect("the client is gone")).unwrap()
    }
}
