//! How much is kept of sessions.

use std::time::Duration;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Sessions in all.
    pub sessions: usize,
    /// Sessions of one principal.
    pub sessions_per_principal: usize,
    /// Calls of one session that have no result yet.
    pub calls: usize,
    /// Calls of one session that ended without an answer.
    pub abandoned: usize,
    /// Questions of the upstream in one session that have no answer yet; of more the oldest cannot be answered.
    pub questions: usize,
    /// Event ids of one session; the oldest cannot be resumed from any more.
    pub events: usize,
    /// A session that is not used for this long is over.
    pub idle: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            sessions: 16_384,
            sessions_per_principal: 256,
            calls: 256,
            abandoned: 4_096,
            questions: 64,
            events: 256,
            idle: Duration::from_secs(8 * 3_600),
        }
    }
}
