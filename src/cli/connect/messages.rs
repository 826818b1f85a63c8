//! The answer to a request over HTTP, message by message: one as JSON, or a stream of events.

use crate::mcp::sse::{Filter, Step};
use crate::mcp::{EventId, Fault, Limits};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::collections::VecDeque;

/// How much of a message is read, in either direction.
pub(super) const LIMITS: Limits = Limits { body_bytes: 8 << 20, depth: 128 };

/// Messages as they come.
pub(super) struct Messages {
    from: From,
    ready: VecDeque<Vec<u8>>,
    last: Option<EventId>,
}

enum From {
    Json(Incoming),
    Events(Incoming, Box<Filter>),
    Over,
}

/// Why there is no further message.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection, or the stream by itself.
    #[error("the answer broke off")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is too large, or has two readings.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Messages {
    /// Of an answer with status 200; none if it is neither JSON nor events.
    pub(super) fn of(response: Response<Incoming>) -> Option<Self> {
        let kind = media_type(response.headers())?.to_ascii_lowercase();
        let from = match kind.as_str() {
            "application/json" => From::Json(response.into_body()),
            "text/event-stream" => {
                From::Events(response.into_body(), Box::new(Filter::new(LIMITS.body_bytes)))
            }
            _ => return None,
        };
        Some(Self { from, ready: VecDeque::new(), last: None })
    }

    /// The next one; none when the answer is over.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            match std::mem::replace(&mut self.from, From::Over) {
                From::Over => return Ok(None),
                From::Json(body) => {
                    let whole =
                        Limited::new(body, LIMITS.body_bytes).collect().await.map_err(Broken::Http)?;
                    return Ok(Some(whole.to_bytes().to_vec()));
                }
                From::Events(mut body, mut filter) => {
                    let Some(frame) = body.frame().await else { return Ok(None) };
                    let frame = frame.map_err(|error| Broken::Http(error.into()))?;
                    if let Ok(bytes) = frame.into_data() {
                        self.read(&mut filter, &bytes)?;
                    }
                    self.from = From::Events(body, filter);
                }
            }
        }
    }

    /// The id of the last event that had one: where a further stream goes on.
    pub(super) fn last_event(&self) -> Option<&EventId> {
        self.last.as_ref()
    }

    fn read(&mut self, filter: &mut Filter, bytes: &[u8]) -> Result<(), Fault> {
        let (ready, last) = (&mut self.ready, &mut self.last);
        // What it would pass on as a stream is not needed.
        filter.push(bytes, &mut Vec::new(), |event| {
            let id = event.id.and_then(|id| std::str::from_utf8(id).ok()).and_then(|id| id.parse().ok());
            if id.is_some() {
                *last = id;
            }
            if let Some(data) = event.data.filter(|data| !data.is_empty()) {
                ready.push_back(data.to_vec());
            }
            Ok(Step::Drop)
        })
    }
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    Some(headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim())
}
