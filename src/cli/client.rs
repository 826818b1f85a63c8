//! A client of the control plane's API: one HTTP/1.1 connection over mutual TLS, one request after the other.
//!
//! Bounded: 10 s to connect, 10 minutes for an answer (a bulk grant takes its time), 256 MiB of answer.

use super::Failure;
use super::connection::{Connection, Target};
use super::shown::escaped;
use crate::identity::own::OwnPair;
use crate::identity::{OwnIdentity, ServerRule, Trust, TrustSet, tls};
use crate::runtime::clock::wall;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
const ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A connection to a control plane.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// A body to send.
#[derive(Debug)]
pub(super) struct Body {
    /// `content-type`.
    pub(super) kind: &'static str,
    /// What.
    pub(super) bytes: Vec<u8>,
}

/// Why an API does not answer.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("cannot reach the control plane at {address}: {source}; does it run?")]
    Connect { address: String, source: std::io::Error },
    #[error("no answer from the control plane at {address} within {seconds} s; does it run?")]
    Timeout { address: String, seconds: u64 },
    #[error("the control plane at {address} and this client do not accept each other: {source}")]
    Tls { address: String, source: std::io::Error },
    #[error("the connection to the control plane broke: whether the call took effect is unknown")]
    Broken(#[source] hyper::Error),
    #[error("the answer of the control plane cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer of the control plane is not the JSON that was expected")]
    Json(#[source] serde_json::Error),
    #[error("{0}")]
    Refused(String),
}

/// RFC 9457, as far as it is printed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    request_id: String,
    errors: Vec<Value>,
}

/// Runs a verb that asks a control plane.
pub(super) fn with_client<T>(
    connection: &Connection,
    ask: impl AsyncFnOnce(&mut Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let target = connection.target()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(async {
        let mut client = Client::connect(&target).await?;
        ask(&mut client).await
    })
}

impl Client {
    async fn connect(target: &Target) -> Result<Self, Failure> {
        let config = tls(target).map_err(Failure::usage)?;
        let address = target.endpoint.to_string();
        let late = |_| ClientError::Timeout { address: address.clone(), seconds: CONNECT_TIMEOUT.as_secs() };
        let (host, port) = (target.endpoint.host.as_str(), target.endpoint.port);
        let dialling = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect((host, port)));
        let stream = dialling
            .await
            .map_err(late)
            .and_then(|dialled| {
                dialled.map_err(|source| ClientError::Connect { address: address.clone(), source })
            })
            .map_err(Failure::failed)?;
        let name = ServerName::try_from(host.to_owned()).map_err(Failure::usage)?;
        let connector = tokio_rustls::TlsConnector::from(config);
        let shaking = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream));
        let stream = shaking
            .await
            .map_err(late)
            .and_then(|shaken| shaken.map_err(|source| ClientError::Tls { address: address.clone(), source }))
            .map_err(Failure::failed)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::failed)?;
        // It ends with the sender.
        tokio::spawn(connection);
        let host = address.trim_start_matches("https://").to_owned();
        Ok(Self { sender, host })
    }

    /// GETs JSON.
    pub(super) async fn get<T: serde::de::DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// POSTs and reads JSON.
    pub(super) async fn post<T: serde::de::DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, Failure> {
        let bytes = serde_json::to_vec(body).map_err(Failure::failed)?;
        self.call(Method::POST, path, Some(Body { kind: "application/json", bytes })).await
    }

    /// One call; what is not a success becomes an error that says what the API said.
    pub(super) async fn call<T: serde::de::DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Body>,
    ) -> Result<T, Failure> {
        let address = self.host.clone();
        let late = |_| ClientError::Timeout { address, seconds: ANSWER_TIMEOUT.as_secs() };
        let calling = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(method, path, body));
        let (status, bytes) = calling.await.map_err(late).and_then(|done| done).map_err(Failure::failed)?;
        if !status.is_success() {
            return Err(Failure::failed(ClientError::Refused(refusal(status, &bytes))));
        }
        serde_json::from_slice(&bytes).map_err(|error| Failure::failed(ClientError::Json(error)))
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Body>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::ACCEPT, "application/json, application/problem+json");
        if let Some(body) = &body {
            request = request.header(header::CONTENT_TYPE, body.kind);
        }
        let bytes = body.map(|body| body.bytes).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(bytes))).map_err(|e| ClientError::Body(e.into()))?;
        // TLS 1.3: a server refuses our certificate only after its own handshake is done, which shows here.
        self.sender.ready().await.map_err(ClientError::Broken)?;
        let answer = self.sender.send_request(request).await.map_err(ClientError::Broken)?;
        let status = answer.status();
        let body =
            Limited::new(answer.into_body(), ANSWER_BYTES).collect().await.map_err(ClientError::Body)?;
        Ok((status, body.to_bytes()))
    }
}

fn tls(target: &Target) -> Result<Arc<rustls::ClientConfig>, Box<dyn std::error::Error>> {
    let pair = OwnPair::load(&target.identity, wall())?;
    let domain = match &target.rule {
        ServerRule::Identity(id) => id.trust_domain().to_owned(),
        ServerRule::Name => pair.principal().map(|id| id.trust_domain().to_owned()).unwrap_or_default(),
    };
    let pem = std::fs::read(&target.ca).map_err(|error| format!("`{}`: {error}", target.ca.display()))?;
    let set = TrustSet::parse([(domain.as_str(), pem.as_slice())], [])?;
    let trust = Trust::new(set, Arc::new(wall));
    Ok(tls::client_config(OwnIdentity::new(pair), trust, target.rule.clone(), &[b"http/1.1"])?)
}

/// What an API says when it refuses, on one line or more.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let title = if problem.title.is_empty() {
        status.canonical_reason().unwrap_or("refused").to_lowercase()
    } else {
        problem.title
    };
    let mut text = format!("{} ({})", escaped(&title), status.as_u16());
    if !problem.detail.is_empty() && problem.detail != title {
        text = format!("{text}: {}", escaped(&problem.detail));
    }
    for error in problem.errors {
        let line = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        text = format!("{text}\n  {}", escaped(&line));
    }
    if !problem.request_id.is_empty() {
        text = format!("{text} [request {}]", escaped(&problem.request_id));
    }
    text
}

/// A query string from what was given.
pub(super) fn query<'a>(path: &str, given: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let mut out = path.to_owned();
    let mut separator = '?';
    for (name, value) in given {
        let Some(value) = value else { continue };
        out.push(separator);
        separator = '&';
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_api_said_and_nothing_acts_on_the_terminal() {
        let body = br#"{"type":"urn:jitgate:problem:x","title":"forbidden","status":403,"detail":"needs \u001b[31m","request_id":"req_1"}"#;
        let text = refusal(StatusCode::FORBIDDEN, body);
        assert_eq!(text, "forbidden (403): needs \\u{1b}[31m [request req_1]");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>"), "bad gateway (502)");
    }

    #[test]
    fn queries_are_encoded() {
        let path = query("/v1/grants", [("principal", Some("spiffe://d/a b".into())), ("task", None)]);
        assert_eq!(path, "/v1/grants?principal=spiffe%3A%2F%2Fd%2Fa%20b");
    }
}
