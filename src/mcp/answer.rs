//! What an upstream sends: results, errors, questions of its own, notifications.
//!
//! Only the envelope is read strictly, as it decides whose message it is; what a result holds is passed on as it came. Members of
//! the envelope that JSON-RPC does not have pass as well: clients ignore them.

use super::body::{ENVELOPE, once, version};
use super::fault::Fault;
use super::fold;
use super::json::{Kind, Reader};
use super::{Id, Limits, MAX_BATCH, Version};
use std::ops::Range;

/// One message of an upstream, with its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it is.
    pub kind: AnswerKind,
    /// Where it stands.
    pub(super) place: Range<usize>,
    /// Where its result stands.
    pub(super) result: Option<Range<usize>>,
}

impl Answer {
    /// Its own part of the text that it was read from.
    #[must_use]
    pub fn of<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        text.get(self.place.clone()).unwrap_or_default()
    }

    /// Its result in that text; none if it is no result.
    #[must_use]
    pub fn result_of<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        text.get(self.result.clone()?)
    }
}

/// What an upstream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerKind {
    /// The result of a call.
    Result(Id),
    /// The call failed; without an id where the upstream could not read it.
    Error(Option<Id>),
    /// A question to the client: what answers it carries this id.
    Question(Id),
    /// Something that wants no answer.
    Notification,
}

/// Reads the body of a JSON answer, or the data of an event: one message, or a batch where the version has them.
///
/// # Errors
/// [`Fault`] if it is no JSON-RPC, or if it is not clear to which call it belongs: it is not passed on then.
pub fn read(text: &[u8], version: Version, limits: Limits) -> Result<Vec<Answer>, Fault> {
    if text.len() > limits.body_bytes {
        return Err(Fault::too_large("a message of the service is too large"));
    }
    let mut reader = Reader::new(text, limits.depth)?;
    let mut answers = Vec::with_capacity(1);
    if reader.kind()? == Kind::Array && version.has_batches() {
        reader.array(|reader| {
            if answers.len() == MAX_BATCH {
                return Err(Fault::too_large("a batch holds more than 64 messages"));
            }
            answers.push(message(reader)?);
            Ok(())
        })?;
    } else {
        answers.push(message(&mut reader)?);
    }
    reader.end()?;
    Ok(answers)
}

fn message(reader: &mut Reader<'_>) -> Result<Answer, Fault> {
    let (mut says, mut id, mut method, mut result, mut error) = (None, None, None, None, None);
    let place = reader.place(|reader| {
        reader.object(|reader, name| match &*name {
            "jsonrpc" => once(&mut says, version(reader)?),
            "id" if reader.kind()? == Kind::Word => once(&mut id, reader.skip().map(|()| None)?),
            "id" => once(&mut id, Some(Id::read(reader)?)),
            "method" => once(&mut method, reader.string().map(drop)?),
            "result" => once(&mut result, reader.place(Reader::skip)?),
            "error" => once(&mut error, reader.skip()?),
            other => {
                fold::is_itself(other, &ENVELOPE)?;
                reader.skip()
            }
        })
    })?;
    if says.is_none() {
        return Err(Fault::malformed("a message says `\"jsonrpc\": \"2.0\"`"));
    }
    let kind = match (method, id, result.is_some(), error) {
        (Some(()), Some(Some(id)), false, None) => AnswerKind::Question(id),
        (Some(()), None, false, None) => AnswerKind::Notification,
        (None, Some(Some(id)), true, None) => AnswerKind::Result(id),
        (None, id, false, Some(())) => AnswerKind::Error(id.flatten()),
        _ => {
            return Err(Fault::ambiguous(
                "a message of the service is neither result, error, question nor notification",
            ));
        }
    };
    Ok(Answer { kind, place, result })
}

/// What a notification is about, where that needs a right of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A resource that has changed.
    Resource(Box<str>),
    /// A task: how it stands, perhaps with its result.
    Task(Box<str>),
}

/// What a notification is about; none of other notifications.
///
/// # Errors
/// [`Fault`] if it is not clear which one that is: it is not passed on then.
pub fn about(text: &[u8], answer: &Answer, limits: Limits) -> Result<Option<About>, Fault> {
    if answer.kind != AnswerKind::Notification {
        return Ok(None);
    }
    let message = text.get(answer.place.clone()).unwrap_or_default();
    let mut reader = Reader::new(message, limits.depth)?;
    let (mut method, mut uri, mut task) = (None, None, None);
    reader.object(|reader, name| match &*name {
        "method" => once(&mut method, reader.string()?.into_owned()),
        "params" if reader.kind()? == Kind::Object => reader.object(|reader, name| match &*name {
            "uri" if reader.kind()? == Kind::Text => once(&mut uri, reader.string()?.into_owned()),
            "taskId" if reader.kind()? == Kind::Text => once(&mut task, reader.string()?.into_owned()),
            other => {
                fold::is_itself(other, &["uri", "taskId"])?;
                reader.skip()
            }
        }),
        _ => reader.skip(),
    })?;
    match method.as_deref() {
        Some("notifications/resources/updated") => match uri {
            Some(uri) => Ok(Some(About::Resource(uri.into()))),
            None => Err(Fault::malformed("a resource that has changed is not named")),
        },
        Some("notifications/tasks" | "notifications/tasks/status") => match task {
            Some(task) => Ok(Some(About::Task(task.into()))),
            None => Err(Fault::malformed("a task that has changed is not named")),
        },
        _ => Ok(None),
    }
}

/// What an `initialize` settled.
///
/// # Errors
/// [`Fault`] if the result does not name a version that this gate knows.
pub fn negotiated(text: &[u8], answer: &Answer, limits: Limits) -> Result<Version, Fault> {
    const NONE: Fault =
        Fault::malformed("the service answered `initialize` without a version of MCP that is known here");
    let result = answer.result_of(text).ok_or(NONE)?;
    let mut reader = Reader::new(result, limits.depth)?;
    let mut version = None;
    reader.object(|reader, name| match &*name {
        "protocolVersion" => once(&mut version, reader.string()?.parse().map_err(|_| NONE)?),
        other => {
            fold::is_itself(other, &["protocolVersion"])?;
            reader.skip()
        }
    })?;
    version.ok_or(NONE)
}
