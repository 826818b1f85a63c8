//! Reviews: what was granted in an emergency or as an exception is looked at afterwards by somebody else.

use crate::model::event::Actor;
use crate::model::{AccessRequestId, GrantId, ReviewId, SpiffeId, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Closed reviews that are kept.
const KEPT: usize = 10_000;

/// A review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Its identifier.
    pub id: ReviewId,
    /// The request that was granted.
    pub request: AccessRequestId,
    /// The grant.
    pub grant: GrantId,
    /// Who asked.
    pub requester: SpiffeId,
    /// Whether it was an emergency.
    pub emergency: bool,
    /// When it was opened.
    pub opened_at: Time,
    /// When it is due.
    pub due: Time,
    /// How it was closed; `None` while it is open.
    pub closed: Option<ReviewResult>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewResult {
    /// Who looked.
    pub by: Actor,
    /// When.
    pub at: Time,
    /// What happened, in their words.
    pub findings: String,
    /// Whether the access was right.
    pub justified: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Reviews {
    all: BTreeMap<ReviewId, Review>,
    open: BTreeSet<ReviewId>,
}

impl Reviews {
    pub(super) fn open(&mut self, review: Review) {
        self.open.insert(review.id);
        self.all.insert(review.id, review);
    }

    pub(super) fn close(&mut self, id: ReviewId, result: ReviewResult) {
        self.open.remove(&id);
        if let Some(review) = self.all.get_mut(&id) {
            review.closed = Some(result);
        }
        let mut surplus = self.all.len().saturating_sub(self.open.len()).saturating_sub(KEPT);
        let open = &self.open;
        self.all.retain(|id, _| {
            let keep = surplus == 0 || open.contains(id);
            surplus -= usize::from(!keep);
            keep
        });
    }

    pub(super) fn get(&self, id: ReviewId) -> Option<&Review> {
        self.all.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Review> {
        self.all.values()
    }

    pub(super) fn all_open(&self) -> impl Iterator<Item = &Review> {
        self.open.iter().filter_map(|id| self.all.get(id))
    }
}
