//! A grant as a proxy keeps it: what the decision and admission need of it, compiled, and the [`Entry`] of what runs under it.
//!
//! Immutable but for its entry. It refuses to know whether it is live: that is said by the [`GrantSet`](super::GrantSet) that
//! lists it.

use super::entry::Entry;
use crate::config::Ceilings;
use crate::model::grant::Conditions;
use crate::model::{Grant, GrantId, Limits, Revision, Scope, SpiffeId, TaskId, Time};
use std::fmt;
use std::sync::Arc;

/// A grant in the table. Shared by the table, the sets that list it, and whatever runs under it.
pub struct Cell {
    id: GrantId,
    principal: SpiffeId,
    task: TaskId,
    not_before: Time,
    expires_at: Time,
    revision: Revision,
    terms: Option<Box<Terms>>,
    scope: Scope,
    barred: bool,
    /// What was admitted under it.
    pub entry: Entry,
}

/// The rarer parts of a grant.
struct Terms {
    conditions: Conditions,
    limits: Limits,
}

static UNLIMITED: Limits =
    Limits { max_uses: None, rate: None, concurrent_streams: None, idle_timeout: None, bytes: None };

impl Cell {
    pub(in crate::access) fn new(grant: &Grant, principal: SpiffeId, ceilings: &Ceilings) -> Arc<Self> {
        let plain = grant.conditions.is_unconditional() && grant.limits.is_unlimited();
        let terms =
            (!plain).then(|| Box::new(Terms { conditions: grant.conditions.clone(), limits: grant.limits }));
        Arc::new(Self {
            id: grant.id,
            task: grant.task.clone(),
            not_before: grant.not_before,
            expires_at: grant.expires_at,
            revision: grant.revision,
            terms,
            scope: grant.scope.clone(),
            barred: is_barred(grant, ceilings),
            principal,
            entry: Entry::default(),
        })
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> GrantId {
        self.id
    }

    /// Whose it is.
    #[must_use]
    pub fn principal(&self) -> &SpiffeId {
        &self.principal
    }

    /// The unit of work that it is for.
    #[must_use]
    pub fn task(&self) -> &TaskId {
        &self.task
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

    /// What must hold at each request; none is unconditional.
    #[must_use]
    pub fn conditions(&self) -> Option<&Conditions> {
        self.terms.as_ref().map(|terms| &terms.conditions)
    }

    /// How much it permits; taken at admission by [`Entry::admit`].
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.terms.as_ref().map_or(&UNLIMITED, |terms| &terms.limits)
    }

    /// Whether it passes a ceiling of this proxy: such a grant is held (so that it can be counted, compared and revoked) and
    /// permits nothing.
    #[must_use]
    pub fn is_barred(&self) -> bool {
        self.barred
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
        f.debug_struct("Cell").field("id", &self.id).field("task", &self.task).finish_non_exhaustive()
    }
}
