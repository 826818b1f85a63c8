//! The table's books: which grants there are, which have ended, when something is due. Kept under the table's lock; it publishes
//! nothing and knows no slot.
//!
//! A grant is *listed* while the log has it live, and *remembered* for a while after it ended, so that a denial can say why. It is
//! known while it is either. Once ended it stays ended: no later delta or snapshot brings it back while it is known, and ids are
//! never used again by the log.

use super::cell::Cell;
use super::table::TableError;
use crate::model::digest::Digest;
use crate::model::{EndCause, Epoch, Grant, GrantId, Revision, Time};
use std::borrow::Borrow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// How long an ended grant is remembered.
pub(super) const REMEMBERED: Duration = Duration::from_secs(3_600);

type Seed = foldhash::quality::RandomState;

#[derive(Default)]
pub(super) struct Ledger {
    known: HashSet<ById, Seed>,
    ended: HashMap<GrantId, End, Seed>,
    /// May still list grants that ended early; see [`Self::tidy`].
    expiry: BinaryHeap<Reverse<ByExpiry>>,
    /// In the order of time.
    memories: VecDeque<(Time, GrantId)>,
    pub(super) digest: Digest,
    pub(super) revision: Revision,
    pub(super) epoch: Epoch,
}

struct End {
    cause: EndCause,
    at: Time,
    listed: bool,
    remembered: bool,
}

/// What the books say of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Live,
    /// Ended, and remembered.
    Ended(EndCause, Time),
    Unknown,
}

impl Ledger {
    /// Whether a change may be applied to the table as it is.
    pub(super) fn check(&self, epoch: Epoch, revision: Revision) -> Result<(), TableError> {
        if epoch < self.epoch {
            return Err(TableError::OldEpoch { held: self.epoch, offered: epoch });
        }
        if epoch == self.epoch && revision < self.revision {
            return Err(TableError::Behind { held: self.revision, offered: revision });
        }
        Ok(())
    }

    pub(super) fn get(&self, id: GrantId) -> Option<&Arc<Cell>> {
        self.known.get(&id).map(|cell| &cell.0)
    }

    pub(super) fn standing(&self, id: GrantId) -> Standing {
        match self.ended.get(&id) {
            None if self.known.contains(&id) => Standing::Live,
            Some(end) if end.remembered => Standing::Ended(end.cause, end.at),
            None | Some(_) => Standing::Unknown,
        }
    }

    /// Books a grant that is not known.
    pub(super) fn issue(&mut self, cell: &Arc<Cell>) {
        if self.known.insert(ById(Arc::clone(cell))) {
            self.digest.add(cell.id(), cell.revision());
            self.expiry.push(Reverse(ByExpiry(Arc::clone(cell))));
        }
    }

    /// Books that the log lists a known grant. It stays ended if it has ended, but counts for the digest: both sides must count
    /// the same.
    pub(super) fn list(&mut self, id: GrantId) {
        let Some(revision) = self.get(id).map(|cell| cell.revision()) else { return };
        if let Some(end) = self.ended.get_mut(&id).filter(|end| !end.listed) {
            end.listed = true;
            self.digest.add(id, revision);
        }
    }

    /// The known grant, if it is the same as this one.
    pub(super) fn same(&self, grant: &Grant) -> Option<&Arc<Cell>> {
        self.get(grant.id).filter(|cell| cell.is_of(grant))
    }

    /// Ends a grant because the log did; the cell if it was live here, or if something still runs under it: what had ended here a moment
    /// ago is cut, but perhaps not gone.
    pub(super) fn end_by_log(&mut self, id: GrantId, cause: EndCause, now: Time) -> Option<Arc<Cell>> {
        let cell = Arc::clone(self.get(id)?);
        let newly = self.end_here(id, cause, now).is_some();
        if let Some(end) = self.ended.get_mut(&id).filter(|end| end.listed) {
            end.listed = false;
            self.digest.remove(id, cell.revision());
            self.drop_if_done(id);
        }
        (newly || cell.entry.is_occupied()).then_some(cell)
    }

