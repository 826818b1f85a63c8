//! Conditions of a grant: what must hold at each request, beyond the scope.

use serde::{Deserialize, Serialize};

/// What must hold at each request. The default is unconditional.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// Networks that the caller's address must be in; absent: any. Never empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_networks: Option<Box<[ipnet::IpNet]>>,
    /// Time-of-day windows, one of which must hold; absent: always. Never empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Box<[TimeWindow]>>,
}

impl Conditions {
    /// Whether nothing is demanded.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        self.source_networks.is_none() && self.windows.is_none()
    }
}

/// A window of the day in a named zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeWindow {
    /// IANA zone name.
    pub zone: Box<str>,
}
