//! The first minute with jitgate: `jitgate up` with nothing configured, and the way from refused to cut.

use crate::harness::eventually;
use crate::harness::world::{AGENT, JITGATE, own_address};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// `jitgate up` in a folder, on an address of its own.
struct Up {
    dir: tempfile::TempDir,
    address: Ipv4Addr,
    process: crate::harness::world::Process,
    _lock: std::net::TcpListener,
}

impl Up {
    async fn start() -> Self {
        let (address, lock) = own_address();
        let dir = tempfile::tempdir().unwrap();
        let process = spawn(dir.path(), address);
        let up = Self { dir, address, process, _lock: lock };
        up.ready().await;
        up
    }

    async fn ready(&self) {
        eventually("the sample API behind the gate", || async {
            let url = format!("http://{}:9464/readyz", self.address);
            let output = run("curl", &["--silent", "--fail", &url], self.dir.path()).await;
            output.status.success().then_some(())
        })
        .await;
    }

    async fn jitgate(&self, arguments: &[&str]) -> Output {
        run(JITGATE, &[arguments, &["--data", "jitgate-data"]].concat(), self.dir.path()).await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.jitgate(&[arguments, &["--output", "json"]].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn curl_arguments(&self, url: &str) -> Vec<String> {
        let Self { address, .. } = self;
        let fixed = ["--silent", "--cacert", "jitgate-data/ca.pem", "--cert", "jitgate-data/agent/cert.pem"];
        let more = ["--key", "jitgate-data/agent/key.pem", "--max-time", "20", "--connect-to"];
        let mut all: Vec<_> = fixed.into_iter().chain(more).map(str::to_owned).collect();
        all.push(format!("orders.localhost:8443:{address}:8443"));
        all.push(url.to_owned());
        all
    }

    /// curl as the agent; status and body.
    async fn curl(&self, path: &str, more: &[&str]) -> (String, String) {
        self.curl_to(&format!("https://orders.localhost:8443{path}"), more).await
    }

    async fn curl_to(&self, url: &str, more: &[&str]) -> (String, String) {
        let fixed = self.curl_arguments(url);
        let mut arguments: Vec<&str> = fixed.iter().map(String::as_str).collect();
        arguments.extend(["--write-out", "\n%{http_code}"]);
        arguments.extend(more);
        let output = run("curl", &arguments, self.dir.path()).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    }
}

fn spawn(dir: &Path, address: Ipv4Addr) -> crate::harness::world::Process {
    let listen = [8443, 8444, 9464].map(|port| format!("{address}:{port}"));
    let [proxy, control, admin] = &listen;
    let flags = ["--listen", proxy, "--control-listen", control, "--admin-listen", admin];
    crate::harness::world::Process::spawn(
        "up",
        dir,
        &[&["up", "--data", "jitgate-data"], &flags[..]].concat(),
    )
}

async fn run(program: &str, arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn refused_granted_permitted_revoked_cut_audited() {
    let up = Up::start().await;

    let (status, body) = up.curl("/v1/orders", &[]).await;
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status.as_str(), &problem["reason"]), ("403", &"no_grant".into()), "{body}");
    // It says where to ask, and there the agent may.
    let at = problem["access_request"].as_str().unwrap_or_else(|| panic!("nowhere to ask in {body}"));
    assert_eq!(at, format!("https://{}:8444/v1/requests", up.address));
    let ask = json!({"task": "tour", "scope": problem["required"], "ttl": "15m", "reason": "the tour"});
    let asked = up.curl_to(at, &["--json", &ask.to_string()]).await;
    assert_eq!(asked.0, "201", "{asked:?}");
    // It says exactly what to ask for; granting that is enough.
    let scope = problem["required"].to_string();
    let grant = up
        .json(&[
            "grant",
            "--principal",
            AGENT,
            "--task",
            "tour",
            "--scope",
            &scope,
            "--scope",
            "orders:GET:/v1/orders/events",
            "--ttl",
            "15m",
            "--reason",
            "the tour",
        ])
        .await;
    let id = grant["id"].as_str().unwrap().to_owned();
    eventually("permission", || async { (up.curl("/v1/orders", &[]).await.0 == "200").then_some(()) }).await;
    let (_, body) = up.curl("/v1/orders", &[]).await;
    assert!(body.contains("standing desk"), "{body}");
    assert_eq!(up.curl("/v1/orders/1001", &[]).await.0, "403");

    let arguments = up.curl_arguments("https://orders.localhost:8443/v1/orders/events");
    let dir = up.dir.path().to_owned();
    let events = tokio::spawn(async move {
        run("curl", &arguments.iter().map(String::as_str).collect::<Vec<_>>(), &dir).await
    });
    eventually("a running stream", || async {
        let url = format!("http://{}:9464/metrics", up.address);
        let output = run("curl", &["--silent", &url], up.dir.path()).await;
        String::from_utf8_lossy(&output.stdout).contains("jitgate_streams_in_flight 1").then_some(())
    })
    .await;
    let receipt = up.json(&["revoke", &id, "--reason", "done", "--wait"]).await;
    assert_eq!(receipt["effective"], true, "{receipt}");
    let cut = events.await.unwrap();
    assert!(!cut.status.success(), "{cut:?}");

    assert_eq!(up.curl("/v1/orders", &[]).await.0, "403");
    // Lines are written in batches, a moment later.
    let words = ["no_grant", "\"permit\"", "\"cut\"", "\"revoked\"", &id];
    eventually("the whole story in the trail", || async {
        let tail = up.jitgate(&["audit", "tail", "--output", "json"]).await;
        let text = String::from_utf8(tail.stdout).unwrap();
        words.iter().all(|word| text.contains(word)).then_some(())
    })
    .await;
    asks_again(&up).await;
}

/// What was revoked is asked for again once the cool-down is lifted, as README goes on.
async fn asks_again(up: &Up) {
    let ask =
        ["request", "--task", "tour-2", "--scope", "orders:GET:/v1/**", "--ttl", "15m", "--reason", "again"];
    let early = up.jitgate(&ask).await;
    assert!(!early.status.success() && String::from_utf8_lossy(&early.stderr).contains("429"), "{early:?}");
    let lifted = up.jitgate(&["cooldown", "lift", AGENT, "--reason", "the tour goes on"]).await;
    assert!(lifted.status.success(), "{lifted:?}");
    let asked = up.json(&ask).await;
    let id = asked["id"].as_str().unwrap_or_else(|| panic!("{asked}"));
    let approved =
        up.jitgate(&["approve", id, "--scope", "orders:GET:/v1/orders", "--reason", "enough"]).await;
    assert!(approved.status.success(), "{approved:?}");
    eventually("permission", || async { (up.curl("/v1/orders", &[]).await.0 == "200").then_some(()) }).await;
    let done = up.jitgate(&["task", "done", "tour-2"]).await;
    assert!(done.status.success(), "{done:?}");
    eventually("the end", || async { (up.curl("/v1/orders", &[]).await.0 == "403").then_some(()) }).await;
}

#[tokio::test]
async fn a_second_start_goes_on_with_what_the_first_left() {
    let mut up = Up::start().await;
    let grant = up
        .json(&[
            "grant",
            "--principal",
            AGENT,
            "--task",
            "t",
            "--scope",
            "orders:GET:/**",
            "--ttl",
            "5m",
            "--reason",
            "r",
        ])
        .await;
    let ca = std::fs::read(up.dir.path().join("jitgate-data/ca.pem")).unwrap();
    up.process.terminate();
    assert_eq!(up.process.ended().await.code(), Some(0));
    up.process = spawn(up.dir.path(), up.address);
    up.ready().await;
    assert_eq!(std::fs::read(up.dir.path().join("jitgate-data/ca.pem")).unwrap(), ca);
    assert_eq!(up.json(&["grants"]).await[0]["id"], grant["id"]);
    eventually("permission", || async { (up.curl("/v1/orders", &[]).await.0 == "200").then_some(()) }).await;
    up.process.terminate();
    assert_eq!(up.process.ended().await.code(), Some(0));
    // A file says where the control plane listens.
    let control = format!("{}:8555", up.address);
    std::fs::write(up.dir.path().join("up.toml"), format!("[control]\nlisten = \"{control}\"\n")).unwrap();
    let listen = [8443, 9464].map(|port| format!("{}:{port}", up.address));
    let flags = ["--listen", &listen[0], "--admin-listen", &listen[1], "--config", "up.toml"];
    let arguments = [&["up", "--data", "jitgate-data"], &flags[..]].concat();
    up.process = crate::harness::world::Process::spawn("up", up.dir.path(), &arguments);
    up.ready().await;
    let state = std::fs::read(up.dir.path().join("jitgate-data/up.json")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["control"], format!("https://{control}"), "{state}");
    assert_eq!(up.json(&["grants"]).await[0]["id"], grant["id"]);
}

#[tokio::test]
async fn what_stands_in_the_way_is_said_and_the_exit_code_is_2() {
    let up = Up::start().await;
    let other = tempfile::tempdir().unwrap();
    let listen = format!("{}:8443", up.address);
    let free = [format!("{}:7444", up.address), format!("{}:7464", up.address)];
    let flags = ["up", "--listen", &listen, "--control-listen", &free[0], "--admin-listen", &free[1]];
    let taken = run(JITGATE, &flags, other.path()).await;
    assert_eq!(taken.status.code(), Some(2), "{taken:?}");
    assert!(String::from_utf8_lossy(&taken.stderr).contains(&listen), "{taken:?}");

    std::fs::write(other.path().join("file"), "").unwrap();
    let unwritable = run(JITGATE, &[&flags[..], &["--data", "file/data"]].concat(), other.path()).await;
    assert_eq!(unwritable.status.code(), Some(2), "{unwritable:?}");

    let broken = other.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("ca.pem"), "no certificate").unwrap();
    let broken = run(JITGATE, &[&flags[..], &["--data", "broken"]].concat(), other.path()).await;
    assert_eq!(broken.status.code(), Some(2), "{broken:?}");
}
