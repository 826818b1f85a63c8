//! The head of an answer, and what becomes of its body.
//!
//! | the service answers with | it is |
//! |---|---|
//! | an event stream | passed on event by event ([`super::looking`]) |
//! | JSON | read whole, within the bounds of a message, looked at, passed on |
//! | nothing | passed on |
//! | an error status and a text of another kind | passed on, bounded |
//! | a redirection, a content coding, anything else | not passed on |

use super::calls::TOO_LARGE;
use super::looker::{Looked, Looker};
use super::looking::Looking;
use super::send::Also;
use super::shelf::Owned;
use super::whole::Held;
use crate::access::stream::{CutCause, Turn};
use crate::audit::record::{End, Record};
use crate::mcp::header::SESSION_ID;
use crate::mcp::session::{Owner, Route as Address};
use crate::mcp::sse::Filter;
use crate::mcp::{Fault, SessionId};
use crate::model::{DenyReason, EndCause, RequestId};
use crate::proxy::body::{Download, Exchange, note_long_life};
use crate::proxy::forward::{Failure, failed};
use crate::proxy::headers;
use crate::proxy::reply::{Refusal, Shape, refuse};
use crate::proxy::router::Route;
use crate::proxy::upstream::{Answered, Reusable, UpstreamError};
use crate::runtime::clock::Mono;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Response, StatusCode, Version, response};
use hyper::body::{Body as _, Incoming as Body};
use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Of an error's text so much is passed on.
const ERROR_BYTES: usize = 64 << 10;

/// The way back to the caller.
pub(super) struct Way {
    pub(super) exchange: Arc<Exchange>,
    pub(super) also: Also,
    pub(super) record: Record,
    pub(super) route: Arc<Route>,
    pub(super) shape: Shape,
    pub(super) request_id: RequestId,
    pub(super) initialize: bool,
    pub(super) lasting: bool,
}

/// The body of an answer as the service sends it.
pub(super) struct Source {
    inner: Body,
    channel: Option<Reusable>,
}

impl Source {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ()>>> {
        loop {
            let inner = Pin::new(&mut self.inner);
            let polled = match &mut self.channel {
                Some(channel) => channel.poll_with(cx, |cx| inner.poll_frame(cx)),
                None => inner.poll_frame(cx),
            };
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(()))),
                // Trailers say nothing here.
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    /// Only after it was read to its end.
    pub(super) fn give_back(self, now: Mono) {
        if let Some(channel) = self.channel {
            channel.give_back(now);
        }
    }
}

enum Kind {
    Stream,
    Message,
    /// An error in words that are no message.
    Words,
    Nothing,
}

impl Kind {
    fn of(head: &response::Parts) -> Option<Self> {
        let success = head.status.is_success();
        let error = head.status.is_client_error() || head.status.is_server_error();
        if !(success || error) || head.headers.contains_key(CONTENT_ENCODING) {
            return None;
        }
        let mut types = head.headers.get_all(CONTENT_TYPE).iter();
        let media = match (types.next(), types.next()) {
            (None, _) => return Some(if success { Self::Nothing } else { Self::Words }),
            (Some(value), None) => value.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase(),
            (Some(_), Some(_)) => return None,
        };
        match &*media {
            "text/event-stream" if success => Some(Self::Stream),
            "application/json" => Some(Self::Message),
            _ if error => Some(Self::Words),
            // A body would be refused; an empty answer may be labelled as it likes.
            _ => Some(Self::Nothing),
        }
    }
}

/// Why an answer is not passed on.
enum Broken {
    Cut(CutCause),
    Service,
    /// Larger than the grants of its calls permit.
    TooLarge,
    Fault(Fault),
}

