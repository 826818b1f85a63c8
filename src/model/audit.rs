//! How a proxy's audit trail is.

use serde::{Deserialize, Serialize};

/// Whether a trail takes lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditHealth {
    /// It does.
    Good,
    /// It does, but its disk has no room to set aside for much more.
    LowSpace,
    /// It does not: requests are refused (law 7).
    Unwritable,
    /// It does, and an external witness has signed for other lines than it has.
    WitnessDisputes,
}

impl AuditHealth {
    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::LowSpace => "low_space",
            Self::Unwritable => "unwritable",
            Self::WitnessDisputes => "witness_disputes",
        }
    }
}
