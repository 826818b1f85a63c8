//! One machine for one test: an upstream, a control plane and a proxy as processes of the real binary, on an address of their own.
//!
//! Every world takes an address of 127.0.0.0/8 for itself, so that ports can be fixed in the configuration files and no two tests
//! meet. Nothing outlives the test: processes are killed when the world is dropped, and their logs shown if the test failed.

pub(crate) use super::address::own_address;
use super::client::{Client, Protocol};
use super::pki::{Authority, Files, Leaf};
use super::raw::Raw;
use super::upstream::Upstream;
use super::wait::eventually;
use serde_json::Value;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use tempfile::TempDir;

/// The binary under test.
pub(crate) const JITGATE: &str = env!("CARGO_BIN_EXE_jitgate");

/// The agent that most tests speak as.
pub(crate) const AGENT: &str = "spiffe://jitgate.local/agent/demo";

/// What may differ between worlds.
pub(crate) struct Setup {
    lease: &'static str,
    proxy: String,
    trust: String,
    audit: String,
    recording: Option<String>,
    tables: String,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self {
            lease: "15s",
            proxy: String::new(),
            trust: String::new(),
            audit: String::new(),
            recording: None,
            tables: String::new(),
        }
    }

    /// How long a proxy may go on without its control plane.
    pub(crate) fn lease(mut self, lease: &'static str) -> Self {
        self.lease = lease;
        self
    }

    /// Lines for `[proxy]` itself.
    pub(crate) fn proxy(mut self, lines: &str) -> Self {
        self.proxy.push_str(lines);
        self
    }

    /// Lines for `[proxy.trust]`.
    pub(crate) fn trust(mut self, lines: &str) -> Self {
        self.trust.push_str(lines);
        self
    }

    /// Lines for `[proxy.audit]`.
    pub(crate) fn audited(mut self, lines: &str) -> Self {
        self.audit.push_str(lines);
        self
    }

    /// Requests can be recorded; `key.txt` opens what is.
    pub(crate) fn recorded(self) -> Self {
        self.recorded_with("")
    }

    /// The same with more lines for its table.
    pub(crate) fn recorded_with(mut self, lines: &str) -> Self {
        self.recording = Some(lines.to_owned());
        self
    }

    /// Whole tables for the end of the file.
    pub(crate) fn tables(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self
    }

    /// Starts everything and waits until the proxy is ready.
    pub(crate) async fn start(self) -> World {
        let mut world = self.prepare().await;
        world.start_control().await;
        world.start_proxy().await;
        world
    }

    /// Lays out the files and the upstream, and starts no process.
    pub(crate) async fn prepare(self) -> World {
        let (address, lock) = own_address();
        let dir = tempfile::Builder::new().prefix("jitgate-e2e-").tempdir().unwrap();
        let ca = Authority::new("test CA");
        fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        let world = World {
            agent: ca.svid("agent/demo"),
            operator: ca.svid("operator/local").write(&dir.path().join("operator")),
            ca,
            upstream: Upstream::start().await,
            address,
            dir,
            control: None,
            proxy: None,
            _address_lock: lock,
        };
        world.ca.server("control/local", address.into()).write(&world.path("control"));
        world.ca.server("proxy/edge-1", address.into()).write(&world.path("proxy"));
        world.agent.write(&world.path("agent"));
        fs::write(world.path("jitgate.toml"), self.configuration(&world)).unwrap();
        world
    }

    fn configuration(&self, world: &World) -> String {
        let Self { lease, proxy, trust, audit, recording, tables } = self;
        let recording = recording.as_ref().map_or_else(String::new, |lines| {
            let recipient = age_key(&world.path("key.txt"));
            format!("[proxy.audit.recording]\nrecipient = \"{recipient}\"\nmax_in_flight = 16\n{lines}\n")
        });
        let (address, upstream) = (world.address, world.upstream.address);
        let owned = "[[service]]\nowner = \"spiffe://jitgate.local/operator/local\"";
        let tables = tables.replace("[[service]]", owned);
        format!(
            r#"
[proxy]
name = "edge-1"
listen = ["{address}:8443"]
admin_listen = "{address}:9464"
workers = 2
domains = ["localhost"]
{proxy}
[proxy.identity]
certificate = "proxy/cert.pem"
key = "proxy/key.pem"
[proxy.trust]
bundles = {{ "jitgate.local" = "ca.pem" }}
{trust}
[proxy.control]
endpoints = ["https://{address}:8444"]
identity = "spiffe://jitgate.local/control/local"
[proxy.audit]
file = "audit/audit.jsonl"
{audit}
{recording}
[control]
listen = "{address}:8444"
admin_listen = "{address}:9465"
store = "sqlite:control.db"
lease = "{lease}"
[control.identity]
certificate = "control/cert.pem"
key = "control/key.pem"
[control.trust]
bundles = {{ "jitgate.local" = "ca.pem" }}
[[identities]]
id = "spiffe://jitgate.local/operator/local"
roles = ["viewer", "approver", "security", "admin"]
[[identities]]
id = "spiffe://jitgate.local/proxy/edge-1"
roles = ["proxy"]
[[service]]
name = "orders"
owner = "spiffe://jitgate.local/operator/local"
upstream = ["http://{upstream}"]
{tables}
"#
        )
    }
}

