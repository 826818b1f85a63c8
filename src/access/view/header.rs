//! The headers that take part in the decision.

use super::names::is_twin;
use super::{Form, Unclear};
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Version};

/// Restricts a request to the grants of one task.
pub(super) const TASK: HeaderName = HeaderName::from_static("jitgate-task");

/// Which of the headers that matter are there: one pass over the names costs less than a look-up for each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) authorization: bool,
    pub(super) content_type: bool,
    pub(super) transfer_encoding: bool,
    pub(super) upgrade: bool,
    pub(super) task: bool,
}

/// Refuses names that are another spelling of one with a meaning. Says which headers it has seen.
pub(super) fn check_names(headers: &HeaderMap) -> Result<Seen, Unclear> {
    let mut seen = Seen::default();
    for name in headers.keys() {
        if is_twin(name.as_str()) {
            return Err(Unclear::ambiguous("a header name is another spelling of one with a meaning here"));
        }
        seen.authorization |= *name == AUTHORIZATION;
        seen.content_type |= *name == CONTENT_TYPE;
        seen.transfer_encoding |= *name == TRANSFER_ENCODING;
        seen.upgrade |= *name == UPGRADE;
        seen.task |= *name == TASK;
    }
    Ok(seen)
}

/// Refuses a header that is repeated; its value may be a list.
pub(super) fn check_once(headers: &HeaderMap, name: &HeaderName) -> Result<(), Unclear> {
    match headers.get_all(name).iter().nth(1) {
        Some(_) => Err(Unclear::ambiguous("a header that may be there once is repeated")),
        None => Ok(()),
    }
}

/// The value of a header that is there at most once and is no list.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Unclear> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unclear::ambiguous("a header that may be there once is repeated"));
    }
    let value = value.to_str().map_err(|_| Unclear::malformed("a header value is not ASCII"))?;
    // A comma inside of quotes (`boundary="a,b"`) joins nothing.
    if value.split('"').step_by(2).any(|outside| outside.contains(',')) {
        return Err(Unclear::ambiguous("a header that may be there once has several values"));
    }
    Ok(Some(value))
}

/// What kind of request it is.
pub(super) fn form(parts: &Parts, seen: Seen) -> Result<Form, Unclear> {
    let grpc = seen.content_type && single(&parts.headers, &CONTENT_TYPE)?.is_some_and(is_grpc);
    let upgrade = seen.upgrade && is_upgrade(parts)?;
    match (grpc, upgrade) {
        (true, true) => Err(Unclear::ambiguous("an upgrade cannot be a gRPC call")),
        (true, false) if parts.method != http::Method::POST => {
            Err(Unclear::malformed("a gRPC call is a `POST`"))
        }
        (true, false) => Ok(Form::Grpc),
        (false, true) => Ok(Form::Upgrade),
        (false, false) => Ok(Form::Http),
    }
}

/// `application/grpc` or `application/grpc+…`, with or without parameters; not `application/grpc-web`.
fn is_grpc(content_type: &str) -> bool {
    const GRPC: &str = "application/grpc";
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.split_at_checked(GRPC.len()).is_some_and(|(start, suffix)| {
        start.eq_ignore_ascii_case(GRPC) && (suffix.is_empty() || suffix.starts_with('+'))
    })
}

/// Framing that others might read in another way than hyper does: a coding beside or after `chunked` (RFC 9112 section 6.1).
pub(super) fn check_framing(headers: &HeaderMap) -> Result<(), Unclear> {
    match single(headers, &TRANSFER_ENCODING)? {
        Some(coding) if !coding.eq_ignore_ascii_case("chunked") => {
            Err(Unclear::ambiguous("the only transfer coding that is forwarded is a single `chunked`"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether the request asks for a WebSocket (RFC 6455 section 4.1); any other upgrade is refused, not ignored: whoever is behind
/// us might not ignore it.
fn is_upgrade(parts: &Parts) -> Result<bool, Unclear> {
    let Some(protocol) = single(&parts.headers, &UPGRADE)? else { return Ok(false) };
    if !protocol.eq_ignore_ascii_case("websocket") {
        return Err(Unclear::malformed("of upgrades only `websocket` is forwarded"));
    }
    let announced = parts.headers.get_all(CONNECTION).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")))
    });
    let bare = parts.headers.get(CONTENT_LENGTH).is_none_or(|length| length.as_bytes() == b"0")
        && !parts.headers.contains_key(TRANSFER_ENCODING);
    if parts.version != Version::HTTP_11 || parts.method != http::Method::GET || !announced || !bare {
        return Err(Unclear::ambiguous(
            "an upgrade is an HTTP/1.1 `GET` without a body and with `connection: upgrade`",
        ));
    }
    Ok(true)
}
