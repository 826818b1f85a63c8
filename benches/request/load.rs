//! The service behind both proxies, and the load in front of them: a closed loop over connections that stay open.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::cell::RefCell;
use std::convert::Infallible;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) const HOST: &str = "bench.localhost";
const PATH: &str = "/v1/items/42";
/// Streams at once on each HTTP/2 connection.
const STREAMS: u64 = 4;

/// Answers every request with the same 512 bytes.
pub(crate) fn upstream(listen: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
        let body = Bytes::from(vec![b'x'; 512]);
        loop {
            let Ok((tcp, _)) = listener.accept().await else { continue };
            let _ = tcp.set_nodelay(true);
            let body = body.clone();
            tokio::spawn(async move {
                let service = service_fn(move |_| {
                    let body = body.clone();
                    async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tcp), service)
                    .await;
            });
        }
    });
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
    tls: Arc<rustls::ClientConfig>,
}

pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) rate: f64,
    pub(crate) p99_us: f64,
}

#[derive(Default)]
struct Seen {
    latencies: Vec<u32>,
    left: Option<u64>,
}

impl Load {
    pub(crate) fn new(port: u16, protocol: Protocol, connections: u64, data: &Path) -> Self {
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
        Self { port, protocol, connections, tls: Arc::new(tls) }
    }

    /// For so many seconds, after a second that does not count.
    pub(crate) fn run(&self, seconds: u64) -> Figures {
        self.drive(None, Duration::from_secs(1));
        self.drive(None, Duration::from_secs(seconds))
    }

    /// So many requests.
    pub(crate) fn run_requests(&self, requests: u64) {
        let figures = self.drive(Some(requests), Duration::from_secs(600));
        assert!(figures.requests >= requests, "only {} of {requests} requests", figures.requests);
    }

    /// So many connections, one after the other, each with one request.
    pub(crate) fn run_connections(&self, connections: u64) {
        for _ in 0..connections {
            self.run_requests(1);
        }
    }

    fn drive(&self, requests: Option<u64>, time: Duration) -> Figures {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let seen = Rc::new(RefCell::new(Seen { latencies: Vec::new(), left: requests }));
        let started = Instant::now();
        local.block_on(&runtime, async {
            let mut tasks = Vec::new();
            for _ in 0..self.connections {
                let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let name = ServerName::try_from(HOST).unwrap();
                let io = TlsConnector::from(self.tls.clone()).connect(name, tcp).await.unwrap();
                tasks.extend(self.connection(TokioIo::new(io), &seen, started + time).await);
            }
            for task in tasks {
                task.await.unwrap();
            }
        });
        let mut latencies = std::mem::take(&mut seen.borrow_mut().latencies);
        latencies.sort_unstable();
        let p99_us = latencies.get(latencies.len() * 99 / 100).map_or(0.0, |nanos| f64::from(*nanos) / 1e3);
        let requests = latencies.len() as u64;
        Figures { requests, rate: requests as f64 / started.elapsed().as_secs_f64(), p99_us }
    }

    async fn connection<Io>(
        &self,
        io: Io,
        seen: &Rc<RefCell<Seen>>,
        until: Instant,
    ) -> Vec<tokio::task::JoinHandle<()>>
    where
        Io: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let mut tasks = Vec::new();
        match self.protocol {
            Protocol::Http1 => {
                let (mut sender, connection) = http1::handshake(io).await.unwrap();
                tokio::task::spawn_local(connection);
                let seen = Rc::clone(seen);
                tasks.push(tokio::task::spawn_local(async move {
                    while go_on(&seen, until) {
                        let started = Instant::now();
                        let request =
                            Request::get(PATH).header("host", HOST).body(Empty::<Bytes>::new()).unwrap();
                        let response = sender.send_request(request).await.unwrap();
                        finish(response, started, &seen).await;
                    }
                }));
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
                tokio::task::spawn_local(connection);
                for _ in 0..STREAMS {
                    let (mut sender, seen) = (sender.clone(), Rc::clone(seen));
                    tasks.push(tokio::task::spawn_local(async move {
                        while go_on(&seen, until) {
                            let started = Instant::now();
                            let uri = format!("https://{HOST}{PATH}");
                            let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
                            let response = sender.send_request(request).await.unwrap();
                            finish(response, started, &seen).await;
                        }
                    }));
                }
            }
        }
        tasks
    }
}

fn go_on(seen: &RefCell<Seen>, until: Instant) -> bool {
    match &mut seen.borrow_mut().left {
        Some(0) => false,
        Some(left) => {
            *left -= 1;
            true
        }
        None => Instant::now() < until,
    }
}

async fn finish(response: Response<hyper::body::Incoming>, started: Instant, seen: &RefCell<Seen>) {
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 512);
    seen.borrow_mut().latencies.push(started.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
}
