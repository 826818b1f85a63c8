//! A client of the control plane's API: one HTTP/1.1 connection over mutual TLS, one request after the other. A connection that was
//! closed in between is opened anew.
//!
//! Bounded: 10 s to connect, 10 minutes for an answer (a bulk grant takes its time), 256 MiB of answer.

mod error;
mod path;
mod stream;

pub(super) use error::ClientError;
pub(super) use path::{query, segment};
pub(super) use stream::Events;

use super::Failure;
use super::connection::{Connection, Target};
use crate::identity::own::OwnPair;
use crate::identity::{OwnIdentity, ServerRule, Trust, TrustSet, tls};
use crate::runtime::clock::wall;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::client::TlsStream;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
const ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// Of an answer that says no.
const REFUSAL_BYTES: usize = 1024 * 1024;

/// A client of one control plane, as one identity.
pub(super) struct Client {
    target: Target,
    patience: Duration,
    sender: Option<SendRequest<Full<Bytes>>>,
    reached: bool,
}

/// A body to send.
#[derive(Debug, Clone)]
pub(super) struct Body {
    /// `content-type`.
    pub(super) kind: &'static str,
    /// What.
    pub(super) bytes: Vec<u8>,
}

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Body>,
}

impl Call {
    /// GETs.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: HeaderMap::new(), body: None }
    }

    /// POSTs JSON.
    pub(super) fn post(path: impl Into<String>, body: &impl Serialize) -> Result<Self, ClientError> {
        let bytes = serde_json::to_vec(body).map_err(ClientError::Json)?;
        let body = Some(Body { kind: "application/json", bytes });
        Ok(Self { method: Method::POST, path: path.into(), headers: HeaderMap::new(), body })
    }

    /// With a header field.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// Runs a verb that asks a control plane, as the operator unless told otherwise.
pub(super) fn with_client<T>(
    connection: &Connection,
    ask: impl AsyncFnOnce(&mut Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    run(connection.target()?, ask)
}

/// Runs a verb that asks a control plane, as the agent unless told otherwise.
pub(super) fn with_agent_client<T>(
    connection: &Connection,
    ask: impl AsyncFnOnce(&mut Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    run(connection.agent_target()?, ask)
}

fn run<T>(target: Target, ask: impl AsyncFnOnce(&mut Client) -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(async { ask(&mut Client::new(target)).await })
}

impl Client {
    /// Connects with the first call.
    pub(super) fn new(target: Target) -> Self {
        Self { target, patience: ANSWER_TIMEOUT, sender: None, reached: false }
    }

    /// How long an answer may take from now on.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The next call goes over a new connection, with the certificate that is in the files then.
    pub(super) fn reconnect(&mut self) {
        self.sender = None;
    }

    /// The certificate that it shows.
    pub(super) fn certificate(&self) -> &std::path::Path {
        &self.target.identity.certificate
    }

    /// Whether a connection was ever there: only then a call may have arrived.
    pub(super) fn has_reached(&self) -> bool {
        self.reached
    }

    /// GETs JSON.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        self.send(Call::get(path)).await
    }

    /// POSTs and reads JSON.
    pub(super) async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.send(Call::post(path, body)?).await
    }

    /// One call with a body of any kind.
    pub(super) async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Body>,
    ) -> Result<T, ClientError> {
        self.send(Call { method, path: path.to_owned(), headers: HeaderMap::new(), body }).await
    }

    /// One call; what is not a success becomes an error that says what the API said.
    pub(super) async fn send<T: DeserializeOwned>(&mut self, call: Call) -> Result<T, ClientError> {
        let calling = tokio::time::timeout(self.patience, async {
            let answer = self.exchange(call).await?;
            let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
            body.map(|body| body.to_bytes()).map_err(ClientError::Body)
        });
        let Ok(answered) = calling.await else {
            // Whatever comes on this connection now answers something else.
            self.sender = None;
            return Err(ClientError::Timeout { address: self.address(), seconds: self.patience.as_secs() });
        };
        serde_json::from_slice(&answered?).map_err(ClientError::Json)
    }

    /// Follows server-sent events, on a connection of their own.
    pub(super) async fn events(&self, path: &str) -> Result<Events, ClientError> {
        let mut own = Self::new(self.target.clone());
        let kind = HeaderValue::from_static("text/event-stream");
        let answer = own.exchange(Call::get(path).header(header::ACCEPT, kind)).await?;
        Ok(Events::new(answer.into_body(), own.sender))
    }

    /// The head of a success.
    async fn exchange(&mut self, call: Call) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(header::HOST, self.address().trim_start_matches("https://"));
        if let Some(headers) = request.headers_mut() {
            let kinds = HeaderValue::from_static("application/json, application/problem+json");
            headers.insert(header::ACCEPT, kinds);
            headers.extend(call.headers);
        }
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, body.kind);
        }
        let bytes = call.body.map(|body| body.bytes).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(bytes))).map_err(|e| ClientError::Body(e.into()))?;
        let sender = self.connected().await?;
        // TLS 1.3: a server refuses our certificate only after its own handshake is done, which shows here.
        sender.ready().await.map_err(ClientError::Broken)?;
        let answer = sender.send_request(request).await.map_err(ClientError::Broken)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, REFUSAL_BYTES).collect().await.map_err(ClientError::Body)?;
        Err(ClientError::refused(head.status, &head.headers, &body.to_bytes()))
    }

    async fn connected(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, ClientError> {
        let open = self.sender.take().filter(|sender| !sender.is_closed());
        let sender = match open {
            Some(sender) => sender,
            None => {
                let stream = connect(&self.target, &[b"http/1.1"]).await?;
                let (sender, connection) =
                    http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Broken)?;
                // It ends with the sender.
                tokio::spawn(connection);
                sender
            }
        };
        self.reached = true;
        Ok(self.sender.insert(sender))
    }

    fn address(&self) -> String {
        self.target.endpoint.to_string()
    }
}

