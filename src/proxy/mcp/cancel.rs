//! What the gate itself tells a service when access has ended: that a call is cancelled, that a task is, that a session is over. Its own
//! words, with nothing of a caller in them but the ids that the service knows already. No caller waits for them, and they are bounded. The
//! end of a session waits until its tasks were cancelled: in a session that is over, a service cancels nothing.

use super::shelf::{Orphan, Owned};
use crate::mcp::header::{METHOD, NAME, PROTOCOL_VERSION, SESSION_ID};
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
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// So many messages of ours wait or are on their way, to all services; what finds no room is told to the log alone. Each service takes a
/// few at once (`Route::telling`), so that one that hangs holds up no other.
const WAITING: usize = 8_192;
static ROOM: Semaphore = Semaphore::const_new(WAITING);
const PATIENCE: Duration = Duration::from_secs(10);

/// A message on its way: it is over when the service has answered, or has taken too long.
pub(super) type Told = JoinHandle<()>;

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

    /// This address of the service has answered.
    pub(super) fn is_at(&mut self, place: usize) {
        self.place = Some(place);
    }

    /// The address that has the call.
    pub(super) fn place(&self) -> Option<usize> {
        self.place
    }

    /// These calls are over. Where requests stand alone the end of the connection says so; with sessions it does not.
    pub(super) fn cancel<'i>(&self, calls: impl Iterator<Item = &'i Id>) {
        if self.version.is_stateless() {
            return;
        }
        for id in calls {
            let to = (self.session.as_ref().map(|owned| &owned.id), self.version, self.place);
            post(&self.worker, &self.route, to, (cancelled(id), None));
        }
    }

    /// A session that could not be bound, or is over.
    pub(super) fn end_session(&self, owned: Owned) {
        session(&self.worker, owned, Vec::new());
    }
}

fn cancelled(id: &Id) -> Value {
    json!({
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": id, "reason": "access has ended"},
    })
}

/// A call of a session that nobody waits for any more, and whose grant has ended.
pub(super) fn call(worker: &Arc<Worker>, owned: &Owned, version: Version, id: &Id) {
    let Some(route) = route(worker, &owned.owner.service) else { return };
    post(worker, route, (Some(&owned.id), version, Some(place(&owned.owner))), (cancelled(id), None));
}

/// A task whose grant has ended is cancelled. None if that cannot be told.
pub(super) fn task(worker: &Arc<Worker>, orphan: Orphan) -> Option<Told> {
    let Orphan { service, handle, session, version, place } = orphan;
    let route = route(worker, &service)?;
    let params = match version.is_stateless() {
        true => json!({"taskId": handle, "_meta": {
            "io.modelcontextprotocol/protocolVersion": version.as_str(),
            "io.modelcontextprotocol/clientInfo": {"name": "jitgate", "version": env!("CARGO_PKG_VERSION")},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
        }}),
        false => json!({"taskId": handle}),
    };
    let message = json!({"jsonrpc": "2.0", "id": "jitgate", "method": "tasks/cancel", "params": params});
    let to = (session.as_ref().map(|owned| &owned.id), version, place);
    post(worker, route, to, (message, Some(&*handle)))
}

/// A session without access is ended, once `first` are over.
pub(super) fn session(worker: &Arc<Worker>, owned: Owned, first: Vec<Told>) {
    let Some(route) = route(worker, &owned.owner.service) else { return };
    let Some(mut request) = begin(route, Method::DELETE, Upload::Empty) else { return };
    if let Ok(id) = HeaderValue::from_str(owned.id.as_str()) {
        request.headers_mut().insert(SESSION_ID, id);
    }
    send(worker, route, Some(place(&owned.owner)), request, first);
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
    (message, name): (Value, Option<&str>),
) -> Option<Told> {
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
    let body = Upload::Ours(Some(Bytes::from(message.to_string())));
    let mut request = begin(route, Method::POST, body)?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
    if let Some(id) = session.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
        headers.insert(SESSION_ID, id);
    }
    if version.is_stateless() {
        headers.extend(HeaderValue::from_str(&method).ok().map(|method| (METHOD, method)));
        headers.extend(name.and_then(|name| HeaderValue::from_str(name).ok()).map(|name| (NAME, name)));
    }
    send(worker, route, place, request, Vec::new())
}

fn send(
    worker: &Arc<Worker>,
    route: &Arc<Route>,
    place: Option<usize>,
    mut request: Request<Upload>,
    first: Vec<Told>,
) -> Option<Told> {
    // While a thread ends, its runtime is gone: nothing is told then.
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let Ok(room) = ROOM.try_acquire() else {
        tracing::warn!(service = %route.name(), "too many cancellations are on their way: one is left out");
        return None;
    };
    if !address(&mut request, route, false) {
        return None;
    }
    let (worker, index, telling) = (Arc::clone(worker), route.index, Arc::clone(&route.telling));
    Some(runtime.spawn(async move {
        let _room = room;
        for told in first {
            // What failed is over as well.
            let _ = told.await;
        }
        let Ok(_turn) = telling.acquire().await else { return };
        let Some(upstream) = worker.upstreams.get(index) else { return };
        let now = Mono::now();
        let told = async {
            let mut answered = upstream.send_to(place, request, None, now).await.ok()?;
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
    }))
}
