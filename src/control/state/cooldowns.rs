//! What was refused or ended lately, by whom it was for: asking for it again is held off for a while (law 9).
//!
//! How long is the rules' business; this keeps the last day, bounded in number.

use crate::model::{Scope, SpiffeId, Time};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// No cool-down is longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// As many as there may be grants, all of which one call may revoke.
const KEPT: usize = 2_000_000;
const KEPT_EXPIRED: usize = 200_000;

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

/// Two queues, so that what expires, which may be a thousand grants a second, pushes out nothing that people decided.
#[derive(Debug, Clone, Default)]
pub(super) struct Cooldowns {
    decided: Queue,
    expired: Queue,
}

impl Cooldowns {
    pub(super) fn add(&mut self, who: &SpiffeId, cooldown: Cooldown) {
        let queue = match cooldown.cause {
            CooldownCause::Denial | CooldownCause::Revocation => &mut self.decided,
            CooldownCause::Expiry => &mut self.expired,
        };
        queue.add(who, cooldown);
    }

    pub(super) fn lift(&mut self, who: &SpiffeId) {
        self.decided.of.remove(who);
        self.expired.of.remove(who);
    }

    pub(super) fn forget(&mut self, now: Time) {
        self.decided.forget(now, KEPT);
        self.expired.forget(now, KEPT_EXPIRED);
    }

    pub(super) fn of(&self, who: &SpiffeId) -> impl Iterator<Item = &Cooldown> {
        let both = [&self.decided, &self.expired].into_iter();
        both.filter_map(|queue| queue.of.get(who)).flatten()
    }
}

#[derive(Debug, Clone, Default)]
struct Queue {
    of: HashMap<SpiffeId, VecDeque<Cooldown>>,
    order: VecDeque<(Time, SpiffeId)>,
}

impl Queue {
    fn add(&mut self, who: &SpiffeId, cooldown: Cooldown) {
        self.order.push_back((cooldown.at, who.clone()));
        self.of.entry(who.clone()).or_default().push_back(cooldown);
    }

    fn forget(&mut self, now: Time, kept: usize) {
        let since = now.minus(LONGEST);
        while let Some((at, _)) = self.order.front()
            && (*at < since || self.order.len() > kept)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_pushes_out_nothing_that_people_decided() {
        let mut all = Cooldowns::default();
        let who: SpiffeId = "spiffe://d/a".parse().unwrap();
        let at = Time::from_micros(0);
        let cooldown = |cause| Cooldown { scope: "orders:GET:/a".parse().unwrap(), at, cause };
        all.add(&who, cooldown(CooldownCause::Revocation));
        for _ in 0..=KEPT_EXPIRED {
            all.add(&"spiffe://d/b".parse().unwrap(), cooldown(CooldownCause::Expiry));
        }
        all.forget(at);
        assert_eq!(all.of(&who).count(), 1);
        assert!(all.expired.order.len() <= KEPT_EXPIRED);
        all.forget(at.plus(LONGEST).plus(Duration::from_secs(1)));
        assert!(all.decided.of.is_empty() && all.expired.of.is_empty());
    }
}
