//! How long a trail is kept, and how much of its disk it may take.

use serde::Deserialize;
use std::time::Duration;

/// `[proxy.audit.retention]`. By default nothing is ever removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionConfig {
    /// Rotated files whose youngest line is older are removed; absent: none for its age.
    pub keep: Option<Duration>,
    /// What the trail may take on its disk, all in all; absent: what there is.
    pub max_total_bytes: Option<u64>,
    /// What is done when that is reached.
    pub when_full: WhenFull,
}

/// What is done when a trail has all the space that it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Requests are refused.
    #[default]
    Refuse,
    /// The oldest lines go before their time, if they may go at all.
    RemoveOldest,
}

impl RetentionConfig {
    /// Less is no trail.
    pub const LEAST_KEEP: Duration = Duration::from_secs(3600);

    /// The least for `max_total_bytes`: the active file, one that is compressed, and what is set aside.
    #[must_use]
    pub fn least_total(rotate_bytes: u64) -> u64 {
        rotate_bytes.saturating_mul(2).saturating_add(2 << 20)
    }
}
