//! Every grant that this proxy knows, by principal.
//!
//! Readers take no lock: a connection holds its [`Slot`] and reads the set in it. Writers take turns under one lock; a change
//! first publishes every set that it touches, each once, and then returns what must be cut. It refuses to know what runs under a
//! grant, and what a lease is.

use super::cell::{Cell, Owner};
use super::index::{Context, GrantSet};
use super::ledger::{Ledger, Standing};
use super::slot::{Slot, Slots};
use crate::config::Ceilings;
use crate::model::digest::Digest;
use crate::model::{Change, Delta, EndCause, Epoch, Grant, GrantId, Revision, SpiffeId, Time};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many ended grants of one principal are remembered, the latest ones.
pub const REMEMBERED_PER_PRINCIPAL: usize = 16;
/// How often slots that nobody needs any more are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// Every grant that this proxy knows.
pub struct Table {
    context: Context,
    slots: Slots,
    books: Mutex<Books>,
    revision: AtomicU64,
}

#[derive(Default)]
struct Books {
    ledger: Ledger,
    swept: Time,
}

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

/// The principals whose sets change, each with the cells that it gains.
type Touched = HashMap<SpiffeId, Vec<Arc<Cell>>, foldhash::quality::RandomState>;

impl Table {
    /// An empty table at revision 0.
    #[must_use]
    pub fn new(ceilings: Ceilings) -> Self {
        let context = Context { ceilings: Some(Arc::new(ceilings)), ..Context::default() };
        Self { slots: Slots::new(&context), context, books: Mutex::default(), revision: AtomicU64::default() }
    }

    /// The slot of a principal, made if it has none. Look it up once for each connection and keep it.
    #[must_use]
    pub fn slot(&self, principal: &SpiffeId) -> Arc<Slot> {
        self.slots.get(principal)
    }

    /// Publishes what changed, then says what must be cut. A grant that is known already stays as it is (grants are immutable);
    /// the end of an unknown one changes nothing. So a delta that was applied before does no harm.
    ///
    /// # Errors
    /// [`TableError::Behind`] unless the delta's revision is the table's or later.
    pub fn apply(&self, delta: &Delta, now: Time) -> Result<Vec<Ended>, TableError> {
        let books = &mut *self.books.lock();
        books.ledger.check(books.ledger.epoch, delta.revision)?;
        let (mut touched, mut ended) = (Touched::default(), Vec::new());
        for change in &delta.changes {
            match change {
                Change::Issued(grant) => self.issue(&mut books.ledger, grant, &mut touched),
                Change::Ended { grant, cause, at: _ } => {
                    let cell = books.ledger.end_by_log(*grant, *cause, now);
                    ended.extend(cell.map(|cell| Ended { cell, cause: *cause }));
                }
            }
        }
        touch(&mut touched, &ended);
        self.publish(&mut books.ledger, touched);
        self.advance(&mut books.ledger, delta.revision);
        Ok(ended)
    }

