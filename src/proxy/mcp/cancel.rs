//! What the gate itself tells a service when access has ended: that a call is cancelled, that a task is, that a session is over. Its own
//! words, with nothing of a caller in them but the ids that the service knows already. Nobody waits for them, and they are bounded.

use super::shelf::{Orphan, Owned};
use crate::access::stream::{Killer, Stream};
use crate::mcp::header::{METHOD, PROTOCOL_VERSION, SESSION_ID};
use crate::mcp::session::{Owner, Route as Address};
use crate::mcp::{Id, SessionId, Version};
use crate::proxy::body::Upload;
use crate::proxy::connection::Connected;
use crate::proxy::forward::address;
use crate::proxy::router::Route;
use crate::proxy::worker::Worker;
use crate::runtime::clock::Mono;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// So many messages of ours are on their way at once; beyond that the service finds out when it answers.
const AT_ONCE: usize = 256;
static ROOM: Semaphore = Semaphore::const_new(AT_ONCE);
const PATIENCE: Duration = Duration::from_secs(10);

/// Cancels the calls of one request at the service.
pub(super) struct Canceller {
    worker: Arc<Worker>,
    route: Arc<Route>,
    session: Option<Owned>,
    version: Version,
    place: Option<usize>,
}

impl Canceller {
    pub(super) fn of(
        connected: &Connected,
        route: &Arc<Route>,
        session: Option<&Owned>,
        version: Version,
        place: Option<usize>,
    ) -> Self {
        let (worker, route) = (Arc::clone(&connected.worker), Arc::clone(route));
        Self { worker, route, session: session.cloned(), version, place }
    }

    /// These calls are over. Where requests stand alone the end of the connection says so; with sessions it does not.
    pub(super) fn cancel<'i>(&self, calls: impl Iterator<Item = &'i Id>) {
        if self.version.is_stateless() {
            return;
        }
        for id in calls {
            let message = json!({
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": {"requestId": id, "reason": "access has ended"},
            });
            let to = (self.session.as_ref().map(|owned| &owned.id), self.version, self.place);
            post(&self.worker, &self.route, to, message.to_string());
        }
    }

    /// A session that could not be bound.
    pub(super) fn end_session(&self, id: SessionId, owner: Owner) {
        session(&self.worker, Owned { id, owner });
    }
}

/// A task whose grant has ended is cancelled.
pub(super) fn task(worker: &Arc<Worker>, orphan: Orphan) {
    let Orphan { service, handle, session, version } = orphan;
    let Some(route) = route(worker, &service) else { return };
    let params = match version.is_stateless() {
        true => {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": version.as_str(),
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            json!({"taskId": handle, "_meta": meta})
        }
        false => json!({"taskId": handle}),
    };
    let message =
        json!({"jsonrpc": "2.0", "id": "jitgate-cancel", "method": "tasks/cancel", "params": params});
    let place = session.as_ref().map(|owned| place(&owned.owner));
    post(worker, route, (session.as_ref().map(|owned| &owned.id), version, place), message.to_string());
}

/// A session without access is ended.
pub(super) fn session(worker: &Arc<Worker>, owned: Owned) {
    let Some(route) = route(worker, &owned.owner.service) else { return };
    let Some(mut request) = begin(route, Method::DELETE, Upload::Empty) else { return };
    if let Ok(id) = HeaderValue::from_str(owned.id.as_str()) {
        request.headers_mut().insert(SESSION_ID, id);
    }
    send(worker, route, Some(place(&owned.owner)), request);
}

fn place(owner: &Owner) -> usize {
    let Address(place) = owner.route;
    place as usize
}

fn route<'w>(worker: &'w Worker, service: &crate::model::ServiceName) -> Option<&'w Arc<Route>> {
    worker.shared.router.routes().iter().find(|route| route.name() == service)
}

fn begin(route: &Route, method: Method, body: Upload) -> Option<Request<Upload>> {
    let path = route.service.mcp.as_ref()?.path.as_str();
    let mut request = Request::builder().method(method).uri(path).body(body).ok()?;
    request.headers_mut().insert(HOST, route.host.clone());
    Some(request)
}

fn post(
    worker: &Arc<Worker>,
    route: &Arc<Route>,
    (session, version, place): (Option<&SessionId>, Version, Option<usize>),
    message: String,
) {
    let method = serde_json::from_str::<serde_json::Value>(&message)
        .ok()
        .and_then(|message| HeaderValue::from_str(message.get("method")?.as_str()?).ok());
    let Some(mut request) = begin(route, Method::POST, Upload::Ours(Some(Bytes::from(message)))) else {
        return;
    };
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
    if let Some(id) = session.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
        headers.insert(SESSION_ID, id);
    }
    if let (true, Some(method)) = (version.is_stateless(), method) {
        headers.insert(METHOD, method);
    }
    send(worker, route, place, request);
}

fn send(worker: &Arc<Worker>, route: &Arc<Route>, place: Option<usize>, mut request: Request<Upload>) {
    // While a thread ends, its runtime is gone: nothing is told then.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let Ok(room) = ROOM.try_acquire() else {
        tracing::warn!(service = %route.name(), "too many cancellations are on their way: one is left out");
        return;
    };
    if !address(&mut request, route, false) {
        return;
    }
    let (worker, index) = (Arc::clone(worker), route.index);
    runtime.spawn(async move {
        let _room = room;
        let Some(upstream) = worker.upstreams.get(index) else { return };
        let now = Mono::now();
        let stream = Stream::new(Arc::<Killer>::default(), now);
        let told = async {
            let mut answered = upstream.send_to(place, request, &stream, now).await.ok()?;
            let body = answered.response.body_mut();
            // A short answer, so that the connection can be used again; a long one is not waited for.
            match &mut answered.channel {
                Some(channel) => {
                    let whole = std::future::poll_fn(|cx| {
                        let mut frame = std::pin::pin!(body.frame());
                        channel.poll_with(cx, |cx| std::future::Future::poll(frame.as_mut(), cx))
                    });
                    whole.await.map(drop)
                }
                None => body.frame().await.map(drop),
            }
        };
        let _ = tokio::time::timeout(PATIENCE, told).await;
    });
}
