//! What access requests are held to, and what is known about those who ask and what they ask for.

use crate::model::{Attributes, PrincipalKind, Scope, Ttl};
use std::path::PathBuf;
use std::time::Duration;

/// What access requests are held to: `[control.requests]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRules {
    /// How long a request may be pending.
    pub pending_timeout: Duration,
    /// How many requests of one requester may be pending at once.
    pub max_pending: usize,
    /// How many requests one requester may make in one hour of the clock, whatever comes of them.
    pub max_per_hour: u32,
    /// How long nobody may ask again for what people refused; zero: at once.
    pub cooldown_after_denial: Duration,
    /// How long nobody may ask again for what was revoked; zero: at once.
    pub cooldown_after_revocation: Duration,
    /// How long nobody may ask again for what expired; zero: at once.
    pub cooldown_after_expiry: Duration,
    /// How much access to one service a requester or a principal may be granted at once by policies alone, in
    /// `privileged_window`; more needs a person.
    pub privileged_cap: Duration,
    /// The rolling window in which `privileged_cap` counts.
    pub privileged_window: Duration,
    /// With this many open reviews of one's own emergencies nobody breaks glass again.
    pub max_open_reviews: usize,
    /// When a review is due, from the grant on.
    pub review_within: Duration,
    /// A task ends when it has seen no traffic and no sign of life for this long; absent: never for that reason.
    pub task_idle_timeout: Option<Duration>,
}

impl Default for RequestRules {
    fn default() -> Self {
        Self {
            pending_timeout: Duration::from_secs(3600),
            max_pending: 10,
            max_per_hour: 10_000,
            cooldown_after_denial: Duration::from_secs(5 * 60),
            cooldown_after_revocation: Duration::from_secs(15 * 60),
            cooldown_after_expiry: Duration::ZERO,
            privileged_cap: Duration::from_secs(24 * 3600),
            privileged_window: Duration::from_secs(24 * 3600),
            max_open_reviews: 1,
            review_within: Duration::from_secs(24 * 3600),
            task_idle_timeout: None,
        }
    }
}

/// What the configuration says about a principal: `[[principals]]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrincipalEntry {
    /// What it stands for.
    pub kind: Option<PrincipalKind>,
    /// What else is known.
    pub attributes: Attributes,
}

/// Which policies decide on access requests: `[control.policy]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyConfig {
    /// The folder with the policies; absent: every request needs one operator.
    pub folder: Option<PathBuf>,
    /// The IANA name of the zone of hours and weekdays.
    pub zone: String,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self { folder: None, zone: "UTC".to_owned() }
    }
}

/// A named scope template: `[[roles]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleTemplate {
    /// What it stands for, at the time of a request.
    pub scope: Scope,
    /// The longest that it may be asked for; absent: as long as anything.
    pub max_ttl: Option<Ttl>,
}
