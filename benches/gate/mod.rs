//! What the benches of a running gate share: `jitgate up` as a process of its own, a service behind it in this one, and clients.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const HOST: &str = "bench.localhost";
const AGENT: &str = "spiffe://jitgate.local/agent/demo";

/// A setting from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Median, 99th percentile and largest, in milliseconds.
pub(crate) fn figures(mut times: Vec<Duration>) -> [f64; 3] {
    times.sort_unstable();
    let last = times.len() - 1;
    [times[last / 2], times[last * 99 / 100], times[last]].map(|time| time.as_secs_f64() * 1e3)
}

/// A running gate; it ends with this value.
pub(crate) struct Gate {
    folder: tempfile::TempDir,
    child: Child,
    listen: u16,
    control: u16,
}

impl Gate {
    /// Starts it in front of a service of this process, reached by `scheme`, and waits until it is ready.
    pub(crate) async fn start(scheme: &str) -> Self {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("bench={scheme}://{}", service.local_addr().unwrap());
        tokio::spawn(serve(service));
        let [listen, control, admin] = [(); 3].map(|()| free_port());
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_jitgate"));
        command.args(["up", "--data"]).arg(folder.path().join("data")).args(["--service", &target]);
        for (flag, port) in [("--listen", listen), ("--control-listen", control), ("--admin-listen", admin)] {
            command.arg(flag).arg(format!("127.0.0.1:{port}"));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let gate = Self { child: command.spawn().unwrap(), folder, listen, control };
        let until = Instant::now() + Duration::from_secs(60);
        while !gate.is_ready(admin).await {
            assert!(Instant::now() < until, "the gate does not become ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        gate
    }

    async fn is_ready(&self, admin: u16) -> bool {
        let Ok(tcp) = TcpStream::connect(("127.0.0.1", admin)).await else { return false };
        let Ok((mut sender, connection)) = http1::handshake(TokioIo::new(tcp)).await else { return false };
        tokio::spawn(connection);
        let request = Request::get("/readyz").header("host", "admin").body(Empty::<Bytes>::new()).unwrap();
        sender.send_request(request).await.is_ok_and(|answer| answer.status() == 200)
    }

    /// A TLS connection as `who` (`agent` or `operator`).
    async fn tls(&self, who: &str, port: u16, alpn: &[u8]) -> TlsStream<TcpStream> {
        let data: PathBuf = self.folder.path().join("data");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(data.join("ca.pem")).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_file(data.join(who).join("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(data.join(who).join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        TlsConnector::from(Arc::new(tls))
            .connect(ServerName::try_from("localhost").unwrap(), tcp)
            .await
            .unwrap()
    }

    /// A connection of the agent to the gate, for one protocol.
    pub(crate) async fn agent(&self, alpn: &[u8]) -> TokioIo<TlsStream<TcpStream>> {
        TokioIo::new(self.tls("agent", self.listen, alpn).await)
    }

    /// The operator's connection to the control plane.
    pub(crate) async fn operator(&self) -> Operator {
        let io = TokioIo::new(self.tls("operator", self.control, b"http/1.1").await);
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Operator(sender)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An operator who calls the API over one connection.
pub(crate) struct Operator(http1::SendRequest<Full<Bytes>>);

impl Operator {
    /// Grants the agent `GET` of a path; the grant's id.
    pub(crate) async fn grant(&mut self, path: &str) -> String {
        let scope = json!([{"type": "http", "locations": ["bench"], "actions": ["GET"], "paths": [path]}]);
        let grant = json!({"principal": AGENT, "task": format!("bench{}", path.replace('/', "-").replace('*', "all")),
            "scope": scope, "ttl": "1h", "reason": "a bench"});
        self.post("/v1/grants", &grant).await["id"].as_str().unwrap().to_owned()
    }

    /// Revokes a grant; answers when every proxy has confirmed it.
    pub(crate) async fn revoke(&mut self, grant: &str) -> Value {
        let receipt =
            self.post("/v1/revocations?wait=30s", &json!({"grant": grant, "reason": "a bench"})).await;
        assert_eq!(receipt["effective"], true, "{receipt}");
        receipt
    }

    async fn post(&mut self, path: &str, body: &Value) -> Value {
        let request =
            Request::post(path).header("host", "localhost").header("content-type", "application/json");
        let request = request.body(Full::from(body.to_string())).unwrap();
        self.0.ready().await.unwrap();
        let answer = self.0.send_request(request).await.unwrap();
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap()
    }
}

fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Answers `/v1/stream/…` with one frame and then silence, and everything else with 512 bytes.
async fn serve(listener: TcpListener) {
    while let Ok((tcp, _)) = listener.accept().await {
        let _ = tcp.set_nodelay(true);
        tokio::spawn(async move {
            let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
            let mut first = [0; 3];
            let is_http2 = matches!(tcp.peek(&mut first).await, Ok(3)) && &first == b"PRI";
            let io = TokioIo::new(tcp);
            if is_http2 {
                let mut builder = server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = builder.max_concurrent_streams(100_000).serve_connection(io, service).await;
            } else {
                let _ = server::conn::http1::Builder::new().serve_connection(io, service).await;
            }
        });
    }
}

fn answer(request: &Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    use futures_util::stream::{self, StreamExt};
    let first = Bytes::from_static(&[b'x'; 512]);
    if !request.uri().path().starts_with("/v1/stream/") {
        return Response::new(Full::new(first).boxed_unsync());
    }
    let frames = stream::once(async move { Ok(Frame::data(first)) }).chain(stream::pending());
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
}
