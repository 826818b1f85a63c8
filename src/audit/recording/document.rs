//! What is inside of a recording once it is opened: one JSON document. `docs/recording.md` says the same.

use super::QUERY;
use super::reel::{Reel, Side};
use super::tape::Tape;
use crate::audit::record::{End, Facts};
use crate::audit::redact::{Body, Reading, Rules};
use crate::model::{GrantId, RequestId};
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    version: u8,
    request_id: RequestId,
    time: String,
    proxy: &'a str,
    level: &'a str,
    grant: Option<GrantId>,
    task: Option<&'a str>,
    service: Option<&'a str>,
    method: Option<&'a str>,
    /// As in the audit line.
    path: String,
    query: Option<Body>,
    request: Option<Body>,
    status: Option<u16>,
    response: Option<Body>,
    arguments: Option<Body>,
    inputs: Option<Body>,
}

/// The document, redacted, of a request that ended so.
pub(super) fn write(facts: &Facts, reel: &Reel, end: End, proxy: &str, rules: &Rules, raw: bool) -> Vec<u8> {
    let limit = reel.limit();
    if let (Some(response), End::Complete) = (&reel.response, end) {
        response.tape.end();
    }
    let side = |side: &Side| body(rules, side.reading, &side.tape, raw, limit);
    let json = |tape: &Tape, limit: usize| body(rules, Reading::Json, tape, raw, limit);
    let arguments = reel.arguments.as_ref().and_then(|tape| json(tape, limit));
    // Space was set aside for one body, of which both are parts.
    let left = limit.saturating_sub(arguments.as_ref().map_or(0, Body::taken).div_ceil(2));
    let document = Document {
        version: 1,
        request_id: facts.id,
        time: reel.started.to_string(),
        proxy,
        level: reel.level.as_str(),
        grant: facts.grant,
        task: facts.task.as_ref().map(|task| task.as_str()),
        service: facts.service.as_ref().map(|service| service.as_str()),
        method: facts.method.as_ref().map(http::Method::as_str),
        path: unescaped(&facts.path),
        query: reel.query.as_ref().and_then(|tape| body(rules, Reading::Form, tape, raw, QUERY)),
        // What is recorded as arguments and inputs is in the body once more.
        request: reel.arguments.is_none().then(|| side(&reel.request)).flatten(),
        status: facts.status,
        response: reel.response.as_ref().and_then(side),
        arguments,
        inputs: reel.inputs.as_ref().and_then(|tape| json(tape, left)),
    };
    // Of texts and numbers.
    serde_json::to_vec(&document).unwrap_or_default()
}

/// `None` where nothing was handed on.
fn body(rules: &Rules, reading: Reading, tape: &Tape, raw: bool, limit: usize) -> Option<Body> {
    let (kept, length, extent) = tape.read();
    (length > 0).then(|| Body::of(rules, reading, &kept, (length, extent), raw).within(2 * limit))
}

/// The facts keep a path in the form that the audit line needs.
fn unescaped(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    serde_json::from_str(&format!("\"{path}\"")).unwrap_or_else(|_| path.into_owned())
}
