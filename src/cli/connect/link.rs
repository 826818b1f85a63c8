//! One MCP endpoint over streamable HTTP, through a connection that proves who we are: a question and its answer.
//!
//! Nothing is sent twice that may have arrived, but the question to a session that is not there any more ([`Kind::SessionOver`]), and
//! that only by whoever knows that it does no harm. A stream that ends before the answer is gone on with where the server gave its
//! events ids (`Last-Event-ID`): that asks for what was already sent, and calls nothing.

use super::fault::{Fault, Kind};
use super::messages::{LIMITS, Messages};
use super::out::Out;
use super::session::{Live, Sessions};
use crate::cli::loopback::{Gate, Outgoing};
use crate::cli::run::say;
use crate::mcp::rules::EndpointPath;
use crate::mcp::{AnswerKind, EventId, Id, Message, SessionId, Version, answer, header};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;

const TASK: HeaderName = HeaderName::from_static("jitgate-task");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Of an answer that says no.
const REFUSAL: usize = 64 * 1024;
/// For the rest of an answer of which nothing more is needed, and for an answer that says no.
const REST: Duration = Duration::from_secs(5);
/// For a message that wants no answer.
const ASIDE: Duration = Duration::from_secs(30);
/// How often a stream is gone on with without a further event, and after which pause.
const RESUMES: u32 = 5;
const AGAIN: Duration = Duration::from_secs(1);

/// Where it is.
pub(super) struct Place {
    pub(super) gate: Arc<Gate>,
    /// The service's name at the gate, or host and port.
    pub(super) authority: String,
    pub(super) path: EndpointPath,
    /// The task that everything is under.
    pub(super) task: Option<HeaderValue>,
}

/// See the head of this file.
pub(super) struct Link {
    place: Place,
    out: Out,
    /// Whether what the server asks of its own is for the client.
    questions: bool,
    pub(super) sessions: Sessions,
    tracker: TaskTracker,
}

/// How a message is sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Way {
    /// Version, session and what repeats the body.
    pub(super) headers: HeaderMap,
    /// The session that it is in.
    pub(super) live: Option<Arc<Live>>,
    /// Whether it stands alone (2026-07-28).
    pub(super) alone: bool,
}

/// The message that answers.
#[derive(Debug)]
pub(super) struct Answered {
    /// A JSON text, as it came.
    pub(super) text: Vec<u8>,
    /// Whether it is an error.
    pub(super) failed: bool,
    /// The session that began with it.
    pub(super) session: Option<SessionId>,
}

impl Way {
    /// In a session; before there is one, without.
    pub(super) fn within(live: Option<Arc<Live>>) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(live) = &live {
            headers.insert(header::PROTOCOL_VERSION, live.version.clone());
            if let Some(Ok(id)) = live.session.as_ref().map(|id| HeaderValue::from_str(id.as_str())) {
                headers.insert(header::SESSION_ID, id);
            }
        }
        Self { headers, live, alone: false }
    }

    fn version(&self) -> Version {
        match (&self.live, self.alone) {
            (_, true) => Version::V20260728,
            (Some(live), false) => live.version(),
            (None, false) => Version::V20251125,
        }
    }
}

impl Link {
    pub(super) fn new(place: Place, out: Out, questions: bool, tracker: TaskTracker) -> Self {
        Self { place, out, questions, sessions: Sessions::default(), tracker }
    }

