//! One request: admitted, cleaned of what belongs to this hop, sent on; and its answer on the way back.

mod denial;

use super::Passage;
use super::admit::{Carried, admit};
use super::bearer::is_demanded;
use super::gate::{GateError, Outgoing};
use super::reply::{self, Incoming as Reply};
use super::secret::Secret;
use crate::config::UserTokenRule;
use crate::model::ServiceName;
use crate::runtime::clock::Mono;
use bytes::Bytes;
use denial::denial;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A body that may be sent twice.
const REPEATABLE: u64 = 64 * 1024;
/// The first pause before a repetition; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

const USER: HeaderName = HeaderName::from_static(UserTokenRule::HEADER);
const TASK: HeaderName = HeaderName::from_static("jitgate-task");

/// The listener of one service.
pub(super) struct Port {
    service: ServiceName,
    names: Vec<String>,
    secret: Secret,
    passage: Arc<Passage>,
    /// The gate has said that it wants the token of the grant for this service.
    demands: AtomicBool,
    /// The gate has permitted something here without one.
    permits: AtomicBool,
    stop: CancellationToken,
}

impl Port {
    pub(super) fn new(
        service: ServiceName,
        address: SocketAddr,
        secret: Secret,
        passage: Arc<Passage>,
        stop: CancellationToken,
    ) -> Self {
        let port = address.port();
        let names =
            vec![address.to_string(), format!("localhost:{port}"), format!("{service}.localhost:{port}")];
        let demands = AtomicBool::new(passage.always_bears);
        let permits = AtomicBool::new(false);
        Self { service, names, secret, passage, demands, permits, stop }
    }

    /// Answers one request; `known` is set if it carried the secret.
    pub(super) async fn answer(&self, request: Request<Incoming>, known: &AtomicBool) -> Response<Reply> {
        let (mut parts, body) = request.into_parts();
        let carried = match admit(&mut parts, &self.secret, &self.names) {
            Ok(carried) => {
                known.store(true, Ordering::Relaxed);
                carried
            }
            Err(refused) => return reply::refused(refused),
        };
        if self.passage.only.as_ref().is_some_and(|only| only.as_str() != parts.uri.path()) {
            return reply::absent();
        }
        let answered =
            if is_websocket(&parts) { self.upgrade(parts).await } else { self.pass(parts, body).await };
        let mut response = answered.unwrap_or_else(|error| reply::unavailable(&error));
        if carried == Carried::InPath {
            self.relocate(response.headers_mut());
        }
        response
    }

    async fn pass(&self, mut parts: Parts, body: Incoming) -> Result<Response<Reply>, GateError> {
        self.address(&mut parts);
        // What is left of its time says whether the gate could be behind, not whether the answer is.
        let may_be_behind = !self.passage.heard.load(Ordering::Relaxed) && Mono::now() < self.passage.settles;
        let own = parts.headers.contains_key(header::AUTHORIZATION);
        let may_be_demanded = !own
            && !self.demands.load(Ordering::Relaxed)
            && !self.permits.load(Ordering::Relaxed)
            && !self.passage.bearer.is_wanting();
        if (may_be_behind || may_be_demanded) && is_repeatable(&body) {
            return self.settle(parts, body, own).await;
        }
        let sent = self.bear(&mut parts.headers, own);
        let body = body.map_err(boxed).boxed_unsync();
        let response = self.passage.gate.send(Request::from_parts(parts, body)).await?;
        self.learn(sent.as_ref(), &response);
        Ok(back(response))
    }

    /// Adds the token of the grant where the gate wants it and the command has not its own `authorization`; what was added.
    fn bear(&self, headers: &mut HeaderMap, own: bool) -> Option<HeaderValue> {
        let token = (!own && self.demands.load(Ordering::Relaxed)).then(|| self.passage.bearer.value())??;
        headers.insert(header::AUTHORIZATION, token.clone());
        Some(token)
    }

    /// Learns from an answer what the gate wants; whether it wants the token and did not get it.
    fn learn<B>(&self, sent: Option<&HeaderValue>, answer: &Response<B>) -> bool {
        match sent {
            Some(sent) => self.passage.bearer.learn(sent, answer),
            None if is_demanded(answer) => {
                self.demands.store(true, Ordering::Relaxed);
                return true;
            }
            None if answer.status().as_u16() < 400 => self.permits.store(true, Ordering::Relaxed),
            None => {}
        }
        false
    }