/// Passes an answer on.
pub(super) async fn pass(mut way: Way, mut looker: Looker, answered: Answered) -> Response<Download> {
    let Answered { response, place, channel } = answered;
    looker.calls.answered_at(place);
    let (mut head, inner) = response.into_parts();
    headers::clean_response(&mut head.headers);
    (head.version, head.extensions) = (Version::HTTP_11, http::Extensions::new());
    let mut source = Source { inner, channel };
    if !way.exchange.is_request_sent()
        && let Some(channel) = &mut source.channel
    {
        channel.run_by_itself();
    }
    way.exchange.live.stream().set_deadline(Turn::ServiceSends, None);
    let Some(kind) = Kind::of(&head) else {
        return stop(way, looker, Broken::Service);
    };
    if let Err(fault) = session(&way, &mut looker, &mut head, place, matches!(kind, Kind::Stream)) {
        return stop(way, looker, Broken::Fault(fault));
    }
    let bound = match kind {
        Kind::Stream | Kind::Message => looker.limits.body_bytes,
        Kind::Words => ERROR_BYTES,
        Kind::Nothing => 0,
    };
    let most = looker.calls.most();
    let (source, filter, out) = match kind {
        Kind::Stream => (Some(source), Some(Filter::new(bound)), Vec::new()),
        Kind::Message | Kind::Words | Kind::Nothing => {
            let held = Held::none(&looker.calls.shelf().room, looker.standing.caller().peer().principal());
            let (bounds, mut text) = ((bound, looker.calls.most_of_message()), Vec::new());
            let read = collect(&mut way, source, bounds, held, &mut text).await;
            if read.is_err() {
                looker.forsake(&text);
            }
            match read.and_then(|()| look(&kind, &mut head, &mut looker, text)) {
                Ok(out) => (None, None, out),
                Err(broken) => return stop(way, looker, broken),
            }
        }
    };
    head.headers.remove(CONTENT_LENGTH);
    way.record.status(head.status.as_u16());
    way.record.response_head(&head.headers);
    let tape = way.record.response_tape();
    let Way { exchange, also, record, route, lasting, .. } = way;
    let looking = Looking {
        source,
        filter,
        looker,
        exchange,
        also,
        record: Some(record),
        route,
        lasting,
        out,
        ending: None,
        next_look: Mono::default(),
        admit_written: false,
        tape,
        left: most,
    };
    Response::from_parts(head, Download::Looked(Box::new(looking)))
}

fn owner(looker: &Looker, place: usize) -> Owner {
    Owner {
        principal: looker.standing.caller().peer().principal().clone(),
        service: looker.standing.service().clone(),
        route: Address(u32::try_from(place).unwrap_or(u32::MAX)),
    }
}

/// The session that an answer names: bound before the answer is passed on.
fn session(
    way: &Way,
    looker: &mut Looker,
    head: &mut response::Parts,
    place: usize,
    streams: bool,
) -> Result<(), Fault> {
    const UNREADABLE: Fault = Fault {
        reason: DenyReason::UpstreamUnavailable,
        detail: "the service gave out a session id that is none",
    };
    let mut given = head.headers.get_all(&SESSION_ID).iter();
    let given = match (given.next(), given.next()) {
        (None, _) => None,
        (Some(id), None) => {
            Some(id.to_str().ok().and_then(|id| id.parse::<SessionId>().ok()).ok_or(UNREADABLE)?)
        }
        (Some(_), Some(_)) => return Err(UNREADABLE),
    };
    let own = looker.calls.owned().cloned();
    match (given, own) {
        (Some(id), _) if way.initialize && head.status.is_success() => {
            let owner = owner(looker, place);
            if streams {
                // Its version comes with the first event; until then nobody can use it.
                let now = looker.standing.now().ok_or(UNREADABLE)?;
                looker.open(id.clone(), owner.clone(), looker.version, now)?;
            }
            looker.opens = Some(Owned { id, owner });
        }
        (Some(id), own) if own.as_ref().is_none_or(|own| own.id != id) => {
            // It opens none now.
            head.headers.remove(&SESSION_ID);
        }
        (Some(_) | None, Some(Owned { id, owner })) if head.status == StatusCode::NOT_FOUND => {
            looker.calls.shelf().sessions().close(&id, &owner);
        }
        (Some(_) | None, _) => {}
    }
    Ok(())
}

