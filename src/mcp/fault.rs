//! Why bytes are not passed on, as far as the reason goes: which fault, in words that are safe to show. It refuses to know how a
//! refusal looks on the wire (`super::refused`).

use crate::model::DenyReason;

/// Why a message or a header has no reading that could be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Fault {
    /// `ambiguous`, `malformed` or `too_large`; `condition` for an origin that is not allowed.
    pub reason: DenyReason,
    /// What is wrong. Nothing of the message is in it.
    pub detail: &'static str,
}

impl Fault {
    pub(super) const fn ambiguous(detail: &'static str) -> Self {
        Self { reason: DenyReason::Ambiguous, detail }
    }

    pub(super) const fn malformed(detail: &'static str) -> Self {
        Self { reason: DenyReason::Malformed, detail }
    }

    pub(super) const fn too_large(detail: &'static str) -> Self {
        Self { reason: DenyReason::TooLarge, detail }
    }
}
