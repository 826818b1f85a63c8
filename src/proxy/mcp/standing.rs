//! Who asked, kept after the request itself has gone: for lists, which show what is permitted when they come, and for streams, which
//! live while any grant does.

use super::shelf::Shelf;
use crate::access::{Cell, Request as Asked, Verdict, View, attend_recorded, offers, shows};
use crate::mcp::ListKind;
use crate::model::{GrantId, McpCall, Recording, ServiceName, Time};
use crate::proxy::connection::Connected;
use crate::proxy::router::Route;
use crate::proxy::user::Presented;
use crate::runtime::clock::Mono;
use crate::session::{Caller, Gate, Live};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use std::sync::Arc;

/// Who asked.
pub(super) struct Standing {
    gate: Arc<Gate>,
    caller: Arc<Caller>,
    service: ServiceName,
    line: Line,
    /// The same as a head, once it is needed.
    head: Option<Parts>,
    token: Option<GrantId>,
    token_required: bool,
    user: Presented,
}

/// What of the head of a request is decided on, without what has been told to the service since.
struct Line {
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    task: Option<HeaderValue>,
}

/// So often another grant is looked for: each may end just before it is admitted.
const TRIES: usize = 4;

const TASK: HeaderName = HeaderName::from_static("jitgate-task");

impl Line {
    fn of(parts: &Parts) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            host: parts.headers.get(HOST).cloned(),
            task: parts.headers.get(TASK).cloned(),
        }
    }

    fn head(&self) -> Parts {
        let mut head = Request::new(()).into_parts().0;
        head.method = self.method.clone();
        head.uri = self.uri.clone();
        head.version = self.version;
        for (name, value) in [(HOST, &self.host), (TASK, &self.task)] {
            if let Some(value) = value {
                head.headers.insert(name, value.clone());
            }
        }
        head
    }
}

impl Standing {
    pub(super) fn of(
        connected: &Connected,
        route: &Route,
        parts: &Parts,
        token: Option<GrantId>,
        user: Presented,
    ) -> Self {
        Self {
            gate: Arc::clone(&connected.worker.shared.gate),
            caller: Arc::clone(&connected.caller),
            service: route.name().clone(),
            line: Line::of(parts),
            head: None,
            token,
            token_required: route.service.token_required,
            user,
        }
    }

    pub(super) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    pub(super) fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Control time; none without a fresh lease.
    pub(super) fn now(&self) -> Option<Time> {
        self.gate.lease().now(Mono::now()).ok()
    }

    /// Whether a live grant permits what an item of a list is used with, and has uses left.
    pub(super) fn offers(&mut self, kind: ListKind, name: &str, now: Time) -> bool {
        let call = McpCall { method: kind.used_with(), name: Some(name), arguments: None };
        let set = self.caller.slot().load();
        self.asked(Some(&call), now, |asked| offers(&set, asked, now)).unwrap_or(false)
    }

    /// Whether a live grant permits to subscribe to a resource; the subscription itself may have been its last use.
    pub(super) fn subscribes(&mut self, uri: &str, now: Time) -> bool {
        let call = McpCall { method: "resources/subscribe", name: Some(uri), arguments: None };
        let set = self.caller.slot().load();
        self.asked(Some(&call), now, |asked| shows(&set, asked, now)).unwrap_or(false)
    }

    /// Whether a task is the caller's, and its grant lives.
    pub(super) fn owns(&self, shelf: &Shelf, handle: &str, now: Time) -> bool {
        self.made(shelf, handle, now).is_some()
    }

    /// The grant of the caller's call that made a task, while it lives.
    pub(super) fn made(&self, shelf: &Shelf, handle: &str, now: Time) -> Option<Arc<Cell>> {
        let made = shelf.tasks().cell_of(self.caller.peer().principal(), &self.service, handle);
        made.filter(|cell| self.caller.slot().load().holds(cell) && now < cell.expires_at())
    }

    /// Another live grant for the service, admitted; one that demands no more to be recorded than `most`, which place was made for.
    pub(super) fn attend(&mut self, most: Recording) -> Option<Live> {
        for _ in 0..TRIES {
            let before = Mono::now();
            let now = self.gate.lease().now(before).ok()?;
            let set = self.caller.slot().load();
            let verdict = self.asked(None, now, |asked| attend_recorded(&set, asked, now, most))?;
            let Verdict::Permit(permit) = verdict else { return None };
            if let Ok(live) = self.gate.admit(permit, &self.caller, (before, before)) {
                return Some(live);
            }
        }
        None
    }

    fn asked<T>(
        &mut self,
        call: Option<&McpCall<'_>>,
        now: Time,
        decide: impl FnOnce(&Asked<'_>) -> T,
    ) -> Option<T> {
        let head = self.head.get_or_insert_with(|| self.line.head());
        let view = View::of(head).ok()?;
        Some(decide(&Asked {
            service: self.service.as_str(),
            view: &view,
            call,
            only: None,
            source: self.caller.source().ip(),
            token: self.token,
            token_required: self.token_required,
            user: self.user.at(now),
        }))
    }
}
