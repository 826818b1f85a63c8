//! From the client's lines to the service and back: each request on a task of its own, what wants no answer in the order in which it came.
//!
//! Invariants: every request that could be read gets exactly one answer with its id, unless the client cancels it; at most [`CALLS`] run at once.

use super::asking::Asking;
use super::fault::{self, Fault, PARSE_ERROR};
use super::link::{Link, Way};
use super::messages::LIMITS;
use super::out::Out;
use super::request::{Era, Params};
use crate::cli::run::say;
use crate::mcp::refused::INVALID_REQUEST;
use crate::mcp::{
    AnswerKind, Content, Fault as Unreadable, Id, Message, Notification, Request, Version, answer, body,
    header,
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Calls that run at once; a further one is refused.
const CALLS: usize = 256;

/// See the head of this file.
pub(super) struct Bridge {
    pub(super) service: Arc<Link>,
    pub(super) asking: Option<Asking>,
    pub(super) out: Out,
    pub(super) params: Params,
    /// A client of the older kind is there: it may be told that lists have changed.
    pub(super) greeted: AtomicBool,
    calls: Mutex<HashMap<Id, Running>>,
    tracker: TaskTracker,
}

/// A call that runs.
struct Running {
    alone: bool,
    endless: bool,
    stop: CancellationToken,
}

/// A message as far as the strict reader gets; what it refuses, the gate would refuse as well.
pub(super) fn read(line: &[u8]) -> Result<Content, Unreadable> {
    body::read(line, LIMITS)
}

impl Bridge {
    pub(super) fn new(service: Arc<Link>, asking: Option<Asking>, out: Out, tracker: TaskTracker) -> Self {
        let (params, greeted) = (Params::default(), AtomicBool::new(false));
        Self { service, asking, out, params, greeted, calls: Mutex::default(), tracker }
    }

    /// Takes one line. What wants no answer has been sent when it returns, in its time; requests go on by themselves.
    pub(super) async fn take(self: &Arc<Self>, line: Vec<u8>) {
        let line = Bytes::from(line);
        match read(&line) {
            Ok(Content::One(Message::Request(request))) => self.begin(request, line).await,
            Ok(Content::One(Message::Notification(notification))) => self.note(&notification, line).await,
            Ok(Content::One(Message::Response(_))) => {
                self.tell(&Way::within(self.service.sessions.live()), line).await;
            }
            Ok(Content::Batch(messages)) => {
                let text = "batches are not taken: send the messages one by one";
                let ids: Vec<&Id> =
                    messages.iter().filter_map(super::link::as_request).map(Request::id).collect();
                for id in &ids {
                    self.out.send(&fault::plain(Some(id), INVALID_REQUEST, text)).await;
                }
                if ids.is_empty() {
                    self.out.send(&fault::plain(None, INVALID_REQUEST, text)).await;
                }
            }
            Err(why) => self.unread(&line, &why).await,
        }
    }

    /// What the strict reader refuses. Ids of the two sides are apart: only what asks is answered with its id; where the client answers,
    /// whoever asked is told.
    async fn unread(&self, line: &[u8], why: &Unreadable) {
        let Some(told) = Told::of(line) else {
            return self.out.send(&fault::plain(None, PARSE_ERROR, &format!("parse error: {why}"))).await;
        };
        let text = format!("{}: {why}", why.reason.as_str());
        let id = if let Told::Asks(id) = &told { id.as_ref() } else { None };
        self.out.send(&fault::plain(id, INVALID_REQUEST, &text)).await;
        if let Told::Answers(id) = told {
            let text = format!("the client's answer cannot be read: {text}");
            let says = fault::plain(Some(&id), INVALID_REQUEST, &text);
            self.tell(&Way::within(self.service.sessions.live()), says.into()).await;
        }
    }

    async fn begin(self: &Arc<Self>, request: Request, line: Bytes) {
        let stop = CancellationToken::new();
        let running = Running {
            alone: Era::of(request.meta_version()).is_alone(),
            endless: request.method() == "subscriptions/listen",
            stop: stop.clone(),
        };
        let refused = {
            let mut calls = self.calls.lock();
            if calls.contains_key(request.id()) {
                Some(Fault::new("id_in_use", "a call with this id runs already"))
            } else if calls.len() >= CALLS {
                Some(Fault::new("limit", "too many calls run at once"))
            } else {
                calls.insert(request.id().clone(), running);
                None
            }
        };
        if let Some(fault) = refused {
            return self.out.send(&fault.message(request.id())).await;
        }
        let bridge = Arc::clone(self);
        self.tracker.spawn(async move {
            let answered = stop.run_until_cancelled(bridge.answered(&request, line)).await;
            bridge.calls.lock().remove(request.id());
            match answered {
                Some(Ok(message)) => bridge.out.send(&message).await,
                Some(Err(fault)) => bridge.out.send(&fault.message(request.id())).await,
                // Nobody waits for it.
                None => {}
            }
        });
    }

    async fn note(self: &Arc<Self>, notification: &Notification, line: Bytes) {
        if let Some(id) = notification.cancels() {
            let call = self.calls.lock().get(id).map(|running| (running.alone, running.stop.clone()));
            // Of a call that stands alone, the end of its answer says so.
            if let Some((false, _)) | None = &call
                && let Some(live) = self.service.sessions.live()
            {
                self.tell(&Way::within(Some(live)), line).await;
            }
            if let Some((_, stop)) = call {
                stop.cancel();
            }
            return;
        }
        if notification.method() == "notifications/initialized" {
            self.greeted.store(true, Ordering::Relaxed);
        }
        let way = match (Era::of(notification.meta_version()), self.service.sessions.live()) {
            (Era::Alone(version), _) => {
                let headers = [(header::PROTOCOL_VERSION, version)].into_iter().collect();
                Way { headers, live: None, alone: true }
            }
            (Era::Session, Some(live)) => Way::within(Some(live)),
            // There is nobody whom it could concern.
            (Era::Session, None) => return,
        };
        self.tell(&way, line).await;
        if notification.method() == "notifications/initialized" {
            self.service.listen();
        }
    }

    async fn tell(&self, way: &Way, line: Bytes) {
        if let Err(fault) = self.service.tell(way, line).await {
            say(&format!("a message of the client was not taken: {}", fault.text()));
        }
    }

    /// A line that was too long to be read.
    pub(super) async fn too_long(&self) {
        let text = format!("too_large: a message has at most {} bytes", LIMITS.body_bytes);
        self.out.send(&fault::plain(None, INVALID_REQUEST, &text)).await;
    }

    /// Ends what would never end by itself.
    pub(super) fn stop_endless(&self) {
        for running in self.calls.lock().values().filter(|running| running.endless) {
            running.stop.cancel();
        }
    }

    /// Ends the session.
    pub(super) async fn close(&self) {
        self.service.close().await;
    }
}

/// What a text that the strict reader refuses is about, as far as it shows.
enum Told {
    /// It wants an answer, perhaps with this id.
    Asks(Option<Id>),
    /// It answers this question.
    Answers(Id),
}

impl Told {
    /// `None`: it is no JSON.
    fn of(text: &[u8]) -> Option<Self> {
        let read = answer::read(text, Version::V20251125, LIMITS).ok().and_then(|mut read| read.pop());
        if let Some(message) = read {
            return Some(match message.kind {
                AnswerKind::Result(id) | AnswerKind::Error(Some(id)) => Self::Answers(id),
                AnswerKind::Question(id) => Self::Asks(Some(id)),
                AnswerKind::Error(None) | AnswerKind::Notification => Self::Asks(None),
            });
        }
        let loose: serde_json::Value = serde_json::from_slice(text).ok()?;
        let id = match loose.get("id") {
            Some(serde_json::Value::String(text)) if text.len() <= 256 => {
                Some(Id::Text(text.as_str().into()))
            }
            Some(serde_json::Value::Number(number)) => number.as_i64().map(Id::Number),
            Some(_) | None => None,
        };
        let answers = loose.get("result").is_some() || loose.get("error").is_some();
        Some(match (loose.get("method").is_some(), answers, id) {
            (false, true, Some(id)) => Self::Answers(id),
            (true, _, id) => Self::Asks(id),
            (false, ..) => Self::Asks(None),
        })
    }
}