    /// Makes the table exactly what a snapshot says, then says what must be cut: what it omits has ended
    /// ([`EndCause::Superseded`]). Grants that stay keep their cell, so that what runs under them goes on. What had ended here
    /// before the log said so stays ended.
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
        let books = &mut *self.books.lock();
        let ledger = &mut books.ledger;
        ledger.check(epoch, revision)?;
        let (mut touched, mut ended) = (Touched::default(), Vec::new());
        let listed: HashSet<GrantId, foldhash::quality::RandomState> =
            grants.iter().map(|grant| grant.id).collect();
        let omitted: Vec<_> =
            ledger.known().map(|cell| cell.id()).filter(|id| !listed.contains(id)).collect();
        for id in omitted {
            let cell = ledger.end_by_log(id, EndCause::Superseded, now);
            ended.extend(cell.map(|cell| Ended { cell, cause: EndCause::Superseded }));
        }
        ledger.reserve(grants.len().saturating_sub(ledger.live()));
        for grant in &grants {
            if ledger.same(grant).is_none()
                && let Some(cell) = ledger.strike(grant.id)
            {
                ended.push(Ended { cell, cause: EndCause::Superseded });
            }
            self.issue(ledger, grant, &mut touched);
        }
        touch(&mut touched, &ended);
        self.publish(ledger, touched);
        ledger.epoch = epoch;
        self.advance(ledger, revision);
        Ok(ended)
    }

    /// Ends one grant here and now, ahead of the control plane (not used for too long, bytes used up); none if it is not live.
    pub fn end(&self, grant: GrantId, cause: EndCause, now: Time) -> Option<Ended> {
        let books = &mut *self.books.lock();
        let cell = books.ledger.end_here(grant, cause, now)?;
        let ended = Ended { cell, cause };
        let mut touched = Touched::default();
        touch(&mut touched, std::slice::from_ref(&ended));
        self.publish(&mut books.ledger, touched);
        Some(ended)
    }

    /// Ends what has expired by `now`, forgets what ended long ago, and removes slots that nobody needs.
    pub fn expire(&self, now: Time) -> Vec<Ended> {
        let books = &mut *self.books.lock();
        let cause = EndCause::Expired;
        let ended: Vec<_> = books.ledger.expire(now).into_iter().map(|cell| Ended { cell, cause }).collect();
        let mut touched = Touched::default();
        touch(&mut touched, &ended);
        for cell in books.ledger.fade(now) {
            touched.entry(cell.principal().clone()).or_default();
        }
        self.publish(&mut books.ledger, touched);
        if now.since(books.swept) >= SWEEP {
            books.swept = now;
            self.slots.sweep();
        }
        ended
    }

    /// When [`Self::expire`] next has a grant to end or to forget, or a little earlier.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Time> {
        self.books.lock().ledger.next_due()
    }

    /// The cell of a grant that has not ended.
    #[must_use]
    pub fn live(&self, grant: GrantId) -> Option<Arc<Cell>> {
        let books = self.books.lock();
        let live = books.ledger.standing(grant) == Standing::Live;
        books.ledger.get(grant).filter(|_| live).map(Arc::clone)
    }

    /// The revision that the table is at. Takes no lock.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// The epoch of the last snapshot.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.books.lock().ledger.epoch
    }

    /// The digest over what the log lists at [`Self::revision`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.books.lock().ledger.digest
    }

    /// Grants that have not ended.
    #[must_use]
    pub fn grants(&self) -> usize {
        self.books.lock().ledger.live()
    }

    /// How much it holds; looks at each end that is remembered.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (grants, ended) = self.books.lock().ledger.counts();
        Counts { grants, ended, slots: self.slots.len() }
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.books.lock().ledger.queued()
    }

    fn issue(&self, ledger: &mut Ledger, grant: &Grant, touched: &mut Touched) {
        if ledger.get(grant.id).is_some() {
            ledger.list(grant.id);
            return;
        }
        let Some(ceilings) = self.context.ceilings.as_deref() else { return };
        let cell = Cell::new(grant, self.owner(grant, touched), ceilings, &self.context.seed);
        ledger.issue(&cell);
        touched.entry(cell.principal().clone()).or_default().push(cell);
    }

    /// The owner of a grant, shared with another grant of the same task if one of the first few has it.
    fn owner(&self, grant: &Grant, touched: &Touched) -> Arc<Owner> {
        const LOOKED_AT: usize = 16;
        let slot = self.slots.get(&grant.principal);
        let held = slot.load();
        let gained = touched.get(&grant.principal).into_iter().flat_map(|gained| gained.iter().rev());
        let known = gained.take(LOOKED_AT).chain(held.live().take(LOOKED_AT)).map(|cell| cell.owner());
        known.into_iter().find(|owner| owner.task == grant.task).map(Arc::clone).unwrap_or_else(|| {
            Arc::new(Owner { principal: slot.principal().clone(), task: grant.task.clone() })
        })
    }

    /// Compiles and publishes the set of each principal that was touched, once.
    fn publish(&self, ledger: &mut Ledger, touched: Touched) {
        for (principal, gained) in touched {
            let slot = self.slots.get(&principal);
            let held = slot.load();
            let cells = held.members().map(|(cell, _)| cell).chain(&gained);
            let (mut grants, mut over) = (Vec::new(), Vec::new());
            for cell in cells {
                match ledger.standing(cell.id()) {
                    Standing::Live if ledger.get(cell.id()).is_some_and(|known| Arc::ptr_eq(known, cell)) => {
                        grants.push((Arc::clone(cell), None));
                    }
                    Standing::Ended(cause, at) => over.push((at, Arc::clone(cell), cause)),
                    Standing::Live | Standing::Unknown => {}
                }
            }
            over.sort_by_key(|(at, cell, _)| std::cmp::Reverse((*at, cell.id())));
            for (_, cell, _) in over.iter().skip(REMEMBERED_PER_PRINCIPAL) {
                ledger.forget(cell.id());
            }
            let remembered = over.into_iter().take(REMEMBERED_PER_PRINCIPAL);
            grants.extend(remembered.map(|(_, cell, cause)| (cell, Some(cause))));
            slot.publish(GrantSet::compile(grants, &self.context));
        }
    }

    fn advance(&self, ledger: &mut Ledger, revision: Revision) {
        ledger.revision = revision;
        self.revision.store(revision.0, Ordering::Release);
    }
}

fn touch(touched: &mut Touched, ended: &[Ended]) {
    for Ended { cell, .. } in ended {
        touched.entry(cell.principal().clone()).or_default();
    }
}