    /// Ends a grant ahead of the log, which still lists it; the cell if it was live.
    pub(super) fn end_here(&mut self, id: GrantId, cause: EndCause, now: Time) -> Option<Arc<Cell>> {
        if self.ended.contains_key(&id) {
            return None;
        }
        let cell = Arc::clone(self.get(id)?);
        self.ended.insert(id, End { cause, at: now, listed: true, remembered: true });
        self.memories.push_back((now.plus(REMEMBERED), id));
        self.tidy();
        Some(cell)
    }

    /// Ends the grants whose window is over.
    pub(super) fn expire(&mut self, now: Time) -> Vec<Arc<Cell>> {
        let mut expired = Vec::new();
        while self.expiry.peek().is_some_and(|Reverse(next)| next.0.expires_at() <= now) {
            let Some(Reverse(ByExpiry(cell))) = self.expiry.pop() else { break };
            // Not a twin of a grant that was replaced under the same id.
            let current = self.get(cell.id()).is_some_and(|known| Arc::ptr_eq(known, &cell));
            if current && self.end_here(cell.id(), EndCause::Expired, now).is_some() {
                expired.push(cell);
            }
        }
        expired
    }

    /// Forgets the ends that were long ago; the grants that are no longer remembered.
    pub(super) fn fade(&mut self, now: Time) -> Vec<Arc<Cell>> {
        let mut faded = Vec::new();
        while let Some((_, id)) = self.memories.front().copied().filter(|(until, _)| *until <= now) {
            self.memories.pop_front();
            faded.extend(self.get(id).cloned());
            self.forget(id);
        }
        faded
    }

    /// Forgets the end of a grant; the grant too, once the log no longer lists it.
    pub(super) fn forget(&mut self, id: GrantId) {
        if let Some(end) = self.ended.get_mut(&id) {
            end.remembered = false;
            self.drop_if_done(id);
        }
    }

    /// Takes a grant out of the books altogether: another has its id.
    pub(super) fn strike(&mut self, id: GrantId) -> Option<Arc<Cell>> {
        let ById(cell) = self.known.take(&id)?;
        if self.ended.remove(&id).is_none_or(|end| end.listed) {
            self.digest.remove(id, cell.revision());
        }
        Some(cell)
    }

    pub(super) fn known(&self) -> impl Iterator<Item = &Arc<Cell>> {
        self.known.iter().map(|cell| &cell.0)
    }

    /// When [`Self::expire`] or [`Self::fade`] next has something to do, or a little earlier.
    pub(super) fn next_due(&self) -> Option<Time> {
        let expiry = self.expiry.peek().map(|Reverse(next)| next.0.expires_at());
        expiry.into_iter().chain(self.memories.front().map(|(until, _)| *until)).min()
    }

    /// How many are live, and how many ends are remembered.
    pub(super) fn counts(&self) -> (usize, usize) {
        let remembered = self.ended.values().filter(|end| end.remembered).count();
        (self.live(), remembered)
    }

    /// How many are live.
    pub(super) fn live(&self) -> usize {
        self.known.len().saturating_sub(self.ended.len())
    }

    /// Makes room for so many more grants at once.
    pub(super) fn reserve(&mut self, more: usize) {
        self.known.reserve(more);
        self.expiry.reserve(more);
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.expiry.len()
    }

    fn drop_if_done(&mut self, id: GrantId) {
        if self.ended.get(&id).is_some_and(|end| !end.listed && !end.remembered) {
            self.ended.remove(&id);
            self.known.remove(&id);
        }
    }

    /// Sweeps the expiry queue once most of it has ended early, so that it stays in proportion to what is live; the work is paid
    /// for by the ends that made it necessary.
    fn tidy(&mut self) {
        let live = self.known.len().saturating_sub(self.ended.len());
        if self.expiry.len() > 1_024 + 2 * live {
            let ended = &self.ended;
            self.expiry.retain(|Reverse(next)| !ended.contains_key(&next.0.id()));
        }
    }
}

struct ById(Arc<Cell>);

impl Borrow<GrantId> for ById {
    fn borrow(&self) -> &GrantId {
        self.0.id_ref()
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

struct ByExpiry(Arc<Cell>);

impl PartialEq for ByExpiry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByExpiry {}

impl PartialOrd for ByExpiry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByExpiry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.expires_at(), self.0.id()).cmp(&(other.0.expires_at(), other.0.id()))
    }
}
