//! Answers of the loopback listener itself, as RFC 9457 problems; what the gate answers passes through as it is.

use super::admit::Refused;
use super::gate::GateError;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use std::error::Error;

/// What is sent back.
pub(super) type Incoming = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// The request was not admitted.
pub(super) fn refused(why: Refused) -> Response<Incoming> {
    let status = match why {
        Refused::Secret => StatusCode::UNAUTHORIZED,
        Refused::Leak => StatusCode::BAD_REQUEST,
        Refused::Host | Refused::Origin | Refused::Connect => StatusCode::FORBIDDEN,
    };
    let mut response = problem(status, "loopback_refused", "Refused on this machine", &why.to_string());
    if why == Refused::Secret {
        // Some clients (git) send the password of their URL only when they are asked for it.
        let challenge = HeaderValue::from_static("Basic realm=\"jitgate run\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Another path than the only one that there is here.
pub(super) fn absent() -> Response<Incoming> {
    let detail = "there is one path here: the one that was printed";
    problem(StatusCode::NOT_FOUND, "loopback_refused", "Refused on this machine", detail)
}

/// The gate gives no answer.
pub(super) fn unavailable(error: &GateError) -> Response<Incoming> {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    problem(StatusCode::BAD_GATEWAY, "gate_unavailable", "The gate cannot be reached", &text)
}

/// A whole answer.
pub(super) fn full(bytes: impl Into<Bytes>) -> Incoming {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn problem(status: StatusCode, reason: &str, title: &str, detail: &str) -> Response<Incoming> {
    let body = serde_json::json!({
        "type": format!("urn:jitgate:problem:{reason}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "reason": reason,
    });
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