/// A TLS connection to a target, as its identity; for the API and for the gate alike.
pub(super) async fn connect(
    target: &Target,
    alpn: &[&[u8]],
) -> Result<TlsStream<tokio::net::TcpStream>, ClientError> {
    let config = tls(target, alpn).map_err(|error| ClientError::Setup(error.to_string()))?;
    let address = target.endpoint.to_string();
    let late = |_| ClientError::Timeout { address: address.clone(), seconds: CONNECT_TIMEOUT.as_secs() };
    let (host, port) = (target.endpoint.host.as_str(), target.endpoint.port);
    let dialling = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect((host, port)));
    let stream = dialling
        .await
        .map_err(late)?
        .map_err(|source| ClientError::Connect { address: address.clone(), source })?;
    // Many small messages; a failure costs time alone.
    let _ = stream.set_nodelay(true);
    let name =
        ServerName::try_from(host.to_owned()).map_err(|error| ClientError::Setup(error.to_string()))?;
    let connector = tokio_rustls::TlsConnector::from(config);
    let shaking = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream));
    shaking.await.map_err(late)?.map_err(|source| ClientError::Tls { address: address.clone(), source })
}

fn tls(target: &Target, alpn: &[&[u8]]) -> Result<Arc<rustls::ClientConfig>, Box<dyn std::error::Error>> {
    let pair = OwnPair::load(&target.identity, wall())?;
    let domain = match &target.rule {
        ServerRule::Identity(id) => id.trust_domain().to_owned(),
        ServerRule::Name => pair.principal().map(|id| id.trust_domain().to_owned()).unwrap_or_default(),
    };
    let pem = std::fs::read(&target.ca).map_err(|error| format!("`{}`: {error}", target.ca.display()))?;
    let set = TrustSet::parse([(domain.as_str(), pem.as_slice())], [])?;
    let trust = Trust::new(set, Arc::new(wall));
    Ok(tls::client_config(OwnIdentity::new(pair), trust, target.rule.clone(), alpn)?)
}
