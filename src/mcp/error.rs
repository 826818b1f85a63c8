//! What a refused caller of MCP reads: a JSON-RPC error that an agent can act on, and the HTTP form of the MCP authorization text for
//! callers that came with a token.
//!
//! Real clients show a JSON-RPC error in an HTTP 200 as what it is; a 403 becomes a transport error with a raw text. `server/discover`
//! is never refused with 401, 403 or 5xx: clients give up on these, and go on with `initialize` after 404. Nothing here looks at a grant or at what
//! is configured (law 11).

mod batch;

pub use batch::Batch;

use super::Id;
use super::privilege::PROBE;
use super::refused::{ACCESS_DENIED, METHOD_NOT_FOUND, Refused};
use super::version::Version;
use crate::model::{DenyReason, Permission, RequestId};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// A denial of one request.
#[derive(Debug, Clone, Copy)]
pub struct Denial<'a> {
    /// The request's id; none for what wants no answer.
    pub id: Option<&'a Id>,
    /// Its method, where it has one.
    pub method: Option<&'a str>,
    /// Why.
    pub reason: DenyReason,
    /// In words that are safe to show.
    pub detail: &'a str,
    /// The id in the audit trail.
    pub request_id: RequestId,
    /// What would have been enough, derived from the request alone; empty where asking does not help.
    pub required: &'a [Permission],
    /// Where to ask; the same for every request.
    pub access_request: Option<&'a str>,
    /// Where the metadata of this resource are, for a caller that came with a token, or should have.
    pub metadata: Option<&'a str>,
}

/// What is answered: always JSON, never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// `WWW-Authenticate`.
    pub challenge: Option<HeaderValue>,
    /// A JSON-RPC error; to a batch, an array of them.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct Message<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: i32,
    message: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    r#type: String,
    reason: &'static str,
    detail: &'a str,
    request_id: RequestId,
    #[serde(skip_serializing_if = "<[Permission]>::is_empty")]
    required: &'a [Permission],
    #[serde(skip_serializing_if = "Option::is_none")]
    access_request: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supported: Option<Vec<Version>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<&'a str>,
}

impl Denial<'_> {
    /// The answer.
    #[must_use]
    pub fn reply(&self) -> Reply {
        if self.method == Some(PROBE) {
            return Reply {
                status: StatusCode::NOT_FOUND,
                challenge: None,
                body: self.body(METHOD_NOT_FOUND),
            };
        }
        self.answer(self.id.is_some(), self.body(ACCESS_DENIED))
    }

    /// `has_id`: the body says under which id it is an answer, so that HTTP need not say that it is none.
    fn answer(&self, has_id: bool, body: Vec<u8>) -> Reply {
        let challenge = self.metadata.and_then(|metadata| challenge(self.reason, metadata, self.required));
        let own = StatusCode::from_u16(self.reason.status()).unwrap_or(StatusCode::FORBIDDEN);
        let as_rpc = has_id && challenge.is_none();
        Reply { status: if as_rpc { StatusCode::OK } else { own }, challenge, body }
    }

    /// The JSON-RPC error alone: for an event of a stream, or an element of a batch.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        self.body(ACCESS_DENIED)
    }

    fn body(&self, code: i32) -> Vec<u8> {
        let mut message = format!("access denied ({}): {}", self.reason.as_str(), self.detail);
        if let (Some(at), false) = (self.access_request, self.required.is_empty()) {
            message.push_str(&format!(" (of `error.data`), at {at} or with the tool `request_access`"));
        }
        let data = Data {
            r#type: kind(self.reason),
            reason: self.reason.as_str(),
            detail: self.detail,
            request_id: self.request_id,
            required: self.required,
            access_request: self.access_request.filter(|_| !self.required.is_empty()),
            supported: None,
            requested: None,
        };
        written(&Message { jsonrpc: "2.0", id: self.id, error: Error { code, message, data } })
    }
}

impl Refused {
    /// The answer to a request that is refused for what it is.
    #[must_use]
    pub fn reply(&self, request_id: RequestId) -> Reply {
        let reason = self.fault.reason;
        let data = Data {
            r#type: kind(reason),
            reason: reason.as_str(),
            detail: self.fault.detail,
            request_id,
            required: &[],
            access_request: None,
            supported: self.versions.as_ref().map(|(supported, _)| supported.iter().collect()),
            requested: self.versions.as_ref().map(|(_, requested)| &**requested),
        };
        let message = format!("{}: {}", reason.as_str(), self.fault.detail);
        let error = Error { code: self.code, message, data };
        let body = written(&Message { jsonrpc: "2.0", id: self.id.as_ref(), error });
        Reply { status: self.status, challenge: None, body }
    }
}

fn kind(reason: DenyReason) -> String {
    format!("urn:jitgate:problem:{}", reason.as_str())
}

fn written(message: &Message<'_>) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

/// `WWW-Authenticate` (MCP authorization; RFC 6750 section 3, RFC 9728 section 5.1); none where a token would not help.
fn challenge(reason: DenyReason, metadata: &str, required: &[Permission]) -> Option<HeaderValue> {
    let metadata = quoted(metadata)?;
    let value = match reason {
        DenyReason::TokenRequired => format!("Bearer resource_metadata={metadata}"),
        DenyReason::TokenInvalid => format!("Bearer error=\"invalid_token\", resource_metadata={metadata}"),
        DenyReason::NoGrant
        | DenyReason::OutOfScope
        | DenyReason::Revoked
        | DenyReason::Expired
        | DenyReason::NotYetValid
        | DenyReason::Condition => {
            let scopes: Vec<String> = required.iter().filter_map(scope).collect();
            let scope =
                if scopes.is_empty() { String::new() } else { format!(", scope=\"{}\"", scopes.join(" ")) };
            format!(
                "Bearer error=\"insufficient_scope\"{scope}, resource_metadata={metadata}, error_description=\"{}\"",
                reason.as_str()
            )
        }
        DenyReason::Limit
        | DenyReason::LockedDown
        | DenyReason::Ambiguous
        | DenyReason::Malformed
        | DenyReason::TooLarge
        | DenyReason::Stale
        | DenyReason::AuditUnavailable
        | DenyReason::UpstreamUnavailable => return None,
    };
    HeaderValue::from_str(&value).ok()
}

/// A permission as a `scope-token`; without its arguments where these cannot be written in one. What is needed exactly stands in the body.
fn scope(permission: &Permission) -> Option<String> {
    let text = permission.to_string();
    let short = text.split('{').next().unwrap_or_default();
    match is_scope(&text) {
        true => Some(text),
        false => is_scope(short).then(|| short.to_owned()),
    }
}

/// A `scope-token` (RFC 6749 section 3.3): the text form of a permission is one where it has no space and no quotation mark.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// A URL as a quoted string; none if it would have to be escaped.
fn quoted(url: &str) -> Option<String> {
    is_scope(url).then(|| format!("\"{url}\""))
}

#[cfg(test)]
mod tests;
