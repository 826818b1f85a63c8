//! The sample's echo: tells the caller what this server received, byte for byte, so that one can see what the gate adds and removes.

use aws_lc_rs::digest;
use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::fmt::Write;

/// Any method at `/v1/echo` and below it.
pub(super) async fn echo(request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut length: u64 = 0;
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return (StatusCode::BAD_REQUEST, "the body broke off\n").into_response();
        };
        match frame.into_data() {
            Ok(data) => {
                hash.update(&data);
                length = length.saturating_add(data.len() as u64);
            }
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Json(json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "version": format!("{:?}", head.version),
        "headers": pairs(&head.headers),
        "trailers": pairs(&trailers),
        "body_bytes": length,
        "body_sha256": hex(hash.finish().as_ref()),
    }))
    .into_response()
}

/// Names and values in the order received; a list, because a name may occur more than once.
fn pairs(headers: &HeaderMap) -> Vec<Value> {
    headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
