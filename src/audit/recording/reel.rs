//! What a recorded request carries: the tapes, and how to read them.

use super::tape::Tape;
use super::{QUERY, room};
use crate::audit::redact::Reading;
use crate::model::{Recording, RequestId, Time};
use http::HeaderMap;
use std::sync::Arc;

/// Tapes of one request. The space for what becomes of them is claimed as long as this lives.
pub(in crate::audit) struct Reel {
    pub(super) level: Recording,
    pub(super) started: Time,
    /// Its file, from the folder of recordings.
    pub(in crate::audit) file: Box<str>,
    pub(super) query: Option<Tape>,
    pub(super) request: Side,
    /// Only at level `full`.
    pub(super) response: Option<Side>,
    pub(super) arguments: Option<Tape>,
    /// What a call answers to questions of the service.
    pub(super) inputs: Option<Tape>,
    limit: usize,
    _claim: room::Claim,
}

/// One direction.
pub(super) struct Side {
    pub(super) tape: Arc<Tape>,
    pub(super) reading: Reading,
}

/// What has become of a recording.
pub(in crate::audit) struct Stored {
    pub(in crate::audit) file: Box<str>,
    /// Of the file; `None`: it could not be written before the proxy ended.
    pub(in crate::audit) sha256: Option<[u8; 32]>,
}

impl Side {
    fn new(limit: usize) -> Self {
        // Until its head says otherwise.
        Self { tape: Arc::new(Tape::new(limit)), reading: Reading::Opaque }
    }
}

impl Reel {
    /// `limit`: bytes of a body that are kept.
    pub(in crate::audit) fn new(
        level: Recording,
        id: RequestId,
        started: Time,
        limit: usize,
        claim: room::Claim,
    ) -> Self {
        let day: String = started.to_string().chars().take(10).collect();
        Self {
            level,
            started,
            file: format!("{day}/{id}.age").into(),
            query: None,
            request: Side::new(limit),
            response: (level == Recording::Full).then(|| Side::new(limit)),
            arguments: None,
            inputs: None,
            limit,
            _claim: claim,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(in crate::audit) fn level(&self) -> Recording {
        self.level
    }

    pub(in crate::audit) fn request_head(&mut self, fields: &HeaderMap, query: Option<&str>) {
        self.request.reading = Reading::of(fields);
        self.query = query.map(|query| {
            let tape = Tape::new(QUERY);
            tape.push(query.as_bytes());
            tape.end();
            tape
        });
    }

    pub(in crate::audit) fn response_head(&mut self, fields: &HeaderMap) {
        if let Some(side) = &mut self.response {
            side.reading = Reading::of(fields);
        }
    }

    /// The other protocol that the exchange has switched to has messages of its own.
    pub(in crate::audit) fn switched(&mut self) {
        self.request.reading = Reading::Opaque;
        if let Some(side) = &mut self.response {
            side.reading = Reading::Opaque;
        }
    }

    pub(in crate::audit) fn request_tape(&self) -> Arc<Tape> {
        Arc::clone(&self.request.tape)
    }

    pub(in crate::audit) fn response_tape(&self) -> Option<Arc<Tape>> {
        self.response.as_ref().map(|side| Arc::clone(&side.tape))
    }

    /// The arguments of a call, and what it answers to questions, which its reader has found to be JSON with one reading. Both come from
    /// one body, and take no more than that would.
    pub(in crate::audit) fn arguments(
        &mut self,
        arguments: &serde_json::Value,
        inputs: Option<&serde_json::Value>,
    ) {
        let (arguments, length) = json(arguments, self.limit);
        let left = self.limit.saturating_sub(length);
        self.inputs = inputs.map(|inputs| json(inputs, left).0);
        self.arguments = Some(arguments);
    }
}

/// A value on a tape of at most so many bytes, and how many it has.
fn json(value: &serde_json::Value, limit: usize) -> (Tape, usize) {
    let tape = Tape::new(limit);
    // A value always has a text.
    let text = serde_json::to_vec(value).unwrap_or_default();
    tape.push(&text);
    tape.end();
    (tape, text.len())
}
