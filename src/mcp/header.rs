//! The headers of MCP: each at most once, each in one spelling, each with a grammar.

use super::fault::Fault;
use http::{HeaderMap, HeaderName};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// `MCP-Protocol-Version`.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Session-Id`.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `Mcp-Method`.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name`.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// `Last-Event-ID`.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What `Mcp-Param-*` begins with.
pub(super) const PARAM: &str = "mcp-param-";

const KNOWN: [HeaderName; 4] = [PROTOCOL_VERSION, SESSION_ID, METHOD, NAME];
/// Others that decide how a request is read.
const OTHERS: [&str; 5] = ["last-event-id", "origin", "content-type", "content-encoding", "accept"];

/// Refuses headers of MCP that are not known, and other spellings (`mcp_session_id`) of all that count here.
pub(super) fn check_names(headers: &HeaderMap) -> Result<(), Fault> {
    for name in headers.keys() {
        let text = name.as_str();
        let mcp = begins(text, "mcp-");
        if !mcp && !OTHERS.iter().any(|other| other.len() == text.len() && begins(text, other)) {
            continue;
        }
        // The rest of `mcp-param-*` is the tool's own: any token.
        let known = KNOWN.contains(name) || text.starts_with(PARAM);
        let plain = || text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !known && (mcp || !plain()) {
            return Err(Fault::ambiguous("a header name is not, but could be taken for, one of MCP"));
        }
    }
    Ok(())
}

/// Whether `name` begins with `start` when every punctuation mark is read as `-`.
fn begins(name: &str, start: &str) -> bool {
    let fold = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    name.len() >= start.len() && name.bytes().map(fold).zip(start.bytes()).all(|(one, other)| one == other)
}

/// The value of a header that is there at most once.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Fault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault::ambiguous("a header that may be there once is repeated"));
    }
    value.to_str().map(Some).map_err(|_| Fault::malformed("a header value is not ASCII"))
}

/// The body is JSON in UTF-8, plainly: one exact media type, no coding.
pub(super) fn check_content(headers: &HeaderMap) -> Result<(), Fault> {
    const TYPE: Fault = Fault::malformed("the content type is exactly `application/json`");
    if headers.contains_key(http::header::CONTENT_ENCODING) {
        return Err(Fault::malformed("a body with a content encoding is not read"));
    }
    let value = single(headers, &http::header::CONTENT_TYPE)?.ok_or(TYPE)?;
    let Some(rest) = value.strip_prefix("application/json") else { return Err(TYPE) };
    if rest.is_empty() {
        return Ok(());
    }
    let charset = rest
        .trim_start()
        .strip_prefix(';')
        .map(str::trim_start)
        .and_then(|rest| rest.strip_prefix("charset="));
    let charset = charset
        .map(|value| value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value));
    match charset {
        Some(charset) if charset.eq_ignore_ascii_case("utf-8") => Ok(()),
        Some(_) | None => Err(TYPE),
    }
}

/// A request without a body says so.
pub(super) fn check_no_body(headers: &HeaderMap) -> Result<(), Fault> {
    let length = single(headers, &http::header::CONTENT_LENGTH)?;
    match headers.contains_key(http::header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
    {
        true => Err(Fault::malformed("this request has no body")),
        false => Ok(()),
    }
}

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident, $longest:literal, $first:literal, $wrong:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// As the upstream gave it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Fault;
            fn from_str(text: &str) -> Result<Self, Fault> {
                // A comma joins two values of a repeated header.
                let good = |byte: u8| ($first..=0x7e).contains(&byte) && byte != b',';
                match (1..=$longest).contains(&text.len()) && text.bytes().all(good) {
                    true => Ok(Self(text.into())),
                    false => Err(Fault::malformed($wrong)),
                }
            }
        }

        /// Who has it may use it: it is not shown.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

opaque! {
    /// The id of a session: visible ASCII without a comma, at most 1,024 bytes.
    SessionId, 1_024, 0x21, "a session id is visible ASCII of at most 1,024 bytes, without a comma"
}
opaque! {
    /// The id of an event of a stream: printable ASCII without a comma, at most 256 bytes.
    EventId, 256, 0x20, "an event id is printable ASCII of at most 256 bytes, without a comma"
}

pub(super) fn session(headers: &HeaderMap) -> Result<Option<SessionId>, Fault> {
    single(headers, &SESSION_ID)?.map(str::parse).transpose()
}

pub(super) fn last_event(headers: &HeaderMap) -> Result<Option<EventId>, Fault> {
    single(headers, &LAST_EVENT_ID)?.map(str::parse).transpose()
}
