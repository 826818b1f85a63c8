//! A grant as a proxy keeps it, and the [`Entry`] of what runs under it.
//!
//! Immutable but for its entry. It refuses to know whether it is live: that is said by the [`GrantSet`](super::GrantSet) that
//! lists it.

use super::entry::Entry;
use crate::config::Ceilings;
use crate::model::grant::Conditions;
use crate::model::{Grant, GrantId, Limits, Revision, SpiffeId, TaskId, Time};
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

/// A grant in the table. Shared by the table, the sets that list it, and whatever runs under it.
pub struct Cell {
    grant: Grant,
    barred: bool,
    /// What was admitted under it.
    pub entry: Entry,
}

/// The order of preference between grants that permit the same request, most preferred first: those whose use costs nothing
/// (neither `max_uses` nor `bytes` is limited), then those that live longest, then the lowest id. Total and fixed for the life of
/// a grant, so that the choice is the same at each proxy and at each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::access) struct Rank {
    costly: bool,
    longest: Reverse<Time>,
    id: GrantId,
}

impl Cell {
    /// `principal` is the grant's, as the table already holds it: one copy for all grants of a principal.
    pub(in crate::access) fn new(grant: &Grant, principal: &SpiffeId, ceilings: &Ceilings) -> Arc<Self> {
        Arc::new(Self {
            barred: is_barred(grant, ceilings),
            grant: Grant { principal: principal.clone(), ..grant.clone() },
            entry: Entry::default(),
        })
    }

    /// The grant.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> GrantId {
        self.grant.id
    }

    /// Whose it is.
    #[must_use]
    pub fn principal(&self) -> &SpiffeId {
        &self.grant.principal
    }

    /// The unit of work that it is for.
    #[must_use]
    pub fn task(&self) -> &TaskId {
        &self.grant.task
    }

    /// First point in time at which it permits.
    #[must_use]
    pub fn not_before(&self) -> Time {
        self.grant.not_before
    }

    /// First point in time at which it no longer permits.
    #[must_use]
    pub fn expires_at(&self) -> Time {
        self.grant.expires_at
    }

    /// Revision of the event that issued it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.grant.revision
    }

    /// What must hold at each request.
    #[must_use]
    pub fn conditions(&self) -> &Conditions {
        &self.grant.conditions
    }

    /// How much it permits; taken at admission by [`Entry::admit`].
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.grant.limits
    }

    /// Whether it passes a ceiling of this proxy (its window is longer than `max_ttl`, or its principal is of another trust
    /// domain). Such a grant is held, so that it is counted, compared and revoked like any other, and permits nothing.
    #[must_use]
    pub fn is_barred(&self) -> bool {
        self.barred
    }

    pub(in crate::access) fn rank(&self) -> Rank {
        let limits = self.limits();
        Rank {
            costly: limits.max_uses.is_some() || limits.bytes.is_some(),
            longest: Reverse(self.grant.expires_at),
            id: self.grant.id,
        }
    }
}

fn is_barred(grant: &Grant, ceilings: &Ceilings) -> bool {
    let foreign = ceilings
        .trust_domains
        .as_ref()
        .is_some_and(|domains| !domains.iter().any(|domain| **domain == *grant.principal.trust_domain()));
    foreign || grant.expires_at.since(grant.not_before) > ceilings.max_ttl.get()
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("id", &self.id()).field("task", self.task()).finish_non_exhaustive()
    }
}
