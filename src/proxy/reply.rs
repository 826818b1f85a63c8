//! What a refused caller gets to read: one exhaustive match over the reasons, in the form that the request's content type asks
//! for (RFC 9457 problem document, or gRPC status).
//!
//! Nothing here looks at a grant; of what is configured for a service only what its users have to prove is told, and only to whom a
//! matching grant is refused for that: for a caller without a grant, the answer depends on the bytes of the
//! request alone (law 11).

use crate::access::view::Form;
use crate::config::AccessUrl;
use crate::mcp;
use crate::model::scope::Permission;
use crate::model::{DenyReason, RequestId};
use crate::proxy::body::Download;
use crate::proxy::user::Demand;
use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What to say.
pub(crate) struct Refusal<'a> {
    pub(crate) reason: DenyReason,
    /// The status, where the reason leaves a choice.
    pub(crate) status: u16,
    pub(crate) detail: &'a str,
    pub(crate) request_id: RequestId,
    /// Set where asking could help.
    pub(crate) asking: Option<Asking<'a>>,
    /// Set where a user has to prove who they are.
    pub(crate) user: Option<UserChallenge<'a>>,
    pub(crate) shape: &'a Shape,
}

impl<'a> Refusal<'a> {
    /// One that asking does not help with, in the status of its reason.
    pub(crate) fn plain(
        reason: DenyReason,
        detail: &'a str,
        request_id: RequestId,
        shape: &'a Shape,
    ) -> Self {
        Self { reason, status: reason.status(), detail, request_id, asking: None, user: None, shape }
    }
}

/// The form that a refusal takes.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A problem document (RFC 9457).
    Problem,
    /// A gRPC status.
    Grpc,
    /// A JSON-RPC error.
    Mcp(Box<Asker>),
}

/// Who asked in MCP.
#[derive(Debug)]
pub(crate) struct Asker {
    /// The id of the request; none before it was read, and for what wants no answer.
    pub(crate) id: Option<mcp::Id>,
    /// Its method.
    pub(crate) method: Option<Box<str>>,
    /// The batch that is answered request by request, where it is one.
    pub(crate) batch: Option<mcp::Batch>,
    /// Where the metadata of the resource are.
    pub(crate) metadata: String,
    /// Whether a token came along: then the HTTP form of the MCP authorization text is understood.
    pub(crate) with_token: bool,
}

impl Asker {
    /// Before the body was read. What the head says is a claim: it counts for the form of a refusal alone.
    pub(crate) fn of(parts: &Parts, authority: &str) -> Self {
        let probes =
            parts.headers.get(mcp::header::METHOD).is_some_and(|method| method == mcp::privilege::PROBE);
        Self {
            id: None,
            method: probes.then(|| mcp::privilege::PROBE.into()),
            batch: None,
            metadata: mcp::metadata::url(authority, parts.uri.path()),
            with_token: parts.headers.contains_key(AUTHORIZATION),
        }
    }

    pub(crate) fn probes(&self) -> bool {
        self.method.as_deref() == Some(mcp::privilege::PROBE)
    }
}

impl Shape {
    /// That of HTTP requests of this form.
    pub(crate) fn of(form: Form) -> Self {
        match form {
            Form::Http | Form::Upgrade => Self::Problem,
            Form::Grpc => Self::Grpc,
        }
    }

    /// It is about this message.
    pub(crate) fn is_about(&mut self, received: &mcp::Received) {
        let Self::Mcp(asker) = self else { return };
        match &received.inbound {
            mcp::Inbound::Call(request) => {
                asker.id = Some(request.id().clone());
                asker.method = Some(request.method().into());
            }
            mcp::Inbound::Notification(notification) => asker.method = Some(notification.method().into()),
            mcp::Inbound::Response(_)
            | mcp::Inbound::Batch(_)
            | mcp::Inbound::OpenStream { .. }
            | mcp::Inbound::EndSession => {}
        }
    }

    /// Of a batch, each request gets an answer of its own.
    pub(crate) fn answers_each(&mut self, received: &mcp::Received) {
        if let (Self::Mcp(asker), mcp::Inbound::Batch(messages)) = (self, &received.inbound) {
            asker.batch = Some(mcp::Batch::of(messages));
        }
    }

    /// A batch is refused for the request with this id; without one, for a message that is no request.
    pub(crate) fn is_refused_for(&mut self, id: Option<&mcp::Id>) {
        if let Self::Mcp(asker) = self
            && let Some(batch) = &mut asker.batch
        {
            batch.is_refused_for(id);
        }
    }
}

