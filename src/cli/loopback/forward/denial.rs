//! Denials of the gate: which of them a new grant could turn.

use super::{Reply, back, clean, reply};
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;

/// A denial is short.
const DENIAL: usize = 64 * 1024;

/// An answer, and whether it is a denial that a new grant could turn.
pub(super) async fn denial(response: Response<Incoming>) -> (Response<Reply>, bool) {
    let is_problem = |value: &HeaderValue| value.as_bytes() == b"application/problem+json";
    let kind = response.headers().get(header::CONTENT_TYPE);
    if response.status() != StatusCode::FORBIDDEN || !kind.is_some_and(is_problem) {
        return (back(response), false);
    }
    let (mut parts, body) = response.into_parts();
    clean(&mut parts.headers);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.extensions.clear();
    // A denial is whole or it is none: without its text it still denies.
    let bytes = Limited::new(body, DENIAL).collect().await.map(http_body_util::Collected::to_bytes);
    let bytes = bytes.unwrap_or_default();
    let turns = may_turn(&bytes);
    (Response::from_parts(parts, reply::full(bytes)), turns)
}

pub(super) fn may_turn(problem: &[u8]) -> bool {
    let problem: Value = serde_json::from_slice(problem).unwrap_or_default();
    let reason = problem.get("reason").and_then(Value::as_str);
    let ours =
        problem.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("urn:jitgate:"));
    ours && matches!(reason, Some("no_grant" | "out_of_scope" | "revoked" | "expired" | "not_yet_valid"))
}
