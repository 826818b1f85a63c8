//! Real servers of MCP: packages of `tests/clients`, each on a port of its own of the loopback network.

use super::clients::{folder, node};
use super::wait::{eventually, within};
use parking_lot::Mutex;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// See the head of this file. It ends when it is dropped.
pub(crate) struct Tools {
    pub(crate) port: u16,
    said: Arc<Mutex<Vec<Value>>>,
    _process: Child,
}

impl Tools {
    /// `@modelcontextprotocol/server-everything`: versions with sessions; answers everything with event streams.
    pub(crate) async fn everything() -> Self {
        let script = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
        Self::start("node", |command, port| command.args([script, "streamableHttp"]).env("PORT", port)).await
    }

    /// `ops-server.mjs`: 2026-07-28, and older versions without sessions; answers with JSON where it can.
    pub(crate) async fn ops() -> Self {
        Self::start("node", |command, port| command.arg("ops-server.mjs").arg(port)).await
    }

    /// `conformance-server.mjs`: what the conformance suite asks of a server.
    pub(crate) async fn conformance() -> Self {
        Self::start("node", |command, port| command.arg("conformance-server.mjs").arg(port)).await
    }

    /// `fastmcp-server.py`: both eras, in Python.
    pub(crate) async fn shop() -> Self {
        let python = folder().await.join("python");
        let with = |command: &mut Command, port: String| {
            _ = command.arg("fastmcp-server.py").arg(port).env("PYTHONPATH", &python)
        };
        Self::start_with("python3", with).await
    }

    /// `@modelcontextprotocol/server-filesystem`, which speaks on its standard input and output alone, behind `supergateway`.
    pub(crate) async fn files(folder: &Path) -> Self {
        let server = "node_modules/@modelcontextprotocol/server-filesystem/dist/index.js";
        let speaks = format!("node {server} {}", folder.display());
        let bridge = ["--import", "./loopback.mjs", "node_modules/supergateway/dist/index.js"];
        let node = node().await;
        let with = |command: &mut Command, port: String| {
            command.args(bridge).args(["--stdio", &speaks, "--outputTransport", "streamableHttp"]);
            _ = command.args(["--stateful", "--port", &port]);
        };
        Self::start_with(node.as_os_str(), with).await
    }

    async fn start(program: &str, with: impl Fn(&mut Command, String) -> &mut Command) -> Self {
        Self::start_with(program, |command, port| _ = with(command, port)).await
    }

    async fn start_with(program: impl AsRef<OsStr>, with: impl Fn(&mut Command, String)) -> Self {
        let started = || async { Self::try_start(program.as_ref(), &with).await };
        eventually("an MCP server", started).await
    }

    /// `None`: it has ended, as somebody else took its port before it did.
    async fn try_start(program: &OsStr, with: &impl Fn(&mut Command, String)) -> Option<Self> {
        let folder = folder().await;
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        with(&mut command, port.to_string());
        command.current_dir(folder).kill_on_drop(true);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let said = Arc::<Mutex<Vec<Value>>>::default();
        let hears = Arc::clone(&said);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                hears.lock().extend(serde_json::from_str::<Value>(&line));
            }
        });
        let process = std::cell::RefCell::new(process);
        let listens = eventually("an MCP server that listens", || async {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(_) => Some(true),
                Err(_) => process.borrow_mut().try_wait().unwrap().map(|_ended| false),
            }
        });
        listens.await.then_some(Self { port, said, _process: process.into_inner() })
    }

    /// What the server has said that it did.
    pub(crate) fn said(&self) -> Vec<Value> {
        self.said.lock().clone()
    }

    /// Waits until the server has said this.
    pub(crate) async fn says(&self, what: &Value) {
        let said = || async { self.said().contains(what).then_some(()) };
        within(&format!("{what} of an MCP server"), eventually("a word", said)).await;
    }
}
