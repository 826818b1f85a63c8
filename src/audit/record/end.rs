//! How requests end, in the words of the audit line.

/// How a request ended. Causes are words of a closed set (`EndCause::as_str`, `stale`, …), never text of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The whole response was handed on.
    Complete,
    /// We cut it, because of this.
    Cut(&'static str),
    /// The client went away first.
    ClientGone,
    /// The upstream failed in this way.
    UpstreamError(&'static str),
    /// Nobody can say.
    Unknown,
}

impl End {
    /// The value of `end`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut(_) => "cut",
            Self::ClientGone => "client_gone",
            Self::UpstreamError(_) => "upstream_error",
            Self::Unknown => "unknown",
        }
    }

    /// The value of `cause`.
    #[must_use]
    pub fn cause(self) -> Option<&'static str> {
        match self {
            Self::Cut(cause) | Self::UpstreamError(cause) => Some(cause),
            Self::Complete | Self::ClientGone | Self::Unknown => None,
        }
    }
}
