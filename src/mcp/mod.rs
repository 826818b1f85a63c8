//! MCP streamable HTTP, as a gate sees it: what a request says, what an answer may show, whose session it is. No I/O, no clock, no
//! grant; parse at the edge, refuse what has two readings, keep the bytes.
//!
//! | | |
//! |---|---|
//! | [`Rules`] | what a service lets in; comes from the configuration |
//! | [`Head`], [`Inbound`] | a request: the head, then the body in the light of it, or a typed [`Refused`] |
//! | [`privilege::needed`] | whether a method needs a grant that names it |
//! | [`Request::call`] | what a permission is matched against |
//! | [`canonical::text`] | the one text of its arguments, to be hashed |
//! | [`session::Sessions`] | whose session it is, what was asked, called and sent in it |
//! | [`answer::read`], [`list::filter`], [`sse::Filter`] | an answer: whose it is, and lists that show what is permitted |
//! | [`error::Denial`], [`error::Batch`], [`metadata`] | what a refused caller reads |
//! | [`mirror::made`] | the headers that a client sends with a body |
//! | [`mirror::Declared`], [`mirror::check_declared`] | which arguments they repeat, by tool, as the service's lists say |
//!
//! # A request
//!
//! ```
//! use http::{HeaderMap, Method, StatusCode};
//! use jitgate::mcp::{Head, Inbound, Privilege, Rules, privilege};
//!
//! let rules = Rules::default();
//! let mut headers = HeaderMap::new();
//! for (name, value) in [
//!     ("content-type", "application/json"),
//!     ("mcp-protocol-version", "2026-07-28"),
//!     ("mcp-method", "tools/call"),
//!     ("mcp-name", "restart_service"),
//! ] {
//!     headers.insert(name, value.parse()?);
//! }
//! let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"restart_service","arguments":{"service":"billing"},
//!     "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
//!
//! // 1. The head, before a byte of the body is read. `head.session()` is looked up in `Sessions::find` here.
//! let head = Head::read(&rules, &Method::POST, &headers)?;
//! // 2. The body, at most `rules.limits.body_bytes` of it, and the version of the session, if there is one.
//! let received = head.with_body(body.into(), None)?;
//! // 3. What it is decides what it needs.
//! let Inbound::Call(request) = &received.inbound else { unreachable!() };
//! let call = request.call();
//! assert_eq!(privilege::needed(call.method, received.version), Privilege::Granted);
//! assert_eq!((call.method, call.name), ("tools/call", Some("restart_service")));
//! // 4. `received.body` is forwarded, byte for byte.
//! assert_eq!(received.body, body);
//!
//! // A header that says something else than the body.
//! headers.insert("mcp-name", "harmless".parse()?);
//! let refused = Head::read(&rules, &Method::POST, &headers)?.with_body(body.into(), None).unwrap_err();
//! assert_eq!((refused.status, refused.code), (StatusCode::BAD_REQUEST, -32020));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # An answer
//!
//! The answer to a list call, as JSON or as the data of an event, goes through [`list::filter`]; other messages only through [`answer::read`],
//! which says to which call they belong. A stream goes through [`sse::Filter`]:
//!
//! ```
//! use jitgate::mcp::sse::{Filter, Step};
//! use jitgate::mcp::{Id, Limits, ListKind, Version, answer, list};
//! use std::borrow::Cow;
//!
//! let limits = Limits::default();
//! let mut stream = Filter::new(limits.body_bytes);
//! let mut out = Vec::new();
//! for chunk in [&b"id: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"tools\":[{\"name\":\"rest"[..], b"art\"},{\"name\":\"drop\"}]}}\n\n"] {
//!     stream.push(chunk, &mut out, |event| {
//!         let Some(data) = event.data.filter(|data| !data.is_empty()) else { return Ok(Step::Pass) };
//!         let answers = answer::read(data, Version::V20260728, limits)?;
//!         let listed = |id: &Id| (*id == Id::Number(7)).then_some(ListKind::Tools);
//!         Ok(match list::filter(data, &answers, limits, listed, |_, name| name == "restart")? {
//!             Cow::Borrowed(_) => Step::Pass,
//!             Cow::Owned(data) => Step::Replace(data),
//!         })
//!     })?;
//! }
//! assert_eq!(out, b"id: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"tools\":[{\"name\":\"restart\"}]}}\n\n");
//! # Ok::<(), jitgate::mcp::Fault>(())
//! ```
//!
//! # What whoever forwards has to see to
//!
//! - The path is [`Rules::path`] and nothing else; there is no query.
//! - `Accept-Encoding` is not passed on, and an answer with a content encoding is not passed back: it could not be looked at.
//! - The id in the answer to `initialize` is bound by `Sessions::open`, its version by [`answer::negotiated`], before the answer leaves.
//! - An answer is JSON or an event stream; any other content type with status 200 is not passed on.

pub mod answer;
pub mod body;
pub mod canonical;
pub mod error;
mod fault;
pub mod fold;
pub mod header;
mod id;
pub mod inbound;
mod json;
pub mod list;
pub mod message;
pub mod metadata;
pub mod mirror;
mod number;
pub mod privilege;
pub mod refused;
pub mod rules;
pub mod session;
pub mod sse;
pub mod task;
pub mod version;

pub use answer::{Answer, AnswerKind};
pub use body::{Content, MAX_BATCH};
pub use error::{Batch, Denial, Reply};
pub use fault::Fault;
pub use header::{EventId, SessionId};
pub use id::Id;
pub use inbound::{Head, Inbound, Received};
pub use message::{Message, Notification, Request, Response};
pub use privilege::{ListKind, Privilege};
pub use refused::Refused;
pub use rules::{Limits, Rules};
pub use session::Sessions;
pub use version::{Version, Versions};
