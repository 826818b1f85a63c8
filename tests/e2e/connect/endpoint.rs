//! An MCP endpoint that is told what to do by the names of its tools, and tells what it received. Both eras.

use crate::harness::within;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A running endpoint. It stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    received: Mutex<Vec<Received>>,
    sessions: Mutex<HashSet<String>>,
    number: Mutex<u32>,
    /// Streams that answer calls and have not ended.
    open: watch::Sender<usize>,
    /// What is sent on streams of calls that wait.
    told: Mutex<Vec<mpsc::Sender<Option<Value>>>>,
    heard: watch::Sender<usize>,
    on_get: Mutex<Option<mpsc::Sender<Option<Value>>>>,
}

impl Endpoint {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Self { address, state: Arc::default() };
        let state = Arc::clone(&endpoint.state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(state.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        endpoint
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.received.lock().clone()
    }

    /// What arrived for a method of MCP, or with an HTTP method.
    pub(crate) fn of(&self, name: &str) -> Vec<Received> {
        let named = |received: &Received| received.body["method"] == name || received.method == name;
        self.received().into_iter().filter(named).collect()
    }

    /// Waits until so many streams of calls are open.
    pub(crate) async fn open(&self, count: usize) {
        let mut open = self.state.open.subscribe();
        within(&format!("{count} open calls at the service"), open.wait_for(|open| *open == count))
            .await
            .unwrap();
    }

    /// Waits until somebody listens to what the server says by itself.
    pub(crate) async fn heard(&self, count: usize) {
        let mut heard = self.state.heard.subscribe();
        within("a listener", heard.wait_for(|heard| *heard >= count)).await.unwrap();
    }

    /// Sends a message on the stream of the latest waiting call; `None` ends it.
    pub(crate) async fn tell(&self, message: Option<Value>) {
        let to = self.state.told.lock().last().unwrap().clone();
        to.send(message).await.unwrap();
    }

    pub(crate) async fn say(&self, message: Value) {
        let to = self.state.on_get.lock().clone().unwrap();
        to.send(Some(message)).await.unwrap();
    }

    /// How many calls wait to be told something.
    pub(crate) fn waiting(&self) -> usize {
        self.state.told.lock().len()
    }

    pub(crate) fn forget_calls(&self) {
        self.state.told.lock().clear();
    }

    /// Forgets every session, as a restart does.
    pub(crate) fn forget(&self) {
        self.state.sessions.lock().clear();
    }
}

impl State {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let method = head.method.clone();
        let headers = head.headers.clone();
        self.received.lock().push(Received {
            method: head.method,
            headers: head.headers,
            body: body.clone(),
        });
        let alone = headers.get("mcp-protocol-version").is_some_and(|version| version == "2026-07-28");
        let session = headers.get("mcp-session-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        if !alone && body["method"] != "initialize" && !self.sessions.lock().contains(session) {
            let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "Session not found"}});
            return with_status(StatusCode::NOT_FOUND, &error);
        }
        match method {
            Method::GET => {
                let (to, from) = mpsc::channel(8);
                *self.on_get.lock() = Some(to);
                self.heard.send_modify(|heard| *heard += 1);
                self.events(from)
            }
            Method::DELETE => {
                self.sessions.lock().remove(session);
                with_status(StatusCode::OK, &Value::Null)
            }
            _ => self.post(&body, alone).await,
        }
    }

    async fn post(self: &Arc<Self>, body: &Value, alone: bool) -> Response<Body> {
        let id = &body["id"];
        let result = |mut result: Value| {
            if alone {
                result["resultType"] = json!("complete");
            }
            with_status(StatusCode::OK, &json!({"jsonrpc": "2.0", "id": id, "result": result}))
        };
        match body["method"].as_str() {
            Some("initialize") => {
                let session = {
                    let mut number = self.number.lock();
                    *number += 1;
                    format!("session-{number}")
                };
                self.sessions.lock().insert(session.clone());
                let mut response = result(json!({
                    "protocolVersion": body["params"]["protocolVersion"], "capabilities": {}, "instructions": "Be kind.",
                    "serverInfo": {"name": "endpoint", "version": "1"},
                }));
                response.headers_mut().insert("mcp-session-id", session.parse().unwrap());
                response
            }
            Some("server/discover") if alone => result(json!({
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "ttlMs": 1, "cacheScope": "public",
                "serverInfo": {"name": "endpoint", "version": "1"},
            })),
            Some("tools/list") => {
                let tool = |name: &str| {
                    json!({"name": name, "inputSchema": {"type": "object", "properties": {
                    "region": {"type": "string", "x-mcp-header": "Region"}}}})
                };
                let tools = ["echo", "request_access", "Request-Access", "ops__my_access"].map(tool);
                let mut list = json!({"tools": tools});
                if alone {
                    list["ttlMs"] = json!(60_000);
                    list["cacheScope"] = json!("public");
                }
                result(list)
            }
            Some("tools/call") => match body["params"]["name"].as_str() {
                Some("wait") => {
                    let (to, from) = mpsc::channel(8);
                    self.told.lock().push(to);
                    self.events(from)
                }
                Some("nothing") => with_status(StatusCode::ACCEPTED, &Value::Null),
                Some("html") => Response::builder()
                    .header("content-type", "text/html")
                    .body(Full::new("<p>hello</p>".into()).boxed_unsync())
                    .unwrap(),
                Some("fails") => with_status(StatusCode::INTERNAL_SERVER_ERROR, &json!("no")),
                Some("large") => result(json!({"content": [{"type": "text", "text": "x".repeat(9 << 20)}]})),
                _ => result(json!({"content": [{"type": "text", "text": body["params"].to_string()}]})),
            },
            Some("subscriptions/listen") => {
                let (to, from) = mpsc::channel(8);
                self.told.lock().push(to);
                self.events(from)
            }
            Some(name) if name.starts_with("notifications/") => {
                with_status(StatusCode::ACCEPTED, &Value::Null)
            }
            None => with_status(StatusCode::ACCEPTED, &Value::Null),
            Some(_) => result(json!({})),
        }
    }

    /// A stream of events that is as long as `from`; a string is sent as it is.
    fn events(self: &Arc<Self>, from: mpsc::Receiver<Option<Value>>) -> Response<Body> {
        let open = Open::new(Arc::clone(self));
        let frames = unfold((from, open), |(mut from, open)| async move {
            let message = from.recv().await??;
            let text = message.as_str().map_or_else(|| format!("data: {message}\n\n"), str::to_owned);
            Some((Ok(Frame::data(Bytes::from(text))), (from, open)))
        });
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(BodyExt::boxed_unsync(StreamBody::new(frames)))
            .unwrap()
    }
}

struct Open(Arc<State>);

impl Open {
    fn new(state: Arc<State>) -> Self {
        state.open.send_modify(|open| *open += 1);
        Self(state)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

fn with_status(status: StatusCode, body: &Value) -> Response<Body> {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(text.into()).boxed_unsync())
        .unwrap()
}