/// What a user has to prove.
#[derive(Clone, Copy)]
pub(crate) struct UserChallenge<'a> {
    pub(crate) demand: &'a Demand,
    /// Whether a token came that did not do.
    pub(crate) sent: bool,
    /// Whether nothing else is missing.
    pub(crate) alone: bool,
}

/// What to ask for, and where.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// What would have been enough; derived from the request alone.
    pub(crate) required: &'a Permission,
    /// The same for every request, whatever it names.
    pub(crate) access_request: Option<&'a AccessUrl>,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    request_id: RequestId,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<[&'a Permission; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_request: Option<&'a AccessUrl>,
}

/// Title for people, and the gRPC status code (grpc.io, "Status codes").
fn words(reason: DenyReason) -> (&'static str, u16) {
    match reason {
        DenyReason::NoGrant => ("No grant for this service", 7),
        DenyReason::OutOfScope => ("Not in the scope of a live grant", 7),
        DenyReason::Revoked => ("The grant was revoked", 7),
        DenyReason::Expired => ("The grant has expired", 7),
        DenyReason::NotYetValid => ("The grant is not valid yet", 7),
        DenyReason::Condition => ("A condition of the grant does not hold", 7),
        DenyReason::LockedDown => ("Locked down", 7),
        DenyReason::Limit => ("A limit of the grant is used up", 8),
        DenyReason::TokenRequired => ("A token is required", 16),
        DenyReason::TokenInvalid => ("The token does not hold", 16),
        DenyReason::Ambiguous => ("The request has more than one reading", 3),
        DenyReason::Malformed => ("The request is malformed", 3),
        DenyReason::TooLarge => ("The request is too large", 8),
        DenyReason::Stale => ("Grants may be out of date", 14),
        DenyReason::AuditUnavailable => ("The audit trail cannot be written", 14),
        DenyReason::UpstreamUnavailable => ("The service cannot be reached", 14),
    }
}

/// What a refused caller is told beside the reason.
pub(crate) fn detail(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::NoGrant => "no live grant of yours names this service; ask for what is in `required`",
        DenyReason::OutOfScope => {
            "your live grants for this service do not cover this request; ask for what is in `required`"
        }
        DenyReason::Revoked => "the grant that covered this request has ended before its time",
        DenyReason::Expired => {
            "the grant that covered this request has expired; ask again if the task still needs it"
        }
        DenyReason::NotYetValid => "the grant that covers this request begins later",
        DenyReason::Condition => "the grant that covers this request does not hold from here or at this time",
        DenyReason::Limit => "a limit of the grant that covers this request is used up",
        DenyReason::LockedDown => "access is locked down for now",
        DenyReason::TokenRequired => {
            "this service, or the grant that covers this request, demands a token beside the certificate"
        }
        DenyReason::TokenInvalid => "the token does not hold for this certificate",
        DenyReason::Ambiguous => "the request has more than one reading",
        DenyReason::Malformed => "the request is not well-formed",
        DenyReason::TooLarge => "the request is too large",
        DenyReason::Stale => "the grants in memory may be out of date; try again soon",
        DenyReason::AuditUnavailable => "the audit trail cannot be written; try again later",
        DenyReason::UpstreamUnavailable => "the service cannot be reached now",
    }
}

/// The response, and the length of its body.
pub(crate) fn refuse(refusal: &Refusal<'_>) -> (Response<Download>, u64) {
    let (mut response, length) = match refusal.shape {
        Shape::Problem => problem(refusal),
        Shape::Grpc => grpc(refusal),
        Shape::Mcp(asker) => message(refusal, asker),
    };
    let headers = response.headers_mut();
    if !headers.contains_key(WWW_AUTHENTICATE)
        && !refusal.user.is_some_and(|user| user.alone)
        && let Some(challenge) = challenge(refusal.reason)
    {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some(user) = refusal.user {
        headers.append(WWW_AUTHENTICATE, user.demand.challenge(user.sent).clone());
    }
    (response, length)
}

/// RFC 6750 section 3: without an error code where no token came.
fn challenge(reason: DenyReason) -> Option<&'static str> {
    match reason {
        DenyReason::TokenRequired => Some("Bearer realm=\"jitgate\""),
        DenyReason::TokenInvalid => Some("Bearer realm=\"jitgate\", error=\"invalid_token\""),
        DenyReason::NoGrant
        | DenyReason::OutOfScope
        | DenyReason::Revoked
        | DenyReason::Expired
        | DenyReason::NotYetValid
        | DenyReason::Condition
        | DenyReason::Limit
        | DenyReason::LockedDown
        | DenyReason::Ambiguous
        | DenyReason::Malformed
        | DenyReason::TooLarge
        | DenyReason::Stale
        | DenyReason::AuditUnavailable
        | DenyReason::UpstreamUnavailable => None,
    }
}

