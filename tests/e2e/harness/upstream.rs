//! The protected API of a test: answers by path, and remembers what it received. HTTP/1.1 and h2c on one port.

use super::pki::Leaf;
use super::wait::within;
use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::stream::{StreamExt, unfold};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What arrived, as far as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    /// Path and query as they stood in the request.
    pub(crate) target: String,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

/// A running upstream. It stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    received: Mutex<Vec<Received>>,
    /// How many calls are being answered: a head was read and the answer is not yet whole or given up.
    running: watch::Sender<usize>,
}

/// Counts one call as running until it is dropped.
struct Running(Arc<Shared>);

impl Running {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.running.send_modify(|count| *count += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|count| *count -= 1);
    }
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        Self::serve(address, None).await
    }

    /// Behind TLS, as the workload of this certificate.
    pub(crate) async fn start_tls(leaf: &Leaf) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(leaf.chain(), leaf.key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::serve(SocketAddr::from(([127, 0, 0, 1], 0)), Some(acceptor)).await
    }

    async fn serve(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let shared = Arc::new(Shared { received: Mutex::default(), running: watch::Sender::new(0) });
        let upstream = Self { address: listener.local_addr().unwrap(), shared };
        tokio::spawn(upstream.clone().accept(listener, tls));
        upstream
    }

    async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        while let Ok((stream, _)) = listener.accept().await {
            let (shared, tls) = (Arc::clone(&self.shared), tls.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let shared = Arc::clone(&shared);
                    async move { Ok::<_, Infallible>(answer(request, shared).await) }
                });
                let server = auto::Builder::new(TokioExecutor::new());
                match tls {
                    None => {
                        let _gone =
                            server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                    }
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        let _gone = server.serve_connection(TokioIo::new(stream), service).await;
                    }
                }
            });
        }
    }

    /// Everything that arrived so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().clone()
    }

    /// The only call that arrived.
    pub(crate) fn only(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "{received:#?}");
        received.into_iter().next().unwrap()
    }

    pub(crate) fn forget(&self) {
        self.shared.received.lock().clear();
    }

    /// Waits until exactly this many calls are running.
    pub(crate) async fn running(&self, count: usize) {
        let mut running = self.shared.running.subscribe();
        within(&format!("{count} running upstream calls"), running.wait_for(|now| *now == count))
            .await
            .unwrap();
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Response<Body> {
    let running = Running::begin(&shared);
    match request.uri().path() {
        "/ws" => return websocket(request, &shared, running),
        // Answers before it has read the body, and never reads it.
        "/early" => {
            note(&request, &shared);
            return text(StatusCode::PAYLOAD_TOO_LARGE, "too much");
        }
        // Answers without end while it reads the body.
        "/both" => {
            note(&request, &shared);
            tokio::spawn(request.into_body().collect());
            return endless(running);
        }
        // Events while it reads the body.
        "/talk" => {
            note(&request, &shared);
            tokio::spawn(request.into_body().collect());
            return events(running);
        }
        // Each frame of the body as it comes.
        "/echo" => {
            note(&request, &shared);
            return echo(request.into_body(), running);
        }
        _ => {}
    }
    let (head, body) = request.into_parts();
    let at = {
        let mut received = shared.received.lock();
        received.push(seen(&head));
        received.len() - 1
    };
    // A body that breaks off leaves what came before it in the record.
    let mut body = body;
    while let Some(Ok(frame)) = body.frame().await {
        let mut received = shared.received.lock();
        let Some(entry) = received.get_mut(at) else { break };
        match frame.into_data() {
            Ok(data) => entry.body = [&entry.body[..], &data[..]].concat().into(),
            Err(frame) => entry.trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    respond(head.uri.path(), running).await
}

async fn respond(path: &str, running: Running) -> Response<Body> {
    match path {
        "/sse" => events(running),
        "/download" => endless(running),
        "/slow" => {
            let _until_given_up = running;
            std::future::pending().await
        }
        "/json" => json_answer(r#"{"id":7,"note":"for all","access_token":"from-upstream-hunter2"}"#),
        // To a call with the id `q`.
        "/mcp" => json_answer(
            r#"{"jsonrpc":"2.0","id":"q","result":{"resultType":"complete","content":[{"type":"text","text":"{\"token\":\"hunter2\",\"state\":\"up\"}"}]}}"#,
        ),
        "/trailers" => trailers(running),
        "/grpc.Stock/Get" => grpc_refusal(),
        "/hop" => Response::builder()
            .header("connection", "x-private, keep-alive")
            .header("keep-alive", "timeout=5")
            .header("x-private", "for the next hop alone")
            .header("proxy-authenticate", "Basic")
            .header("x-public", "for all")
            .body(Full::new("hop".into()).boxed_unsync())
            .unwrap(),
        _ => match path.strip_prefix("/status/").and_then(|code| code.parse().ok()) {
            Some(code) => text(StatusCode::from_u16(code).unwrap(), ""),
            None => text(StatusCode::OK, "hello"),
        },
    }
}

fn json_answer(body: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::OK, body);
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// One event each 20 ms, without end.
fn events(running: Running) -> Response<Body> {
    let frames = unfold((running, 0_u64), |(running, number)| async move {
        if number > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let event = Frame::data(Bytes::from(format!("data: {number}\n\n")));
        Some((Ok(event), (running, number + 1)))
    });
    let response = Response::builder().header("content-type", "text/event-stream");
    response.body(BodyExt::boxed_unsync(StreamBody::new(frames))).unwrap()
}

/// As fast as the reader takes it, without end.
fn endless(running: Running) -> Response<Body> {
    let frames = unfold(running, |running| async move {
        Some((Ok(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024]))), running))
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
}

fn echo(body: Incoming, running: Running) -> Response<Body> {
    let frames = unfold((body, running), |(mut body, running)| async move {
        let data = body.frame().await?.ok()?.into_data().unwrap_or_default();
        Some((Ok(Frame::data(data)), (body, running)))
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
}

fn trailers(running: Running) -> Response<Body> {
    let mut map = HeaderMap::new();
    map.insert("x-checksum", "abc".parse().unwrap());
    let frames = [Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(map))];
    let stream = futures_util::stream::iter(frames).inspect(move |_| _ = &running);
    let response = Response::builder().header("trailer", "x-checksum");
    response.body(BodyExt::boxed_unsync(StreamBody::new(stream))).unwrap()
}

fn grpc_refusal() -> Response<Body> {
    let response = Response::builder().header("content-type", "application/grpc");
    response
        .header("grpc-status", "5")
        .header("grpc-message", "no such item")
        .body(Full::default().boxed_unsync())
        .unwrap()
}

/// Accepts a WebSocket and echoes its messages until it ends.
fn websocket(mut request: Request<Incoming>, shared: &Arc<Shared>, running: Running) -> Response<Body> {
    note(&request, shared);
    let Some(key) = request.headers().get("sec-websocket-key") else {
        return text(StatusCode::BAD_REQUEST, "not a WebSocket");
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _until_closed = running;
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", accept)
        .body(Full::default().boxed_unsync())
        .unwrap()
}

fn note(request: &Request<Incoming>, shared: &Shared) {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut head = Request::builder().method(method).uri(uri).version(request.version()).body(()).unwrap();
    *head.headers_mut() = request.headers().clone();
    shared.received.lock().push(seen(&head.into_parts().0));
}

fn seen(head: &http::request::Parts) -> Received {
    Received {
        method: head.method.clone(),
        target: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        version: head.version,
        headers: head.headers.clone(),
        body: Bytes::new(),
        trailers: HeaderMap::new(),
    }
}
