//! Every grant that this proxy knows, by principal.

use super::cell::Cell;
use crate::config::Ceilings;
use crate::model::{Delta, Digest, EndCause, Epoch, Grant, GrantId, Revision, SpiffeId, Time};
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;

/// Every grant that this proxy knows. Readers take no lock; writers take turns.
pub struct Table {
    ceilings: Arc<Ceilings>,
}

/// One principal's place in the table: lives as long as any holder, so that no connection watches an orphan.
pub struct Slot {
    principal: SpiffeId,
    set: ArcSwap<GrantSet>,
}

/// The grants of one principal at one revision: immutable, compiled for the decision.
#[derive(Default)]
pub struct GrantSet {}

/// What must be cut: the table no longer permits anything under it.
#[derive(Debug)]
#[must_use]
pub struct Ended {
    /// The grant.
    pub cell: Arc<Cell>,
    /// Why it ended.
    pub cause: EndCause,
}

/// Why the table refused a change; it is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It would take the table back.
    #[error("revision {offered} is behind the table's {held}: a table never goes back")]
    Behind {
        /// The table's revision.
        held: Revision,
        /// The change's.
        offered: Revision,
    },
    /// A snapshot of an epoch before the table's.
    #[error("epoch {} is behind the table's {}: a restored log never goes back", offered.0, held.0)]
    OldEpoch {
        /// The table's epoch.
        held: Epoch,
        /// The snapshot's.
        offered: Epoch,
    },
}

/// How much the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Grants that have not ended.
    pub grants: usize,
    /// Ended grants that are remembered.
    pub ended: usize,
    /// Principals with a slot.
    pub slots: usize,
}

impl Table {
    /// An empty table at revision 0.
    #[must_use]
    pub fn new(ceilings: Ceilings) -> Self {
        Self { ceilings: Arc::new(ceilings) }
    }

    /// The slot of a principal, made if it has none.
    #[must_use]
    pub fn slot(&self, principal: &SpiffeId) -> Arc<Slot> {
        Arc::new(Slot { principal: principal.clone(), set: ArcSwap::default() })
    }

    /// Publishes what changed, then says what must be cut.
    ///
    /// # Errors
    /// [`TableError::Behind`] unless the delta's revision is the table's or later.
    pub fn apply(&self, delta: &Delta, now: Time) -> Result<Vec<Ended>, TableError> {
        let _ = (delta, now);
        Ok(Vec::new())
    }

    /// Makes the table exactly what a snapshot says, then says what must be cut: what it omits has ended
    /// ([`EndCause::Superseded`]). Grants that stay keep their cell, so that what runs under them goes on.
    ///
    /// # Errors
    /// [`TableError`] if the snapshot is of an earlier epoch, or of an earlier revision of the same.
    pub fn replace(
        &self,
        grants: Vec<Arc<Grant>>,
        epoch: Epoch,
        revision: Revision,
        now: Time,
    ) -> Result<Vec<Ended>, TableError> {
        let _ = (grants, epoch, revision, now, &self.ceilings);
        Ok(Vec::new())
    }

    /// Ends one grant here and now, ahead of the control plane (idle, bytes used up); none if it is not live.
    pub fn end(&self, grant: GrantId, cause: EndCause, now: Time) -> Option<Ended> {
        let _ = (grant, cause, now);
        None
    }

    /// Ends what has expired by `now` and forgets what ended long ago.
    pub fn expire(&self, now: Time) -> Vec<Ended> {
        let _ = now;
        Vec::new()
    }

    /// When [`Self::expire`] next has something to do.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Time> {
        None
    }

    /// The cell of a grant that has not ended.
    #[must_use]
    pub fn live(&self, grant: GrantId) -> Option<Arc<Cell>> {
        let _ = grant;
        None
    }

    /// The revision that the table is at.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision::default()
    }

    /// The epoch of the last snapshot.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch::default()
    }

    /// The digest at [`Self::revision`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::default()
    }

    /// How much it holds.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::default()
    }
}

impl Slot {
    /// Whose it is.
    #[must_use]
    pub fn principal(&self) -> &SpiffeId {
        &self.principal
    }

    /// The grants as they are now. Cheap; read it anew for each request.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<GrantSet>> {
        self.set.load()
    }
}

impl GrantSet {
    /// Whether this very cell is listed and has not ended: what admission asks again after it has registered.
    #[must_use]
    pub fn holds(&self, cell: &Cell) -> bool {
        let _ = cell;
        false
    }
}
