//! Why an API does not answer, or says no; what it said, on one line or more, and safe for a terminal.

use crate::cli::Failure;
use crate::cli::shown::escaped;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    /// Certificate, key or CA cannot be used: ours to mend, before anything is asked.
    #[error("{0}")]
    Setup(String),
    /// Nobody listens.
    #[error("cannot reach {address}: {source}; does it run?")]
    Connect { address: String, source: std::io::Error },
    /// Too late.
    #[error("no answer from {address} within {seconds} s; does it run?")]
    Timeout { address: String, seconds: u64 },
    /// One of the two certificates is refused.
    #[error("{address} and this client do not accept each other: {source}")]
    Tls { address: String, source: std::io::Error },
    /// In the middle of a call.
    #[error("the connection to the control plane broke: whether the call took effect is unknown")]
    Broken(#[source] hyper::Error),
    /// An answer that cannot be read.
    #[error("the answer of the control plane cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An answer of another form.
    #[error("the answer of the control plane is not the JSON that was expected")]
    Json(#[source] serde_json::Error),
    /// It said no.
    #[error("{text}")]
    Refused {
        /// With this status.
        status: StatusCode,
        /// What it said.
        text: String,
    },
}

impl ClientError {
    /// From an answer that is not a success.
    pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let mut text = refusal(status, body);
        let challenge = headers.get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        if let Some(challenge) = challenge.filter(|_| status == StatusCode::UNAUTHORIZED) {
            let hint = "bring a fresh token with --bearer FILE";
            text = format!("{text}\n  wanted: {}\n  {hint}", escaped(challenge));
        }
        if status == StatusCode::NOT_FOUND {
            text.push_str("\n  or nothing that this identity may see: --as chooses another");
        }
        Self::Refused { status, text }
    }

    /// Whether the same call may well succeed a little later, because nothing was said about it.
    pub(in crate::cli) fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Broken(_) | Self::Body(_) => true,
            // A server that goes down in the middle of a handshake looks like one that refuses.
            Self::Tls { source, .. } => source.kind() != std::io::ErrorKind::InvalidData,
            Self::Refused { status, .. } => {
                matches!(*status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Setup(_) | Self::Json(_) => false,
        }
    }

    /// The status, where it said no.
    pub(in crate::cli) fn status(&self) -> Option<StatusCode> {
        if let Self::Refused { status, .. } = self { Some(*status) } else { None }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        if matches!(error, ClientError::Setup(_)) { Self::usage(error) } else { Self::failed(error) }
    }
}

/// RFC 9457, as far as it is printed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    request_id: String,
    errors: Vec<Value>,
}

/// What an API says when it refuses, on one line or more.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let title = if problem.title.is_empty() {
        status.canonical_reason().unwrap_or("refused").to_lowercase()
    } else {
        problem.title
    };
    let mut text = format!("{} ({})", escaped(&title), status.as_u16());
    if !problem.detail.is_empty() && problem.detail != title {
        text = format!("{text}: {}", escaped(&problem.detail));
    }
    for error in problem.errors {
        let line = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        text = format!("{text}\n  {}", escaped(&line));
    }
    if !problem.request_id.is_empty() {
        text = format!("{text} [request {}]", escaped(&problem.request_id));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_api_said_and_nothing_acts_on_the_terminal() {
        let body = br#"{"type":"urn:jitgate:problem:x","title":"forbidden","status":403,"detail":"needs \u001b[31m","request_id":"req_1"}"#;
        let text = refusal(StatusCode::FORBIDDEN, body);
        assert_eq!(text, "forbidden (403): needs \\u{1b}[31m [request req_1]");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>"), "bad gateway (502)");
    }

    #[test]
    fn a_missing_step_up_says_what_is_wanted_and_how_to_bring_it() {
        let challenge = r#"Bearer error="insufficient_user_authentication", acr_values="phr""#;
        let headers = [(header::WWW_AUTHENTICATE, challenge.parse().unwrap())].into_iter().collect();
        let error = ClientError::refused(StatusCode::UNAUTHORIZED, &headers, b"{}");
        assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
        let text = error.to_string();
        assert!(text.contains("acr_values=\"phr\"") && text.contains("--bearer"), "{text}");
    }
}
