//! A service of MCP that says what a test wants: what real servers do seldom, or at a time of their own.

use super::client::full;
use super::pki::Leaf;
use super::wait::eventually;
use super::{Answer, Protocol, World};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;

/// What has arrived.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Heard {
    /// The message; null if there is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a message is answered with.
pub(crate) enum Reply {
    Json(Value),
    /// The same, not before this was told.
    Held(Value, String),
    /// To `initialize`: a session begins.
    Session(Value, &'static str),
    /// This status, and a text in JSON.
    Refused(u16, Value),
    /// 202.
    Taken,
    /// An event stream that is over after this text.
    Events(String),
    /// An event stream that goes on with whatever is told after this text.
    Open(String),
}

pub(crate) type Rule = fn(&Heard) -> Reply;

/// See the head of this file. It stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    told: broadcast::Sender<String>,
}

impl Scripted {
    pub(crate) async fn start(rule: Rule) -> Self {
        Self::serve(rule, None).await
    }

    /// Behind TLS, as the workload of this certificate.
    pub(crate) async fn start_tls(rule: Rule, leaf: &Leaf) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(leaf.chain(), leaf.key())
            .unwrap();
        Self::serve(rule, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(rule: Rule, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scripted = Self { address, heard: Arc::default(), told: broadcast::Sender::new(64) };
        let shared = scripted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, shared.clone(), rule));
                    let server = hyper::server::conn::http1::Builder::new();
                    match tls {
                        None => _ = server.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            _ = server.serve_connection(TokioIo::new(stream), service).await;
                        }
                    }
                });
            }
        });
        scripted
    }

    /// The table of a configuration in which this is the service `desk`.
    pub(crate) fn table(&self) -> String {
        format!("[[service]]\nname = \"desk\"\nupstream = [\"mcp+http://{}/mcp\"]\n", self.address)
    }

    /// Everything that has arrived so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().clone()
    }

    /// How many messages of a method have arrived so far.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.heard().iter().filter(|heard| heard.json()["method"] == method).count()
    }

    /// Waits for a message of a method.
    pub(crate) async fn hears(&self, method: &str) -> Value {
        eventually(&format!("`{method}` at the service"), || async {
            self.heard().iter().map(Heard::json).find(|message| message["method"] == method)
        })
        .await
    }

    /// Says something on each stream that is open.
    pub(crate) fn tell(&self, text: &str) {
        self.told.send(text.to_owned()).unwrap();
    }
}

impl World {
    /// What the agent is answered at the service `desk` when it calls a tool, outside of any session.
    pub(crate) async fn call_tool(&self, name: &str, arguments: &Value) -> Value {
        let params = json!({"name": name, "arguments": arguments});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let mut connection = self.client(Protocol::H1).host("desk.localhost").connect().await;
        let request = connection.request("POST", "/mcp").header("content-type", "application/json");
        let request = request.header("accept", "application/json, text/event-stream");
        let request = request.header("mcp-protocol-version", "2025-11-25");
        Answer::of(connection.send(request.body(full(message.to_string())).unwrap()).await).await.json()
    }
}

/// Answers every call with an empty result.
pub(crate) fn done(heard: &Heard) -> Reply {
    Reply::Json(json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": {"content": []}}))
}

async fn answer(
    request: Request<Incoming>,
    scripted: Scripted,
    rule: Rule,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let heard = Heard { method: head.method, headers: head.headers, body };
    let mut told = scripted.told.subscribe();
    let reply = rule(&heard);
    scripted.heard.lock().push(heard);
    let response = Response::builder();
    let (response, text, open) = match reply {
        Reply::Json(value) => (response.header("content-type", "application/json"), value.to_string(), false),
        Reply::Held(value, word) => {
            while told.recv().await.is_ok_and(|text| text != word) {}
            (response.header("content-type", "application/json"), value.to_string(), false)
        }
        Reply::Session(value, id) => {
            let response = response.header("content-type", "application/json").header("mcp-session-id", id);
            (response, value.to_string(), false)
        }
        Reply::Refused(status, value) => {
            (response.status(status).header("content-type", "application/json"), value.to_string(), false)
        }
        Reply::Taken => (response.status(202), String::new(), false),
        Reply::Events(text) => (response.header("content-type", "text/event-stream"), text, false),
        Reply::Open(text) => (response.header("content-type", "text/event-stream"), text, true),
    };
    let later = stream::unfold(told, |mut told| async { Some((told.recv().await.ok()?, told)) });
    let later = if open { later.left_stream() } else { stream::empty().right_stream() };
    let frames = stream::iter((!text.is_empty()).then_some(text)).chain(later);
    let body = StreamBody::new(frames.map(|text| Ok(Frame::data(Bytes::from(text)))));
    Ok(response.body(BodyExt::boxed_unsync(body)).unwrap())
}
