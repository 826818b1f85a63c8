//! The service behind both proxies, and the load in front of them: a closed loop over connections that stay open.

use crate::peers::Lab;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What is sent again and again.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    host: &'static str,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
}

impl Ask {
    /// A GET without a body.
    pub(crate) fn get() -> Self {
        let (host, path) = ("bench.localhost", "/v1/items/42");
        Self { host, method: "GET", path, headers: Vec::new(), body: Bytes::new() }
    }

    /// A tool call of 2 KiB, as plain HTTP: the same bytes in both directions as [`Self::tool`].
    pub(crate) fn post() -> Self {
        Self { host: "bench.localhost", path: "/v1/items/42", ..Self::tool() }
    }

    /// A tool call of 2 KiB with ten arguments.
    pub(crate) fn tool() -> Self {
        let notes = "a few words of what this is for ".repeat(48);
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{{"name":"deploy","arguments":{{"service":"billing","server":"srv-7","version":"v1.22.3","replicas":3,"force":false,"zone":"b","timeout":30.5,"tags":["blue","canary","eu"],"owner":"payments","notes":"{notes}"}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
        );
        let headers = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "deploy"),
        ];
        Self { host: "tools.localhost", method: "POST", path: "/mcp", headers, body: body.into() }
    }

    fn request(&self, uri: &str) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(self.body.clone())).unwrap()
    }
}

/// Streams at once on each HTTP/2 connection.
const STREAMS: u64 = 4;

/// The answer: of a tool call, where anybody looks at it.
fn answer() -> Bytes {
    let frame = |text: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":42,"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#)
    };
    let padding = LENGTH - frame("").len();
    frame(&"x".repeat(padding)).into()
}

const LENGTH: usize = 512;

/// The thread of load and service. One for each proxy: connections to the service are as lively as it is.
pub(crate) struct Stage {
    runtime: tokio::runtime::Runtime,
    local: tokio::task::LocalSet,
}

impl Stage {
    pub(crate) fn new(service: std::net::TcpListener) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.spawn_local(serve(service));
        local.spawn_local(stay_awake());
        Self { runtime, local }
    }
}

/// The service: answers every request with the same 512 bytes, as long as it is polled.
async fn serve(listener: std::net::TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let body = answer();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let _ = tcp.set_nodelay(true);
        let body = body.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |_| {
                let body = body.clone();
                async move {
                    let response = Response::builder().header("content-type", "application/json");
                    Ok::<_, Infallible>(response.body(Full::new(body)).unwrap())
                }
            });
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
        });
    }
}

/// Keeps a thread from sleeping. In a virtual machine, waking one on another core costs whoever wakes it ten microseconds, and how often
/// that happens depends on which of two cores is slower: a ratio would say more about that than about what is measured.
async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

pub(crate) struct Load {
    port: u16,
    protocol: Protocol,
    connections: u64,
    ask: Ask,
    tls: Arc<rustls::ClientConfig>,
    stage: Rc<Stage>,
}

pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) rate: f64,
    pub(crate) p99_us: f64,
}

struct Seen {
    latencies: Vec<u32>,
    left: Option<u64>,
    until: Instant,
}

/// What one connection, or one stream of it, does again and again.
type Loop = Pin<Box<dyn Future<Output = ()>>>;

