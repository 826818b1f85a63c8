//! Limits of a grant: how much it permits.

use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroU64};

/// How much a grant permits. The default is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests over the whole life of the grant, over all proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<NonZeroU64>,
    /// Requests in a length of time, at each proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Requests in flight at once, at each proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_streams: Option<NonZeroU32>,
    /// The grant ends when it was not used for this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<crate::model::Ttl>,
    /// Body bytes, both directions together, over the whole life of the grant, over all proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<NonZeroU64>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// A rate: `requests` in `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many requests, also the burst.
    pub requests: NonZeroU32,
    /// In which length of time.
    pub per: crate::model::Ttl,
}