/// Reads what is no stream: within the bounds of a message, and within what its grants permit. Where it fails, `text` has what was read.
async fn collect(
    Way { exchange, also, record, .. }: &mut Way,
    mut source: Source,
    (bound, most): (usize, Option<u64>),
    mut held: Held,
    text: &mut Vec<u8>,
) -> Result<(), Broken> {
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let read = poll_fn(|cx| {
        loop {
            let polled = source.poll(cx);
            let (now, live) = (Mono::now(), &exchange.live);
            if let Poll::Ready(cause) = also.poll_cut(cx) {
                return Poll::Ready(Err(Broken::Cut(cause)));
            }
            if let Err(cause) = live.check(now).and_then(|()| note_long_life(live, Some(&mut *record))) {
                return Poll::Ready(Err(Broken::Cut(cause)));
            }
            match polled {
                Poll::Pending => {
                    let patience = exchange.patience.service_idle;
                    return match live.wait(Turn::ServiceSends, cx.waker(), patience, now) {
                        Ok(()) => Poll::Pending,
                        Err(cause) => Poll::Ready(Err(Broken::Cut(cause))),
                    };
                }
                Poll::Ready(Some(Ok(data))) => {
                    live.stream().set_deadline(Turn::ServiceSends, None);
                    if text.len() + data.len() > most {
                        // It may be whole with this, and tell of a task.
                        if text.len() + data.len() <= bound && held.grow(data.len()) {
                            text.extend_from_slice(&data);
                        }
                        return Poll::Ready(Err(Broken::TooLarge));
                    }
                    if text.len() + data.len() > bound || !held.grow(data.len()) {
                        return Poll::Ready(Err(Broken::Service));
                    }
                    text.extend_from_slice(&data);
                }
                Poll::Ready(Some(Err(()))) => return Poll::Ready(Err(Broken::Service)),
                Poll::Ready(None) => return Poll::Ready(Ok(now)),
            }
        }
    })
    .await;
    let now = read?;
    if exchange.is_request_sent() {
        source.give_back(now);
    }
    Ok(())
}

/// What of a whole body is passed on.
fn look(
    kind: &Kind,
    head: &mut response::Parts,
    looker: &mut Looker,
    text: Vec<u8>,
) -> Result<Vec<u8>, Broken> {
    if !matches!(kind, Kind::Message) || text.is_empty() {
        return Ok(text);
    }
    let Some(now) = looker.standing.now() else {
        looker.forsake(&text);
        return Err(Broken::Cut(CutCause::Stale));
    };
    let looked = looker.look(&text, now).map(|looked| match looked {
        Looked::Pass(Cow::Owned(other)) => Some(Some(other)),
        // All of it: what is borrowed is passed on in the place of the text that it was read from.
        Looked::Pass(Cow::Borrowed(same)) if same.len() == text.len() => Some(None),
        Looked::Pass(Cow::Borrowed(part)) => Some(Some(part.to_vec())),
        Looked::LeaveOut => None,
    });
    match looked {
        Ok(Some(other)) => Ok(other.unwrap_or(text)),
        // An error that is no message of JSON-RPC, or answers nobody, says enough with its status.
        Ok(None) | Err(_) if !head.status.is_success() => {
            head.headers.remove(CONTENT_TYPE);
            Ok(Vec::new())
        }
        Ok(None) => Err(Broken::Service),
        Err(fault) => Err(Broken::Fault(fault)),
    }
}

/// The answer of the service is not passed on.
fn stop(way: Way, mut looker: Looker, broken: Broken) -> Response<Download> {
    let Way { exchange, mut record, shape, request_id, route, .. } = way;
    let failure = match broken {
        Broken::Cut(cause) => Failure::Cut(cause),
        Broken::Service => Failure::Upstream(UpstreamError::Protocol),
        Broken::TooLarge => {
            looker.calls.abandon_all();
            exchange.live.count_cut(CutCause::Grant(EndCause::Limit));
            exchange.live.cut(CutCause::Finished);
            let (response, length) =
                refuse(&Refusal::plain(DenyReason::Limit, TOO_LARGE, request_id, &shape));
            record.status(response.status().as_u16());
            record.add_bytes_out(length);
            record.finish(End::Cut(EndCause::Limit.as_str()));
            return response;
        }
        Broken::Fault(fault) => {
            tracing::warn!(service = %route.name(), detail = fault.detail, "an answer of MCP is not passed on");
            looker.calls.abandon_all();
            exchange.live.cut(CutCause::Finished);
            let refusal = Refusal::plain(DenyReason::UpstreamUnavailable, fault.detail, request_id, &shape);
            let (response, length) = refuse(&Refusal { status: 502, ..refusal });
            record.status(response.status().as_u16());
            record.add_bytes_out(length);
            record.finish(End::UpstreamError("protocol"));
            return response;
        }
    };
    looker.calls.abandon_all();
    failed(&exchange, record, &shape, request_id, &failure)
}
