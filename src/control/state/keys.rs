//! Idempotency keys: what each caller asked under which key, for a day.
//!
//! A view of `RequestKeyed`; bounded in time and number, counted from event times, so that every replica forgets the same.

use crate::control::state::State;
use crate::model::{AccessRequestId, IdempotencyKey, SpiffeId, Time};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
const KEPT: usize = 100_000;

type Of = (SpiffeId, String);

#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    all: HashMap<Of, (String, AccessRequestId)>,
    order: VecDeque<(Time, Of)>,
}

impl Keys {
    pub(super) fn note(&mut self, who: &SpiffeId, key: &IdempotencyKey, request: AccessRequestId, now: Time) {
        let of = (who.clone(), key.key.clone());
        if self.all.insert(of.clone(), (key.fingerprint.clone(), request)).is_none() {
            self.order.push_back((now, of));
        }
    }

    pub(super) fn forget(&mut self, now: Time) {
        let since = now.minus(KEPT_FOR);
        while let Some((_, of)) = self.order.pop_front_if(|(at, _)| *at < since) {
            self.all.remove(&of);
        }
        while self.order.len() > KEPT
            && let Some((_, of)) = self.order.pop_front()
        {
            self.all.remove(&of);
        }
    }
}

impl State {
    /// What a caller asked under a key: its fingerprint, and the request that came of it.
    #[must_use]
    pub fn keyed(&self, who: &SpiffeId, key: &str) -> Option<(&str, AccessRequestId)> {
        let (fingerprint, request) = self.keys.all.get(&(who.clone(), key.to_owned()))?;
        Some((fingerprint, *request))
    }
}