/// A JSON-RPC error that an agent can act on.
fn message(refusal: &Refusal<'_>, asker: &Asker) -> (Response<Download>, u64) {
    let needs_token = matches!(refusal.reason, DenyReason::TokenRequired | DenyReason::TokenInvalid);
    let access_request = refusal.asking.and_then(|asking| asking.access_request).map(ToString::to_string);
    let denial = mcp::Denial {
        id: asker.id.as_ref(),
        method: asker.method.as_deref(),
        reason: refusal.reason,
        detail: refusal.detail,
        request_id: refusal.request_id,
        required: refusal.asking.map_or(&[], |asking| std::slice::from_ref(asking.required)),
        access_request: access_request.as_deref(),
        metadata: (asker.with_token || needs_token).then_some(asker.metadata.as_str()),
    };
    let reply = asker.batch.as_ref().map_or_else(|| denial.reply(), |batch| denial.reply_to(batch));
    rpc(reply, refusal.reason)
}

/// The answer of MCP, and the length of its body.
pub(crate) fn rpc(reply: mcp::Reply, reason: DenyReason) -> (Response<Download>, u64) {
    let (mut response, length) = json(reply.body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if let Some(challenge) = reply.challenge {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
    }
    if matches!(reason, DenyReason::Stale | DenyReason::AuditUnavailable | DenyReason::Limit) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    (response, length)
}

/// A JSON document of our own, never stored; and its length.
pub(crate) fn json(body: Vec<u8>) -> (Response<Download>, u64) {
    ours("application/json", body)
}

fn ours(media_type: &'static str, body: Vec<u8>) -> (Response<Download>, u64) {
    let length = body.len() as u64;
    let mut response = Response::new(Download::ours(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (response, length)
}

fn problem(refusal: &Refusal<'_>) -> (Response<Download>, u64) {
    let document = Problem {
        r#type: format!("urn:jitgate:problem:{}", refusal.reason.as_str()),
        title: words(refusal.reason).0,
        status: refusal.status,
        detail: refusal.detail,
        request_id: refusal.request_id,
        reason: refusal.reason.as_str(),
        required: refusal.asking.map(|asking| [asking.required]),
        access_request: refusal.asking.and_then(|asking| asking.access_request),
    };
    let (mut response, length) =
        ours("application/problem+json", serde_json::to_vec(&document).unwrap_or_default());
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    let headers = response.headers_mut();
    if refusal.status == 405 {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if matches!(refusal.reason, DenyReason::Stale | DenyReason::AuditUnavailable | DenyReason::Limit) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    (response, length)
}

/// The same answer without its body, for `HEAD`: over HTTP/1.1 hyper would leave it out, over HTTP/2 it would send it.
pub(crate) fn without_body(mut response: Response<Download>) -> Response<Download> {
    let length = match response.body() {
        Download::Ours(body) => body.as_ref().map_or(0, Bytes::len),
        Download::Streaming(_) | Download::Looked(_) => return response,
    };
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    *response.body_mut() = Download::ours(Bytes::new());
    response
}

/// A Trailers-Only response (gRPC over HTTP/2, "Responses"): HTTP 200, the status in the header block.
fn grpc(refusal: &Refusal<'_>) -> (Response<Download>, u64) {
    let mut message = format!("{}: {}", refusal.reason.as_str(), refusal.detail);
    if let Some(asking) = refusal.asking {
        message.push_str(&format!("; required: {}", asking.required));
        if let Some(at) = asking.access_request {
            message.push_str(&format!("; ask at {at}"));
        }
    }
    message.push_str(&format!("; request {}", refusal.request_id));
    let mut response = Response::new(Download::ours(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(words(refusal.reason).1));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(&message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    (response, 0)
}

/// `Percent-Encoded` of the gRPC wire format: visible ASCII without `%` stands for itself.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0x20..=0x7e if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
