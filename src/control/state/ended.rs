//! Grants that have ended, kept for a while so that somebody who asks learns why.
//!
//! Bounded in time and number; the bounds count from event times, so that every replica forgets the same.

use crate::control::state::Issue;
use crate::control::state::index::Index;
use crate::model::event::Actor;
use crate::model::{EndCause, Grant, GrantId, Revision, RevocationId, SpiffeId, Time};
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
const KEPT: usize = 200_000;

/// A grant that has ended, and how.
#[derive(Debug, Clone)]
pub struct EndedGrant {
    /// The grant.
    pub grant: Arc<Grant>,
    /// Where it came from.
    pub issue: Arc<Issue>,
    /// Why it ended.
    pub cause: EndCause,
    /// When, control time.
    pub at: Time,
    /// By whom.
    pub by: Actor,
    /// The event that ended it.
    pub revision: Revision,
    /// The revocation that ended it, if one did.
    pub revocation: Option<RevocationId>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct EndedGrants {
    grants: BTreeMap<GrantId, EndedGrant>,
    by_principal: Index<SpiffeId>,
    order: VecDeque<(Time, GrantId)>,
}

impl EndedGrants {
    pub(super) fn insert(&mut self, ended: EndedGrant) {
        self.order.push_back((ended.at, ended.grant.id));
        self.by_principal.insert(&ended.grant.principal, ended.grant.id);
        self.grants.insert(ended.grant.id, ended);
    }

    /// Forgets what is too old or too much; `forgotten` hears of each.
    pub(super) fn forget(&mut self, now: Time, mut forgotten: impl FnMut(GrantId)) {
        let since = now.minus(KEPT_FOR);
        while let Some((at, id)) = self.order.front().copied() {
            if at >= since && self.order.len() <= KEPT {
                break;
            }
            self.order.pop_front();
            if let Some(ended) = self.grants.remove(&id) {
                self.by_principal.remove(&ended.grant.principal, id);
            }
            forgotten(id);
        }
    }

    pub(super) fn get(&self, id: GrantId) -> Option<&EndedGrant> {
        self.grants.get(&id)
    }

    pub(super) fn of_principal<'a>(
        &'a self,
        principal: &SpiffeId,
        after: Option<GrantId>,
    ) -> impl Iterator<Item = &'a EndedGrant> + use<'a> {
        self.by_principal.after(principal, after).filter_map(|id| self.grants.get(&id))
    }

    pub(super) fn range(&self, range: impl RangeBounds<GrantId>) -> impl Iterator<Item = &EndedGrant> {
        self.grants.range(range).map(|(_, ended)| ended)
    }
}
