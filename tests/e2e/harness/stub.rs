//! Another system on the loopback network that the control plane calls: a receiver of webhooks, a ticket system.

use super::wait::eventually;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A call that arrived whole.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    body: Bytes,
}

impl Call {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// What a path is answered with: a status and a body, or nothing ever.
pub(crate) type Rule = fn(&str) -> Option<(u16, &'static str)>;

/// See the head of this file. It stops with the test's runtime.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Stub {
    pub(crate) async fn start(rule: Rule) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, calls) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Call>>>::default());
        let seen = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                let service = service_fn(move |request| answer(request, Arc::clone(&seen), rule));
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, calls }
    }

    /// A receiver that takes everything.
    pub(crate) async fn receiver() -> Self {
        Self::start(|_| Some((204, ""))).await
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// The body of the first message of this type, once it has arrived.
    pub(crate) async fn message(&self, kind: &str) -> Value {
        eventually(&format!("a message `{kind}`"), || async {
            self.calls().iter().map(Call::json).find(|message| message["type"] == kind)
        })
        .await
    }

    /// The text of the first chat message with this in it, once it has arrived.
    pub(crate) async fn chat(&self, part: &str) -> String {
        eventually(&format!("a line with `{part}`"), || async {
            let texts =
                self.calls().into_iter().filter_map(|call| Some(call.json()["text"].as_str()?.to_owned()));
            texts.into_iter().find(|text| text.contains(part))
        })
        .await
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Call>>>,
    rule: Rule,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    seen.lock().push(Call { body });
    let Some((status, text)) = rule(&path) else { return std::future::pending().await };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    Ok(response)
}
