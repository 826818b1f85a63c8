//! How a proxy's audit trail is.

use serde::{Deserialize, Serialize};

/// Whether a trail takes lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditHealth {
    /// It does.
    Good,
    /// It does, but four fifths of what it, or the recordings, may take are taken, or no more can be set aside.
    LowSpace,
    /// It does not, or what has to be recorded cannot be: requests are refused (law 7).
    Unwritable,
}

impl AuditHealth {
    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::LowSpace => "low_space",
            Self::Unwritable => "unwritable",
        }
    }
}
