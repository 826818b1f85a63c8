//! How many access requests are decided and granted at once per second, durable on SQLite? See `README.md`.
//!
//! Environment: `CALLERS` (64), `SECONDS` (5; a longer run passes the cap on a caller's privileged time).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench measures with the clock and stops at the first thing that goes wrong"
)]

mod disk;
mod sets;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jitgate::config::IdentityFiles;
use jitgate::identity::devca::{DevCa, Leaf};
use jitgate::runtime::clock::wall;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sets::Folder;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Sender = SendRequest<Full<Bytes>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

async fn run() {
    disk::say(Path::new(env!("CARGO_TARGET_TMPDIR")));
    println!(
        "| policies | callers | granted/s | ms, p50 | p99 | most | CPU µs a request, control plane | callers |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies");
    let hundred = Folder::new(100, None).unwrap();
    for (name, folder, group, service) in [
        ("config/policies", shipped.as_path(), "support", "orders"),
        ("100", hundred.path(), "team-3", "team-3"),
    ] {
        for callers in [1, setting("CALLERS", 64)] {
            measure((name, folder), (group, service), callers).await;
        }
    }
}

async fn measure((name, folder): (&str, &Path), (group, service): (&str, &str), callers: u64) {
    let control = Control::start(folder, (group, service), callers).await;
    let mut senders = Vec::new();
    for caller in 0..callers {
        senders.push(control.connect(caller).await);
    }
    // Everything is read and compiled once.
    for (caller, sender) in senders.iter_mut().enumerate() {
        ask(sender, service, &format!("warm-{caller}")).await;
    }
    let before = [control.cpu(), cpu_of("self")];
    let begun = Instant::now();
    let until = begun + Duration::from_secs(setting("SECONDS", 5));
    let mut running = Vec::new();
    for (caller, mut sender) in senders.into_iter().enumerate() {
        let service = service.to_owned();
        running.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let called = Instant::now();
                ask(&mut sender, &service, &format!("task-{caller}-{}", times.len())).await;
                times.push(called.elapsed());
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in running {
        times.extend(task.await.unwrap());
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let granted = times.len() as f64;
    let [server, client] = [control.cpu() - before[0], cpu_of("self") - before[1]].map(|s| s * 1e6 / granted);
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "| {name} | {callers} | {:.0} | {:.1} | {:.1} | {:.1} | {server:.0} | {client:.0} |",
        granted / elapsed,
        at(50),
        at(99),
        at(100)
    );
}

/// Asks for access of a task of its own, and makes sure that it was granted.
async fn ask(sender: &mut Sender, service: &str, task: &str) {
    let body = format!(
        r#"{{"task":"{task}","reason":"a customer asks about an order","ticket":"INC-1","ttl":"5m","scope":[{{"type":"http","locations":["{service}"],"actions":["GET"],"paths":["/v1/orders/*"]}}]}}"#
    );
    let request =
        Request::post("/v1/requests").header("host", "localhost").header("content-type", "application/json");
    let request = request.body(Full::from(body)).unwrap();
    sender.ready().await.unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(status == 201 && text.contains(r#""state":"approved""#), "{status}: {text}");
}

/// A control plane as a process of its own; it ends with this value.
struct Control {
    folder: tempfile::TempDir,
    identities: Vec<IdentityFiles>,
    child: Child,
    port: u16,
}

impl Control {
    async fn start(policies: &Path, (group, service): (&str, &str), callers: u64) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let life = Duration::from_secs(86_400);
        let ca = DevCa::init(&folder.path().join("ca"), life, wall()).unwrap();
        let issue =
            |leaf: &Leaf, name: &str| ca.issue(leaf, &folder.path().join(name), life, wall()).unwrap();
        let own = issue(&Leaf::control("local").unwrap(), "control");
        let [port, admin] =
            [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        let mut config = format!(
            "[control]\nlisten = \"127.0.0.1:{port}\"\nadmin_listen = \"127.0.0.1:{admin}\"\nstore = \"sqlite:control.db\"\n\
             [control.identity]\ncertificate = {:?}\nkey = {:?}\n[control.trust]\nbundles = {{ \"jitgate.local\" = {:?} }}\n\
             [control.requests]\nmax_per_hour = 1000000\nprivileged_cap = \"30d\"\n[control.policy]\nfolder = {policies:?}\n\
             [[people]]\nname = \"Ada\"\nidentities = [\"spiffe://jitgate.local/operator/ada\"]\n\
             [[service]]\nname = \"{service}\"\nowner = \"person:Ada\"\nsensitivity = \"high\"\nenvironment = \"production\"\n",
            own.certificate,
            own.key,
            ca.bundle()
        );
        let mut identities = Vec::new();
        for caller in 0..callers {
            let leaf = Leaf::agent(&format!("caller-{caller}")).unwrap();
            write!(
                config,
                "[[principals]]\nid = \"{}\"\nkind = \"workload\"\ngroups = [\"{group}\"]\nrisk = \"low\"\ncompliant = true\n",
                leaf.id()
            )
            .unwrap();
            identities.push(issue(&leaf, &format!("caller-{caller}")));
        }
        let file = folder.path().join("control.toml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_jitgate"));
        command.arg("control").arg("--config").arg(file).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let control = Self { folder, identities, child, port };
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < until, "the control plane does not start: {}", control.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        control
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Processor time that it has taken, in seconds.
    fn cpu(&self) -> f64 {
        cpu_of(&self.child.id().to_string())
    }

    async fn connect(&self, caller: u64) -> Sender {
        let bundle: PathBuf = self.folder.path().join("ca/ca.pem");
        let files = &self.identities[usize::try_from(caller).unwrap()];
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(bundle).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of a process, in seconds: fields 14 and 15 of its `stat`, in hundredths (proc(5)).
fn cpu_of(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}
