//! The answer to a batch that is refused: every request in it waits for one of its own, under its id.
//!
//! A batch is refused as a whole for one of its messages. That one's answer says what is missing; the others' say whose fault it is,
//! so that an agent asks for the one thing, or sends the rest without it.

use super::{Denial, Reply};
use crate::mcp::privilege::PROBE;
use crate::mcp::refused::ACCESS_DENIED;
use crate::mcp::{Id, Message};

/// Which messages of a batch wait for an answer, and for which the batch is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    ids: Box<[Id]>,
    cause: Cause,
}

/// What a batch is refused for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    /// What holds for each of its messages.
    Each,
    /// The request with this id.
    Request(Id),
    /// A message that is no request, and is answered by nothing.
    Other,
}

const WHOLE: &str = "the batch is refused as a whole and nothing of it was forwarded; the cause is";

impl Batch {
    /// A batch of which nothing was decided yet.
    #[must_use]
    pub fn of(messages: &[Message]) -> Self {
        let ids = messages.iter().filter_map(|message| match message {
            Message::Request(request) => Some(request.id().clone()),
            Message::Notification(_) | Message::Response(_) => None,
        });
        Self { ids: ids.collect(), cause: Cause::Each }
    }

    /// It is refused for the request with this id; without one, for a message that is no request.
    pub fn is_refused_for(&mut self, id: Option<&Id>) {
        self.cause = id.map_or(Cause::Other, |id| Cause::Request(id.clone()));
    }
}

impl Denial<'_> {
    /// The answer to a batch: an array with an error for each of its requests. What is missing stands in the answer to the cause; if
    /// that has none, in the first. A batch without a request is refused like a notification.
    #[must_use]
    pub fn reply_to(&self, batch: &Batch) -> Reply {
        let Some(first) = batch.ids.first() else { return self.reply() };
        if self.method == Some(PROBE) {
            return self.reply();
        }
        let (named, says, others) = match &batch.cause {
            Cause::Each => (first, self.detail.to_owned(), self.detail.to_owned()),
            Cause::Request(id) => {
                (id, self.detail.to_owned(), format!("{WHOLE} the request with the id {id}"))
            }
            Cause::Other => {
                let others = format!("{WHOLE} a message in it that is no request");
                (first, format!("{others}: {}", self.detail), others)
            }
        };
        let mut body = Vec::new();
        for id in batch.ids.iter() {
            let one = match id == named {
                true => Denial { id: Some(id), detail: &says, ..*self },
                false => Denial { id: Some(id), detail: &others, required: &[], ..*self },
            };
            body.push(if body.is_empty() { b'[' } else { b',' });
            body.extend_from_slice(&one.body(ACCESS_DENIED));
        }
        body.push(b']');
        self.answer(true, body)
    }
}