    /// The answer to a request. What else comes before it goes to the client at once.
    pub(super) async fn ask(&self, way: &Way, body: Bytes, id: &Id) -> Result<Answered, Fault> {
        let response = self.send(Method::POST, way, None, Some(body)).await?;
        if response.status() != StatusCode::OK {
            return Err(unreadable());
        }
        let session =
            response.headers().get(header::SESSION_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        let mut messages = Messages::of(response).ok_or_else(unreadable)?;
        let mut tries = 0;
        loop {
            let before = messages.last_event().cloned();
            let broken = match self.until(&mut messages, way, Some(id)).await {
                Ok(Some((text, failed))) => {
                    self.finish(messages);
                    return Ok(Answered { text, failed, session });
                }
                Ok(None) => None,
                Err(Ended::Broken(broken)) => Some(broken),
                Err(Ended::Fault(fault)) => return Err(fault),
            };
            let cut = Fault::cut(broken.as_ref());
            let last = messages.last_event().cloned().filter(|_| !way.alone).ok_or_else(|| cut.clone())?;
            tries = if before.as_ref() == Some(&last) { tries + 1 } else { 0 };
            if tries >= RESUMES {
                return Err(cut);
            }
            tokio::time::sleep(AGAIN).await;
            let further = self.send(Method::GET, way, Some(&last), None).await.map_err(|_| cut.clone())?;
            messages = Messages::of(further).ok_or(cut)?;
        }
    }

    /// A message that wants no answer.
    pub(super) async fn tell(&self, way: &Way, body: Bytes) -> Result<(), Fault> {
        let sending = self.send(Method::POST, way, None, Some(body));
        let late = |_| Fault::new("late", "a message was not taken in time");
        tokio::time::timeout(ASIDE, sending).await.map_err(late)?.map(drop)
    }

    /// The stream of what the server has to say by itself, from `last` on; until it ends.
    pub(super) async fn hear(&self, way: &Way, last: &mut Option<EventId>) -> Result<(), Fault> {
        let response = self.send(Method::GET, way, last.as_ref(), None).await?;
        let mut messages = Messages::of(response).ok_or_else(unreadable)?;
        let ended = self.until(&mut messages, way, None).await;
        if let Some(event) = messages.last_event() {
            *last = Some(event.clone());
        }
        match ended {
            Err(Ended::Fault(fault)) => Err(fault),
            Ok(_) | Err(Ended::Broken(_)) => Ok(()),
        }
    }

    /// Ends a session.
    pub(super) async fn end(&self, live: Arc<Live>) {
        if live.session.is_some() {
            let way = Way::within(Some(live));
            let _ = tokio::time::timeout(REST, self.send(Method::DELETE, &way, None, None)).await;
        }
    }

    /// Reads until the answer to `id`, or the end. What is not that answer goes to the client, or nowhere.
    async fn until(
        &self,
        messages: &mut Messages,
        way: &Way,
        id: Option<&Id>,
    ) -> Result<Option<(Vec<u8>, bool)>, Ended> {
        while let Some(text) = messages.next().await? {
            for answer in answer::read(&text, way.version(), LIMITS).map_err(super::messages::Broken::from)? {
                let own = answer.of(&text);
                match &answer.kind {
                    AnswerKind::Result(got) if Some(got) == id => return Ok(Some((own.to_vec(), false))),
                    AnswerKind::Error(Some(got)) if Some(got) == id => return Ok(Some((own.to_vec(), true))),
                    AnswerKind::Error(None) if id.is_some() => {
                        return Err(Ended::Fault(Fault::refused(StatusCode::OK, own, false)));
                    }
                    AnswerKind::Question(_) if self.questions && !way.alone => self.out.send(own).await,
                    AnswerKind::Notification => self.out.send(own).await,
                    AnswerKind::Result(_) | AnswerKind::Error(_) | AnswerKind::Question(_) => {
                        say("a message of the service that belongs to no call of this stream is left out");
                    }
                }
            }
        }
        Ok(None)
    }

    /// Reads what is left, so that the exchange ends as it should; not for long.
    fn finish(&self, mut messages: Messages) {
        self.tracker.spawn(async move {
            let rest = async { while let Ok(Some(_)) = messages.next().await {} };
            let _ = tokio::time::timeout(REST, rest).await;
        });
    }

    async fn send(
        &self,
        method: Method,
        way: &Way,
        last: Option<&EventId>,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, Fault> {
        let is_get = method == Method::GET;
        let wants_answer = method == Method::POST;
        let mut headers = way.headers.clone();
        headers.insert(ACCEPT, if is_get { EVENTS } else { BOTH });
        if body.is_some() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        if let Some(Ok(last)) = last.map(|last| HeaderValue::from_str(last.as_str())) {
            headers.insert(header::LAST_EVENT_ID, last);
        }
        if let Some(task) = &self.place.task {
            headers.insert(TASK, task.clone());
        }
        let uri = Uri::builder()
            .scheme("https")
            .authority(self.place.authority.as_str())
            .path_and_query(self.place.path.as_str())
            .build();
        let body: Outgoing =
            Full::new(body.unwrap_or_default()).map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.unwrap_or_default();
        *request.headers_mut() = headers;
        let response = self.place.gate.send(request).await.map_err(|error| Fault::gate(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let reading = Limited::new(body, REFUSAL).collect();
        let said = tokio::time::timeout(REST, reading).await.ok().and_then(Result::ok);
        let said = said.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let in_session = way.live.as_ref().is_some_and(|live| live.session.is_some());
        let fault = Fault::refused(head.status, &said, in_session && (is_get || wants_answer));
        if let (Kind::SessionOver, Some(live)) = (fault.kind(), &way.live) {
            self.sessions.over(live);
        }
        Err(fault)
    }
}

/// Why reading ends before the answer.
enum Ended {
    Broken(super::messages::Broken),
    Fault(Fault),
}

impl From<super::messages::Broken> for Ended {
    fn from(broken: super::messages::Broken) -> Self {
        Self::Broken(broken)
    }
}

fn unreadable() -> Fault {
    Fault::new("unreadable", "the service answered without an answer: neither JSON nor an event stream")
}

/// Which request a message is.
pub(super) fn as_request(message: &Message) -> Option<&crate::mcp::Request> {
    match message {
        Message::Request(request) => Some(request),
        Message::Notification(_) | Message::Response(_) => None,
    }
}
