//! The strict reader: bytes become one message, or a batch where the version has batches.
//!
//! What it accepts reads the same for every parser that we know of: no two members with one name at any depth, none that differ in
//! case or compatibility forms alone, no other spelling of a protocol name, no member of the envelope that JSON-RPC does not have,
//! numbers as in [`super::number`], no lone surrogates, no NUL, nothing before or after. It keeps the bytes: they are what is forwarded.
//!
//! It refuses to know headers and versions.

use super::fault::Fault;
use super::fold;
use super::json::{Kind, Reader, TWICE};
use super::message::{Message, Notification, Request, Response, Sent};
use super::{Id, Limits};
use crate::model::json::{Object, Value};
use std::collections::HashSet;

/// Messages of one batch.
pub const MAX_BATCH: usize = 64;

/// What a body holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// One message.
    One(Message),
    /// A batch (version 2025-03-26 alone); never empty, ids unique.
    Batch(Vec<Message>),
}

/// Reads a body.
///
/// # Errors
/// [`Fault`] if it is no JSON-RPC message of MCP, or has more than one reading, or is too large.
pub fn read(bytes: &[u8], limits: Limits) -> Result<Content, Fault> {
    if bytes.len() > limits.body_bytes {
        return Err(Fault::too_large("the body is too large"));
    }
    let mut reader = Reader::new(bytes, limits.depth)?;
    let content = match reader.kind()? {
        Kind::Array => Content::Batch(batch(&mut reader)?),
        Kind::Object | Kind::Text | Kind::Number | Kind::Word => Content::One(message(&mut reader)?),
    };
    reader.end()?;
    Ok(content)
}

fn batch(reader: &mut Reader<'_>) -> Result<Vec<Message>, Fault> {
    let mut messages = Vec::new();
    reader.array(|reader| {
        if messages.len() == MAX_BATCH {
            return Err(Fault::too_large("a batch holds more than 64 messages"));
        }
        messages.push(message(reader)?);
        Ok(())
    })?;
    if messages.is_empty() {
        return Err(Fault::malformed("a batch is empty"));
    }
    let mut asked = HashSet::new();
    let mut answered = HashSet::new();
    for message in &messages {
        let fresh = match message {
            Message::Request(request) if request.method() == "initialize" => {
                return Err(Fault::malformed("`initialize` is not part of a batch"));
            }
            Message::Request(request) => asked.insert(request.id()),
            Message::Response(response) => answered.insert(response.id()),
            Message::Notification(_) => true,
        };
        if !fresh {
            return Err(Fault::ambiguous("two messages of a batch have one id"));
        }
    }
    Ok(messages)
}

/// The members of a JSON-RPC message.
#[derive(Default)]
struct Envelope {
    version: Option<()>,
    id: Option<Id>,
    method: Option<String>,
    params: Option<Object>,
    /// Bytes of the parameters as they were sent.
    sent: Sent,
    /// Bytes of the result or the error as they were sent.
    answered: usize,
    result: Option<Value>,
    error: Option<Value>,
}

pub(super) const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

fn message(reader: &mut Reader<'_>) -> Result<Message, Fault> {
    let mut found = Envelope::default();
    reader.object(|reader, name| match &*name {
        "jsonrpc" => once(&mut found.version, version(reader)?),
        "id" => once(&mut found.id, Id::read(reader)?),
        "method" => once(&mut found.method, reader.string()?.into_owned()),
        "params" => {
            let (params, sent) = params(reader)?;
            found.sent = sent;
            once(&mut found.params, params)
        }
        "result" => {
            let place = reader.place(|reader| once(&mut found.result, reader.value()?))?;
            found.answered = place.len();
            Ok(())
        }
        "error" => {
            let place = reader.place(|reader| once(&mut found.error, Value::Object(reader.members()?)))?;
            found.answered = place.len();
            Ok(())
        }
        other => Err(fold::is_itself(other, &ENVELOPE)
            .err()
            .unwrap_or(Fault::malformed("a message has a member that JSON-RPC does not have"))),
    })?;
    if found.version.is_none() {
        return Err(Fault::malformed("a message says `\"jsonrpc\": \"2.0\"`"));
    }
    match (found.method, found.id, found.result.is_some(), found.error.is_some()) {
        (Some(method), Some(id), false, false) => {
            Request::new(id, &method, found.params, found.sent).map(Message::Request)
        }
        (Some(method), None, false, false) => {
            Notification::new(&method, found.params, found.sent).map(Message::Notification)
        }
        (None, Some(id), true, false) | (None, Some(id), false, true) if found.params.is_none() => {
            Ok(Message::Response(Response::new(id, found.answered)))
        }
        (Some(_), _, _, _) => Err(Fault::ambiguous("a message is a request and a response at once")),
        (None, _, true, true) => Err(Fault::ambiguous("a response has both a result and an error")),
        (None, _, _, _) => Err(Fault::malformed("a message is neither request, notification nor response")),
    }
}

/// The parameters, and how many bytes of them were sent.
fn params(reader: &mut Reader<'_>) -> Result<(Object, Sent), Fault> {
    let (mut params, mut sent) = (Object::default(), Sent::default());
    let place = reader.place(|reader| {
        params = reader.members_with(|name, place| sent.member(name, place.len()))?;
        Ok(())
    })?;
    sent.all = place.len();
    Ok((params, sent))
}

pub(super) fn version(reader: &mut Reader<'_>) -> Result<(), Fault> {
    match reader.string()?.as_ref() {
        "2.0" => Ok(()),
        _ => Err(Fault::malformed("a message says `\"jsonrpc\": \"2.0\"`")),
    }
}

pub(super) fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Fault> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(TWICE),
    }
}

#[cfg(test)]
mod tests;
