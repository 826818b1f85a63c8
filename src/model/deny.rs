//! Why a request is refused: the closed set of the contract. Adding a variant is adding a name to the public surface.

/// Why a request is refused. The order is the rank: where several grants fail for different reasons, the greatest is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DenyReason {
    /// No grant of this principal names the service.
    NoGrant,
    /// Grants name the service, none permits this.
    OutOfScope,
    /// A matching grant was revoked.
    Revoked,
    /// A matching grant expired.
    Expired,
    /// A matching grant is not valid yet.
    NotYetValid,
    /// A matching grant demands a condition that does not hold.
    Condition,
    /// A matching grant's limit is used up.
    Limit,
    /// The service or everything is locked down.
    LockedDown,
    /// A token is required and missing.
    TokenRequired,
    /// The token given does not hold.
    TokenInvalid,
    /// The request has two readings.
    Ambiguous,
    /// The request is not well-formed.
    Malformed,
    /// The request exceeds a size limit.
    TooLarge,
    /// The grants in memory may be out of date.
    Stale,
    /// The audit trail cannot be written.
    AuditUnavailable,
    /// The protected service cannot be reached.
    UpstreamUnavailable,
}

impl DenyReason {
    /// Every reason, for metrics that name each once.
    pub const ALL: [Self; 16] = [
        Self::NoGrant,
        Self::OutOfScope,
        Self::Revoked,
        Self::Expired,
        Self::NotYetValid,
        Self::Condition,
        Self::Limit,
        Self::LockedDown,
        Self::TokenRequired,
        Self::TokenInvalid,
        Self::Ambiguous,
        Self::Malformed,
        Self::TooLarge,
        Self::Stale,
        Self::AuditUnavailable,
        Self::UpstreamUnavailable,
    ];

    /// The name in the contract: problem type, audit line, metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoGrant => "no_grant",
            Self::OutOfScope => "out_of_scope",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Condition => "condition",
            Self::Limit => "limit",
            Self::LockedDown => "locked_down",
            Self::TokenRequired => "token_required",
            Self::TokenInvalid => "token_invalid",
            Self::Ambiguous => "ambiguous",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Stale => "stale",
            Self::AuditUnavailable => "audit_unavailable",
            Self::UpstreamUnavailable => "upstream_unavailable",
        }
    }

    /// The HTTP status of the contract; an unreachable upstream may also be 502 or 504.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Ambiguous | Self::Malformed => 400,
            Self::TokenRequired | Self::TokenInvalid => 401,
            Self::NoGrant
            | Self::OutOfScope
            | Self::Revoked
            | Self::Expired
            | Self::NotYetValid
            | Self::Condition
            | Self::LockedDown => 403,
            Self::TooLarge => 413,
            Self::Limit => 429,
            Self::Stale | Self::AuditUnavailable | Self::UpstreamUnavailable => 503,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_reason_once_in_order() {
        assert!(DenyReason::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(DenyReason::ALL.len(), DenyReason::UpstreamUnavailable as usize + 1);
    }
}