/// A new pair of keys, made by the standard tool; the public one.
pub(crate) fn age_key(file: &Path) -> String {
    let made = Command::new("age-keygen").arg("-o").arg(file).output().expect("the package `age` is needed");
    assert!(made.status.success(), "{made:?}");
    let public = Command::new("age-keygen").arg("-y").arg(file).output().unwrap();
    String::from_utf8(public.stdout).unwrap().trim().to_owned()
}

/// See the head of this file.
pub(crate) struct World {
    pub(crate) ca: Authority,
    pub(crate) agent: Leaf,
    pub(crate) operator: Files,
    pub(crate) upstream: Upstream,
    pub(crate) address: Ipv4Addr,
    // Dropped in this order: the processes show their logs, which are in the folder.
    control: Option<Process>,
    proxy: Option<Process>,
    dir: TempDir,
    _address_lock: TcpListener,
}

impl World {
    pub(crate) async fn start() -> Self {
        Setup::new().start().await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn listener(&self) -> SocketAddr {
        (self.address, 8443).into()
    }

    /// Adds to the configuration file; for what is only known once the world is laid out.
    pub(crate) fn append_config(&self, text: &str) {
        let path = self.path("jitgate.toml");
        let before = fs::read_to_string(&path).unwrap();
        let owned = "[[service]]\nowner = \"spiffe://jitgate.local/operator/local\"";
        fs::write(path, before + &text.replace("[[service]]", owned)).unwrap();
    }

    pub(crate) async fn start_control(&mut self) {
        self.start_control_in(&[]).await;
    }

    /// Starts the control plane with some variables of its environment set.
    pub(crate) async fn start_control_in(&mut self, environment: &[(&str, &str)]) {
        let arguments = ["control", "--config", "jitgate.toml"];
        self.control = Some(Process::spawn_in(environment, "control", self.dir.path(), &arguments));
        self.ready(9465).await;
    }

    pub(crate) async fn start_proxy(&mut self) {
        self.spawn_proxy();
        self.ready(9464).await;
    }

    /// Starts the proxy and does not wait for it.
    pub(crate) fn spawn_proxy(&mut self) {
        self.proxy = Some(self.spawn("proxy", &["proxy", "--config", "jitgate.toml"]));
    }

    pub(crate) fn spawn(&self, name: &str, arguments: &[&str]) -> Process {
        Process::spawn(name, self.dir.path(), arguments)
    }

    pub(crate) fn proxy(&mut self) -> &mut Process {
        self.proxy.as_mut().expect("no proxy runs")
    }

    pub(crate) fn control(&mut self) -> &mut Process {
        self.control.as_mut().expect("no control plane runs")
    }

    /// What the proxy printed and logged.
    pub(crate) fn log_of_proxy(&self) -> String {
        self.proxy.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Waits until `/readyz` of an admin listener answers 200.
    pub(crate) async fn ready(&self, port: u16) {
        eventually(&format!("readiness at port {port}"), || async {
            (self.admin(port, "/readyz").await?.0 == 200).then_some(())
        })
        .await;
    }

    /// GETs a page of an admin listener: status and body; none while nobody listens.
    pub(crate) async fn admin(&self, port: u16, path: &str) -> Option<(u16, String)> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect((self.address, port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
    }

    /// The value of one series of the proxy's metrics, with its labels as they stand there; 0 if it is not there.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.admin(9464, "/metrics").await.expect("no admin listener");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// A client of the proxy that speaks to the service `orders` as the agent.
    pub(crate) fn client(&self, protocol: Protocol) -> Client {
        self.client_as(Some(&self.agent), protocol)
    }

    pub(crate) fn client_as(&self, leaf: Option<&Leaf>, protocol: Protocol) -> Client {
        Client::new(&self.ca, leaf, self.listener(), "orders.localhost", protocol)
    }

    /// A client of the control plane's API.
    pub(crate) fn api_as(&self, leaf: &Leaf) -> Client {
        Client::new(&self.ca, Some(leaf), (self.address, 8444).into(), "localhost", Protocol::H1)
    }

    pub(crate) async fn raw(&self, protocol: Protocol) -> Raw {
        Raw::connect(&self.ca, &self.agent, self.listener(), protocol).await
    }

    /// Runs a verb of the CLI as the operator; whatever it ends with.
    pub(crate) async fn try_cli(&self, arguments: &[&str]) -> Output {
        self.cli_as(&self.operator, arguments).await
    }

    pub(crate) async fn cli_as(&self, files: &Files, arguments: &[&str]) -> Output {
        let mut command = Command::new(JITGATE);
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command.arg("--control").arg(format!("https://{}:8444", self.address));
        command
            .arg("--cert")
            .arg(&files.cert)
            .arg("--key")
            .arg(&files.key)
            .arg("--ca")
            .arg(self.path("ca.pem"));
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Runs a verb that must succeed; what it printed as JSON.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> Value {
        let output = self.try_cli(&[arguments, &["--output", "json"]].concat()).await;
        assert!(output.status.success(), "`jitgate {}`: {output:?}", arguments.join(" "));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"))
    }

    /// Grants the agent a scope for ten minutes and waits until the proxy enforces it; the grant's id.
    pub(crate) async fn grant(&self, scope: &str) -> String {
        self.grant_with(scope, &[]).await
    }

    pub(crate) async fn grant_with(&self, scope: &str, more: &[&str]) -> String {
        let fixed = ["grant", "--principal", AGENT, "--task", "t-1", "--scope", scope, "--reason", "a test"];
        let ttl: &[&str] = if more.contains(&"--ttl") { &[] } else { &["--ttl", "10m"] };
        let grant = self.cli(&[&fixed, ttl, more].concat()).await;
        self.applied(&grant["revision"]).await;
        grant["id"].as_str().unwrap_or_else(|| panic!("no id in {grant}")).to_owned()
    }

    /// Revokes a grant and waits until that is effective; the receipt.
    pub(crate) async fn revoke(&self, grant: &str) -> Value {
        self.cli(&["revoke", grant, "--reason", "a test", "--wait"]).await
    }

    /// Waits until the proxy has applied a revision.
    pub(crate) async fn applied(&self, revision: &Value) {
        let revision = revision.as_f64().unwrap_or_else(|| panic!("`{revision}` is no revision"));
        eventually(&format!("revision {revision} at the proxy"), || async {
            (self.metric("jitgate_control_revision").await >= revision).then_some(())
        })
        .await;
    }

    /// Every line of the proxy's audit trail so far.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("audit/audit.jsonl")).unwrap_or_default();
        // The last line may be in the middle of being written.
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The `end` lines for a path, once there is at least one.
    pub(crate) async fn ends(&self, path: &str) -> Vec<Value> {
        eventually(&format!("an `end` line for {path}"), || async {
            let lines = self.audit().into_iter().filter(|line| line["kind"] == "end" && line["path"] == path);
            Some(lines.collect::<Vec<_>>()).filter(|lines| !lines.is_empty())
        })
        .await
    }
}

/// A child that is killed with the test.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn spawn(name: &str, dir: &Path, arguments: &[&str]) -> Self {
        Self::spawn_in(&[], name, dir, arguments)
    }

    fn spawn_in(environment: &[(&str, &str)], name: &str, dir: &Path, arguments: &[&str]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(JITGATE)
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        Self { name: name.to_owned(), child, log }
    }

    /// What it printed and logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it holds in memory now, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _gone_already = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let child = std::sync::Mutex::new(&mut self.child);
        eventually(&format!("the end of {name}"), || async { child.lock().unwrap().try_wait().unwrap() })
            .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- log of {} ----\n{}", self.name, self.log());
        }
    }
}
