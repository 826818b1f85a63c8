//! Witnesses of transparency logs (C2SP tlog-witness): one that we did not write, in a process of its own, and one that answers over
//! HTTPS whatever a test wants. Neither shares code with what asks them.

use super::pki::Leaf;
use super::wait::eventually;
use super::world::World;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsAcceptor;

const LISTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/witness.txt");

/// Installs the packages once; where they are.
fn install() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("witness");
    fs::create_dir_all(&folder).unwrap();
    // One installs, the other tests wait.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let (wanted, done) = (fs::read(LISTED).unwrap(), folder.join("installed"));
    if fs::read(&done).ok().as_ref() != Some(&wanted) {
        let mut pip = std::process::Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--no-deps", "--ignore-requires-python"]);
        pip.args(["--target", "python", "-r", LISTED]);
        let output = pip.current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::write(&done, wanted).unwrap();
    }
    folder.join("python")
}

/// The package `aics-witness`, with a database of its own. It ends when it is dropped.
pub(crate) struct Witness {
    packages: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    /// Its verifier key.
    pub(crate) key: String,
    process: Option<Child>,
}

impl Witness {
    /// One that knows no log, and does not run.
    pub(crate) async fn new(world: &World, name: &str) -> Self {
        let packages = tokio::task::spawn_blocking(install).await.unwrap();
        let (folder, address) = (world.path(name), SocketAddr::from((world.address, 7380)));
        fs::create_dir_all(&folder).unwrap();
        let mut witness = Self { packages, folder, address, key: String::new(), process: None };
        let said =
            witness.run(&["init", "--name", "witness.example/w1", "--listen", &address.to_string()]).await;
        let key = said.split_whitespace().find(|word| word.starts_with("witness.example/w1+"));
        witness.key = key.unwrap_or_else(|| panic!("no key in {said}")).to_owned();
        witness
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &self.packages).env("PYTHONUNBUFFERED", "1");
        command.args(["-m", "aics_witness"]).args(&arguments[..1]).args(["--config", "witness.json"]);
        command.args(&arguments[1..]).current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// It knows this log from its next start on; `key` is as the log's `key.pub` holds it.
    pub(crate) async fn knows(&self, key: &str) {
        let origin = key.split('+').next().unwrap();
        self.run(&["add-log", "--origin", origin, "--vkey", key.trim()]).await;
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = self.command(&["serve"]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        eventually("a witness", || async { TcpStream::connect(self.address).await.ok() }).await;
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.process.take().expect("it does not run").kill().await.unwrap();
    }

    /// Checks a cosigned note with the library of the same hand: signed by this log, and vouched for by so many as there are keys.
    pub(crate) async fn accepts(&self, note: &Path, log: &str, witnesses: &[&str]) -> bool {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &self.packages).args(["-m", "aics_tlog", "verify-checkpoint", "--note"]);
        command.arg(note).args(["--log-key", log.trim(), "--quorum", &witnesses.len().to_string()]);
        for key in witnesses {
            command.args(["--witness-key", key]);
        }
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        println!("{output:?}");
        output.status.success()
    }

    /// Where it is asked.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// What a [`Scribe`] does with what it is shown, chosen by the first segment of the path.
fn lines(scribe: &Scribe, path: &str, text: &str) -> Result<String, (u16, String)> {
    let old = text.lines().next().unwrap().strip_prefix("old ").unwrap();
    let note = text.split_once("\n\n").unwrap().1;
    let body = format!("{}\n", note.split_once("\n\n").unwrap().0);
    match path.split('/').nth(1).unwrap() {
        "honest" => Ok(scribe.sign(&body)),
        "other" => Ok(scribe.sign(&body.replacen("/audit\n", "/other\n", 1))),
        "foreign" => Ok(Scribe::new("scribe.example").sign(&body)),
        // It has seen the first line already.
        "behind" if old == "1" => Ok(scribe.sign(&body)),
        "behind" => Err((409, "1\n".to_owned())),
        "unknown" => Err((404, String::new())),
        "endless" => Ok("—".repeat(100_000)),
        path => panic!("nobody is at {path}"),
    }
}

/// Signs as a witness does, and says so over HTTPS; remembers nothing. The same as in the unit tests.
#[path = "../../../src/tlog/scribe.rs"]
mod scribe;

pub(crate) use scribe::Scribe;

impl Scribe {
    fn sign(&self, body: &str) -> String {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.line(body, time)
    }

    /// Answers at `https://ADDRESS/WHAT/add-checkpoint` with this certificate, until the test ends.
    pub(crate) async fn serve(self: &Arc<Self>, leaf: &Leaf) -> SocketAddr {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(leaf.chain(), leaf.key())
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, scribe) = (listener.local_addr().unwrap(), Arc::clone(self));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (scribe, tls) = (Arc::clone(&scribe), tls.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(Arc::clone(&scribe), request));
                    let server = hyper::server::conn::http1::Builder::new();
                    _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        address
    }
}

async fn answer(
    scribe: Arc<Scribe>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    assert!(request.method() == "POST" && path.ends_with("/add-checkpoint"), "{request:?}");
    let text = String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let (status, body) = match lines(&scribe, &path, &text) {
        Ok(lines) => (200, lines),
        Err(refused) => refused,
    };
    let kind = if status == 409 { "text/x.tlog.size" } else { "text/plain" };
    let answer = Response::builder().status(status).header("content-type", kind);
    Ok(answer.body(Full::new(body.into())).unwrap())
}
