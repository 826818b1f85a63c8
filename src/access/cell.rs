//! A grant as a proxy keeps it, and the [`Entry`] of what runs under it.
//!
//! Immutable but for its entry. It refuses to know whether it is live: that is said by the [`GrantSet`](super::GrantSet) that
//! lists it.

use super::entry::Entry;
use super::probe::Probe;
use super::rules::Seed;
use super::within::Within;
use crate::config::Ceilings;
use crate::model::grant::Conditions;
use crate::model::{Grant, GrantId, Limits, Recording, Revision, Scope, SpiffeId, TaskId, Time, UserId};
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

/// A grant in the table. Shared by the table, the sets that list it, and whatever runs under it.
pub struct Cell {
    id: GrantId,
    owner: Arc<Owner>,
    scope: Scope,
    not_before: Time,
    expires_at: Time,
    revision: Revision,
    /// Boxed: hardly any grant of a million has any.
    terms: Option<Box<Terms>>,
    /// What was admitted under it.
    pub entry: Entry,
}

/// Whose grants they are and for which task: one copy for the grants of a task, wherever that is easily found.
#[derive(PartialEq, Eq)]
pub(in crate::access) struct Owner {
    pub(in crate::access) principal: SpiffeId,
    pub(in crate::access) task: TaskId,
}

/// What most grants do without.
struct Terms {
    conditions: Conditions,
    limits: Limits,
    recording: Recording,
    within: Within,
    on_behalf_of: Option<UserId>,
    barred: bool,
}

static UNLIMITED: Limits = Limits {
    max_uses: None,
    rate: None,
    concurrent_streams: None,
    idle_timeout: None,
    bytes: None,
    argument_bytes: None,
    response_bytes: None,
};

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
    /// `owner` is the grant's principal and task.
    pub(in crate::access) fn new(
        grant: &Grant,
        owner: Arc<Owner>,
        ceilings: &Ceilings,
        seed: &Seed,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: grant.id,
            owner,
            scope: grant.scope.clone(),
            not_before: grant.not_before,
            expires_at: grant.expires_at,
            revision: grant.revision,
            terms: Terms::of(grant, is_barred(grant, ceilings), seed).map(Box::new),
            entry: Entry::default(),
        })
    }

    /// Whether this is the cell of exactly this grant.
    pub(in crate::access) fn is_of(&self, grant: &Grant) -> bool {
        let identity =
            self.id == grant.id && *self.principal() == grant.principal && *self.task() == grant.task;
        let window = (self.not_before, self.expires_at) == (grant.not_before, grant.expires_at);
        let terms = match &self.terms {
            Some(terms) => terms.is_of(grant),
            None => Terms::is_plain(grant),
        };
        identity && window && terms && self.revision == grant.revision && self.scope == grant.scope
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> GrantId {
        self.id
    }

    pub(in crate::access) fn id_ref(&self) -> &GrantId {
        &self.id
    }

    /// Whose it is.
    #[must_use]
    pub fn principal(&self) -> &SpiffeId {
        &self.owner.principal
    }

    /// The unit of work that it is for.
    #[must_use]
    pub fn task(&self) -> &TaskId {
        &self.owner.task
    }

    pub(in crate::access) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// First point in time at which it permits.
    #[must_use]
    pub fn not_before(&self) -> Time {
        self.not_before
    }

    /// First point in time at which it no longer permits.
    #[must_use]
    pub fn expires_at(&self) -> Time {
        self.expires_at
    }

    /// Revision of the event that issued it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether it was issued after another. By the time in its id as well: revisions begin anew where a backup is restored.
    #[must_use]
    pub fn is_issued_after(&self, other: &Self) -> bool {
        self.revision > other.revision || self.id.millis() > other.id.millis()
    }

    /// What it permits.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What must hold at each request, if anything must.
    #[must_use]
    pub fn conditions(&self) -> Option<&Conditions> {
        self.terms.as_ref().map(|terms| &terms.conditions)
    }

    /// How much it permits; taken at admission by [`Entry::admit`].
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.terms.as_ref().map_or(&UNLIMITED, |terms| &terms.limits)
    }

    /// How much of each request is recorded.
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.terms.as_ref().map_or(Recording::Metadata, |terms| terms.recording)
    }

    /// The human whom it was given for.
    #[must_use]
    pub fn on_behalf_of(&self) -> Option<&UserId> {
        self.terms.as_ref()?.on_behalf_of.as_ref()
    }

    /// Whether every scope that it was narrowed from permits as well.
    pub(in crate::access) fn is_within(&self, service: &str, probe: &Probe<'_>) -> bool {
        self.terms.as_ref().is_none_or(|terms| terms.within.permits(service, probe))
    }

    /// Whether every scope that it was narrowed from has an `mcp` permission for a service.
    pub(in crate::access) fn attends_within(&self, service: &str) -> bool {
        self.terms.as_ref().is_none_or(|terms| terms.within.attends(service))
    }

    /// Whether it passes a ceiling of this proxy (its window is longer than `max_ttl`, or its principal is of another trust
    /// domain). Such a grant is held, so that it is counted, compared and revoked like any other, and permits nothing.
    #[must_use]
    pub fn is_barred(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.barred)
    }

    pub(in crate::access) fn rank(&self) -> Rank {
        let limits = self.limits();
        Rank {
            costly: limits.max_uses.is_some() || limits.bytes.is_some(),
            longest: Reverse(self.expires_at),
            id: self.id,
        }
    }
}

impl Terms {
    /// None for a plain grant. Whether it is barred follows from the grant and from ceilings that never change.
    fn of(grant: &Grant, barred: bool, seed: &Seed) -> Option<Self> {
        (barred || !Self::is_plain(grant)).then(|| Self {
            conditions: grant.conditions.clone(),
            limits: grant.limits,
            recording: grant.recording,
            within: Within::compile(grant.within(), seed),
            on_behalf_of: grant.on_behalf_of().cloned(),
            barred,
        })
    }

    fn is_plain(grant: &Grant) -> bool {
        grant.conditions.is_unconditional()
            && grant.limits.is_unlimited()
            && grant.recording.is_metadata()
            && grant.within().is_empty()
            && grant.on_behalf_of().is_none()
    }

    /// Whether they are the terms of this grant, but for what bars it.
    fn is_of(&self, grant: &Grant) -> bool {
        self.conditions == grant.conditions
            && self.limits == grant.limits
            && self.recording == grant.recording
            && self.within.is_of(grant.within())
            && self.on_behalf_of.as_ref() == grant.on_behalf_of()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_small() {
        // With the counts of its `Arc`, a size that allocators have a class for.
        assert!(size_of::<Cell>() <= 112, "{}", size_of::<Cell>());
        assert_eq!(UNLIMITED, Limits::default());
    }
}
