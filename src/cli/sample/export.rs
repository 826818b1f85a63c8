//! The sample's large download: as many bytes as asked for, made up on the way, none of them kept.

use super::App;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{StreamExt, unfold};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::LazyLock;

/// Bytes sent when the caller does not say how many.
const DEFAULT_BYTES: u64 = 64 * 1024 * 1024;

/// The most that one call may ask for: 64 GiB, hours on any network, but an end.
const MAX_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// One piece of the body: a line of a made-up table, over and over; 64 KiB.
static PIECE: LazyLock<Bytes> =
    LazyLock::new(|| b"1001,standing desk,1,2026-01-05\n".repeat(2 * 1024).into());

/// The query of an export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    bytes: Option<u64>,
}

/// `GET /v1/export?bytes=N`.
pub(super) async fn export(State(app): State<App>, Query(wanted): Query<Wanted>) -> Response {
    let length = wanted.bytes.unwrap_or(DEFAULT_BYTES);
    if length > MAX_BYTES {
        return (StatusCode::BAD_REQUEST, format!("`bytes` may be at most {MAX_BYTES}\n")).into_response();
    }
    let pieces = unfold(length, |left| async move { next_piece(left) }).map(Ok::<_, Infallible>);
    // Stopping in the middle leaves the body shorter than its Content-Length, which the client sees as an abort: as it should.
    let body = Body::from_stream(pieces.take_until(app.shutdown.clone().cancelled_owned()));
    let head = [(header::CONTENT_TYPE, "text/csv".to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    (head, body).into_response()
}

fn next_piece(left: u64) -> Option<(Bytes, u64)> {
    let size = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE.len());
    (size > 0).then(|| (PIECE.slice(..size), left.saturating_sub(size as u64)))
}