impl Load {
    /// A load on a port, and the service that is behind it, in one thread.
    pub(crate) fn new(port: u16, protocol: Protocol, connections: u64, lab: &Lab) -> Self {
        let data = &lab.data;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(data.join("ca.pem")).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_file(data.join("agent/cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(data.join("agent/key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![match protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::Http2 => b"h2".to_vec(),
        }];
        Self {
            port,
            protocol,
            connections,
            ask: Ask::get(),
            tls: Arc::new(tls),
            stage: Rc::clone(&lab.stage),
        }
    }

    /// Sends this instead of a GET.
    pub(crate) fn asks(mut self, ask: Ask) -> Self {
        self.ask = ask;
        self
    }

    /// For so long. Connecting, and a quarter of that time before, do not count.
    pub(crate) fn run(&self, time: Duration, begin: impl FnOnce()) -> Figures {
        self.drive(None, (time / 4, time), begin)
    }

    /// So many requests.
    pub(crate) fn run_requests(&self, requests: u64) {
        let figures = self.drive(Some(requests), (Duration::ZERO, Duration::from_secs(600)), || {});
        assert!(figures.requests >= requests, "only {} of {requests} requests", figures.requests);
    }

    /// So many connections, one after the other, each with one request.
    pub(crate) fn run_connections(&self, connections: u64) {
        for _ in 0..connections {
            self.run_requests(1);
        }
    }

    fn drive(
        &self,
        requests: Option<u64>,
        (before, time): (Duration, Duration),
        begin: impl FnOnce(),
    ) -> Figures {
        let Stage { runtime, local } = &*self.stage;
        let seen = Seen { latencies: Vec::new(), left: requests, until: Instant::now() };
        let seen = Rc::new(RefCell::new(seen));
        let took = local.block_on(runtime, async {
            let mut loops = Vec::new();
            for _ in 0..self.connections {
                let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let name = ServerName::try_from(self.ask.host).unwrap();
                let io = TlsConnector::from(self.tls.clone()).connect(name, tcp).await.unwrap();
                loops.extend(self.connection(TokioIo::new(io), &seen).await);
            }
            seen.borrow_mut().until = Instant::now() + before + time;
            let tasks: Vec<_> = loops.into_iter().map(tokio::task::spawn_local).collect();
            if !before.is_zero() {
                tokio::time::sleep(before).await;
                seen.borrow_mut().latencies.clear();
            }
            begin();
            let started = Instant::now();
            for task in tasks {
                task.await.unwrap();
            }
            started.elapsed()
        });
        let mut latencies = std::mem::take(&mut seen.borrow_mut().latencies);
        latencies.sort_unstable();
        let p99_us = latencies.get(latencies.len() * 99 / 100).map_or(0.0, |nanos| f64::from(*nanos) / 1e3);
        let requests = latencies.len() as u64;
        Figures { requests, rate: requests as f64 / took.as_secs_f64(), p99_us }
    }

    async fn connection<Io>(&self, io: Io, seen: &Rc<RefCell<Seen>>) -> Vec<Loop>
    where
        Io: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let mut loops: Vec<Loop> = Vec::new();
        match self.protocol {
            Protocol::Http1 => {
                let (mut sender, connection) = http1::handshake(io).await.unwrap();
                tokio::task::spawn_local(connection);
                let (seen, ask) = (Rc::clone(seen), self.ask.clone());
                loops.push(Box::pin(async move {
                    while go_on(&seen) {
                        let started = Instant::now();
                        let mut request = ask.request(ask.path);
                        request.headers_mut().insert("host", ask.host.parse().unwrap());
                        let response = sender.send_request(request).await.unwrap();
                        finish(response, started, &seen).await;
                    }
                }));
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
                tokio::task::spawn_local(connection);
                for _ in 0..STREAMS {
                    let (mut sender, seen, ask) = (sender.clone(), Rc::clone(seen), self.ask.clone());
                    loops.push(Box::pin(async move {
                        while go_on(&seen) {
                            let started = Instant::now();
                            let request = ask.request(&format!("https://{}{}", ask.host, ask.path));
                            let response = sender.send_request(request).await.unwrap();
                            finish(response, started, &seen).await;
                        }
                    }));
                }
            }
        }
        loops
    }
}

fn go_on(seen: &RefCell<Seen>) -> bool {
    let seen = &mut *seen.borrow_mut();
    match &mut seen.left {
        Some(0) => false,
        Some(left) => {
            *left -= 1;
            true
        }
        None => Instant::now() < seen.until,
    }
}

async fn finish(response: Response<hyper::body::Incoming>, started: Instant, seen: &RefCell<Seen>) {
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), LENGTH);
    seen.borrow_mut().latencies.push(started.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
}
