//! A request that is refused for what it is, before anybody's access counts: HTTP status and JSON-RPC code.

use super::Id;
use super::fault::Fault;
use super::version::{Version, Versions};
use crate::model::DenyReason;
use http::StatusCode;

/// JSON-RPC: the message is not valid.
pub const INVALID_REQUEST: i32 = -32_600;
/// JSON-RPC: there is no such method.
pub const METHOD_NOT_FOUND: i32 = -32_601;
/// JSON-RPC: the parameters are not valid.
pub const INVALID_PARAMS: i32 = -32_602;
/// MCP 2026-07-28: a header is missing, or is not what the body says.
pub const HEADER_MISMATCH: i32 = -32_020;
/// MCP 2026-07-28: the version is not supported.
pub const UNSUPPORTED_VERSION: i32 = -32_022;
/// Ours, from the range that MCP leaves to implementations: access is denied.
pub const ACCESS_DENIED: i32 = -32_010;

/// Why a request is not forwarded, and how that is said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct Refused {
    /// The reason of the contract, and the words.
    pub fault: Fault,
    /// What HTTP says.
    pub status: StatusCode,
    /// What JSON-RPC says.
    pub code: i32,
    /// The request's id, where the message could be read.
    pub id: Option<Id>,
    /// For [`UNSUPPORTED_VERSION`]: what is supported, and what was asked for.
    pub versions: Option<(Versions, Box<str>)>,
}

impl Refused {
    pub(super) fn mismatch(fault: Fault) -> Self {
        Self { code: HEADER_MISMATCH, ..fault.into() }
    }

    /// `params` lack what the version demands.
    pub(super) fn params(fault: Fault) -> Self {
        Self { code: INVALID_PARAMS, ..fault.into() }
    }

    /// The version has no such method.
    pub(super) fn unknown_method() -> Self {
        let fault = Fault::malformed("version 2026-07-28 does not have this method any more");
        Self { status: StatusCode::NOT_FOUND, code: METHOD_NOT_FOUND, ..fault.into() }
    }

    pub(super) fn no_method(detail: &'static str) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, ..Fault::malformed(detail).into() }
    }

    pub(super) fn origin() -> Self {
        let detail = "the origin is not one of this service's `allowed_origins`";
        let fault = Fault { reason: DenyReason::Condition, detail };
        Self { status: StatusCode::FORBIDDEN, ..fault.into() }
    }

    /// A client that probes with `server/discover` goes on with `initialize` after 404; after an error with versions some do not.
    pub(super) fn version(supported: Versions, asked: &str, discover: bool) -> Self {
        let fault = Fault::malformed("this service does not speak this version of MCP");
        if discover {
            return Self { status: StatusCode::NOT_FOUND, code: METHOD_NOT_FOUND, ..fault.into() };
        }
        let asked = asked.chars().take(32).collect::<String>().into();
        Self { code: UNSUPPORTED_VERSION, versions: Some((supported, asked)), ..fault.into() }
    }

    pub(super) fn unsupported(supported: Versions, version: Version, discover: bool) -> Self {
        Self::version(supported, version.as_str(), discover)
    }

    /// The same as clients that probe with `server/discover` take it: after 401, 403 and 5xx they give up, after 404 they go on.
    #[must_use]
    pub fn to_a_probe(self) -> Self {
        let gives_up = matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            || self.status.is_server_error();
        match gives_up {
            true => Self { status: StatusCode::NOT_FOUND, code: METHOD_NOT_FOUND, ..self },
            false => self,
        }
    }

    pub(super) fn with_id(mut self, id: Option<&Id>) -> Self {
        self.id = id.cloned();
        self
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        let status = StatusCode::from_u16(fault.reason.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Self { fault, status, code: INVALID_REQUEST, id: None, versions: None }
    }
}