    /// What may be sent twice. Right after a grant the gate may not have heard of it: what it denies is asked again, for a moment.
    /// Where it wants the token of the grant, it gets it.
    async fn settle(
        &self,
        mut parts: Parts,
        body: Incoming,
        own: bool,
    ) -> Result<Response<Reply>, GateError> {
        let Ok(bytes) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
            // The client went away in the middle; nobody reads this.
            return Ok(Response::new(reply::full(Bytes::new())));
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let sent = self.bear(&mut parts.headers, own);
            let body: Outgoing = Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync();
            let request = Request::from_parts(parts.clone(), body);
            let response = self.passage.gate.send(request).await?;
            let demanded = self.learn(sent.as_ref(), &response);
            if demanded && !own && !self.passage.bearer.is_wanting() {
                continue;
            }
            let (response, denied) = denial(response).await;
            let next = Mono::now().plus(pause);
            if !denied && response.status().as_u16() < 400 {
                self.passage.heard.store(true, Ordering::Relaxed);
            }
            if !denied || next >= self.passage.settles {
                return Ok(response);
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }

    /// Opens a WebSocket: 101 goes back only when the gate has said it.
    async fn upgrade(&self, mut parts: Parts) -> Result<Response<Reply>, GateError> {
        let ours = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        self.address(&mut parts);
        // HTTP/1.1 to the gate: the target is a path, the service is in the host.
        let path = parts.uri.path_and_query().cloned();
        parts.uri = path.map(Uri::from).unwrap_or_default();
        parts.version = Version::HTTP_11;
        parts.headers.insert(header::HOST, host_of(&self.service));
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let own = parts.headers.contains_key(header::AUTHORIZATION);
        let mut response = loop {
            let sent = self.bear(&mut parts.headers, own);
            let request = Request::from_parts(parts.clone(), Empty::new());
            let response = self.passage.gate.upgrade(request).await?;
            if !self.learn(sent.as_ref(), &response) || own || self.passage.bearer.is_wanting() {
                break response;
            }
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(back(response));
        }
        let theirs = hyper::upgrade::on(&mut response);
        let (mut head, _) = response.into_parts();
        clean(&mut head.headers);
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        head.extensions.clear();
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(async move {
            let Some(ours) = ours else { return };
            if let Ok((ours, theirs)) = tokio::try_join!(ours, theirs) {
                // Either end may go away; then the other is closed as well.
                let _ =
                    tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(theirs)).await;
            }
        }));
        Ok(Response::from_parts(head, reply::full(Bytes::new())))
    }

    /// Towards the gate: its service, our task, and nothing of the hop before.
    fn address(&self, parts: &mut Parts) {
        clean(&mut parts.headers);
        // The user of a request is the command's to say; nothing else of ours is.
        let ours: Vec<HeaderName> = parts
            .headers
            .keys()
            .filter(|name| name.as_str().starts_with("jitgate-") && **name != USER)
            .cloned()
            .collect();
        for name in ours {
            parts.headers.remove(name);
        }
        for name in [header::HOST, header::EXPECT, header::ORIGIN] {
            parts.headers.remove(name);
        }
        // A task's name is visible ASCII, a service's name a host name.
        if let Some(Ok(task)) = self.passage.task.as_ref().map(|task| HeaderValue::from_str(task.as_str())) {
            parts.headers.insert(TASK, task);
        }
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let authority = self.passage.authority.as_deref().unwrap_or(self.service.as_str());
        let uri = Uri::builder().scheme("https").authority(authority).path_and_query(path).build();
        parts.uri = uri.unwrap_or_default();
        parts.version = Version::HTTP_2;
        parts.extensions.clear();
    }

    /// A redirect to a path of the service becomes one to the same path here.
    fn relocate(&self, headers: &mut HeaderMap) {
        let moved = headers.get(header::LOCATION).and_then(|location| {
            let path = location.to_str().ok().filter(|to| to.starts_with('/') && !to.starts_with("//"))?;
            HeaderValue::try_from(format!("/{}{path}", self.secret.reveal())).ok()
        });
        if let Some(moved) = moved {
            headers.insert(header::LOCATION, moved);
        }
    }
}

fn host_of(service: &ServiceName) -> HeaderValue {
    HeaderValue::from_str(service.as_str()).unwrap_or(HeaderValue::from_static("unnamed"))
}

fn is_websocket(parts: &Parts) -> bool {
    let upgrade = parts.headers.get(header::UPGRADE);
    parts.version == Version::HTTP_11
        && upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Whether so little is sent that it can be sent again.
fn is_repeatable(body: &Incoming) -> bool {
    body.is_end_stream() || body.size_hint().upper().is_some_and(|length| length <= REPEATABLE)
}

/// Fields of one connection, not of the message (RFC 9110 section 7.6.1, RFC 9113 section 8.2.2).
fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::CONTENT_LENGTH)
        .collect();
    let trailers = headers.get_all(header::TE).iter().any(|value| {
        let parts = value.to_str().unwrap_or_default();
        parts.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers"))
    });
    let fixed = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ];
    for name in named.into_iter().chain(fixed.map(HeaderName::from_static)) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// The gate's answer, as it goes back.
fn back(response: Response<Incoming>) -> Response<Reply> {
    let (mut parts, body) = response.into_parts();
    clean(&mut parts.headers);
    parts.extensions.clear();
    Response::from_parts(parts, body.map_err(boxed).boxed_unsync())
}

fn boxed(error: hyper::Error) -> Box<dyn std::error::Error + Send + Sync> {
    Box::new(error)
}

#[cfg(test)]
mod tests;
