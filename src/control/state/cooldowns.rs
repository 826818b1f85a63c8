//! What was refused or ended lately, by whom it was for: asking for it again is held off for a while (law 9).
//!
//! How long is the rules' business; this keeps the last day, bounded in number.

use crate::model::{Scope, SpiffeId, Time};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// No cool-down is longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);
const KEPT: usize = 200_000;

/// Why somebody has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CooldownCause {
    /// People refused it.
    Denial,
    /// Somebody revoked it.
    Revocation,
    /// It expired.
    Expiry,
}

impl CooldownCause {
    /// In words: what happened.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denial => "denied",
            Self::Revocation => "revoked",
            Self::Expiry => "expired",
        }
    }
}

#[derive(Debug, Clone)]
pub(in crate::control) struct Cooldown {
    pub(in crate::control) scope: Scope,
    pub(in crate::control) at: Time,
    pub(in crate::control) cause: CooldownCause,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Cooldowns {
    of: HashMap<SpiffeId, VecDeque<Cooldown>>,
    order: VecDeque<(Time, SpiffeId)>,
}

impl Cooldowns {
    pub(super) fn add(&mut self, who: &SpiffeId, cooldown: Cooldown) {
        self.order.push_back((cooldown.at, who.clone()));
        self.of.entry(who.clone()).or_default().push_back(cooldown);
    }

    pub(super) fn lift(&mut self, who: &SpiffeId) {
        self.of.remove(who);
    }

    pub(super) fn forget(&mut self, now: Time) {
        let since = now.minus(LONGEST);
        while let Some((at, _)) = self.order.front()
            && (*at < since || self.order.len() > KEPT)
        {
            let Some((at, who)) = self.order.pop_front() else { return };
            if let Some(own) = self.of.get_mut(&who) {
                while own.front().is_some_and(|first| first.at <= at) {
                    own.pop_front();
                }
                if own.is_empty() {
                    self.of.remove(&who);
                }
            }
        }
    }

    pub(super) fn of(&self, who: &SpiffeId) -> impl Iterator<Item = &Cooldown> {
        self.of.get(who).into_iter().flatten()
    }
}
