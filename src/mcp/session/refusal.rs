//! Why something is not let into a session, and how that is said.

use crate::mcp::{Fault, Id, Refused};
use crate::model::DenyReason;
use http::StatusCode;

/// Why something is not let into a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// There is none, or it is somebody else's, which looks the same: 404, as the specification has it.
    #[error("there is no such session: begin one with `initialize`")]
    Unknown,
    /// The upstream gave an id that is taken by somebody else.
    #[error("the service gave out the id of another session")]
    Taken,
    /// There are too many sessions.
    #[error("too many sessions are open: end one")]
    TooManySessions,
    /// There are too many calls without a result.
    #[error("too many calls of this session have no result yet")]
    TooManyCalls,
    /// A call with this id has no result yet.
    #[error("a call with this id has no result yet")]
    IdInUse,
    /// The upstream did not ask this, or it was answered before.
    #[error("the service has no question with this id open")]
    NotAsked,
    /// No call with this id runs in this session.
    #[error("no call with this id runs in this session")]
    NotRunning,
    /// A result for no call of this session.
    #[error("the service answered what was not asked in this session")]
    NotCalled,
    /// No event with this id is remembered for this session.
    #[error("no event with this id is remembered: begin a new stream")]
    UnknownEvent,
}

impl SessionError {
    /// The reason, the words and the HTTP status for whoever asked. What the upstream did wrong is the upstream's fault.
    #[must_use]
    pub fn refused(self, id: Option<&Id>) -> Refused {
        let (reason, status, detail) = match self {
            Self::Unknown => (
                DenyReason::OutOfScope,
                StatusCode::NOT_FOUND,
                "there is no such session: begin one with `initialize`",
            ),
            Self::UnknownEvent => (
                DenyReason::OutOfScope,
                StatusCode::NOT_FOUND,
                "no event with this id is remembered: begin a new stream",
            ),
            Self::NotAsked => (
                DenyReason::OutOfScope,
                StatusCode::FORBIDDEN,
                "the service has no question with this id open",
            ),
            Self::IdInUse => {
                (DenyReason::Ambiguous, StatusCode::BAD_REQUEST, "a call with this id has no result yet")
            }
            Self::TooManySessions => {
                (DenyReason::Limit, StatusCode::TOO_MANY_REQUESTS, "too many sessions are open: end one")
            }
            Self::TooManyCalls => (
                DenyReason::Limit,
                StatusCode::TOO_MANY_REQUESTS,
                "too many calls of this session have no result yet",
            ),
            Self::NotRunning => {
                (DenyReason::OutOfScope, StatusCode::BAD_REQUEST, "no call with this id runs in this session")
            }
            Self::Taken | Self::NotCalled => (
                DenyReason::UpstreamUnavailable,
                StatusCode::BAD_GATEWAY,
                "the service broke the rules of the session",
            ),
        };
        Refused { status, ..Refused::from(Fault { reason, detail }) }.with_id(id)
    }
}
