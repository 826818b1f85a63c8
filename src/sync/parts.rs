//! Puts snapshots and deltas together from their parts. Nothing is applied before it is whole.

use crate::model::{Change, Delta, Digest, Grant, GrantId, Interner, Revision};
use crate::sync::Fault;
use crate::wire::message::{DeltaPart, Received, ReceivedChange, SnapshotPart};
use std::collections::HashMap;
use std::sync::Arc;

/// Most grants that could not be read; more means that this proxy is too old for its control plane.
const MAX_UNREADABLE: usize = 100_000;

/// A snapshot or delta on its way.
pub(super) enum Parts {
    None,
    Snapshot { revision: Revision, grants: Vec<Received> },
    Delta { after: Revision, revision: Revision, changes: Vec<ReceivedChange> },
}

/// A whole snapshot.
pub(super) struct WholeSnapshot {
    pub(super) revision: Revision,
    pub(super) grants: Vec<Received>,
}

/// A whole delta.
pub(super) struct WholeDelta {
    pub(super) after: Revision,
    pub(super) revision: Revision,
    pub(super) changes: Vec<ReceivedChange>,
}

impl Parts {
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Adds a part; the whole, if it was the last.
    pub(super) fn snapshot(
        &mut self,
        mut part: SnapshotPart,
        most: usize,
        interner: &mut Interner,
    ) -> Result<Option<WholeSnapshot>, Fault> {
        part.grants.iter_mut().for_each(|grant| share(grant, interner));
        let (revision, grants) = match std::mem::replace(self, Self::None) {
            Self::None => (part.revision, part.grants),
            Self::Snapshot { revision, mut grants } if revision == part.revision => {
                grants.extend(part.grants);
                (revision, grants)
            }
            Self::Snapshot { .. } | Self::Delta { .. } => {
                return Err(Fault::Protocol("a snapshot was not finished"));
            }
        };
        if grants.len() > most {
            return Err(Fault::Protocol("a snapshot holds more grants than this proxy takes"));
        }
        if part.last {
            return Ok(Some(WholeSnapshot { revision, grants }));
        }
        *self = Self::Snapshot { revision, grants };
        Ok(None)
    }

    /// Adds a part; the whole, if it was the last.
    pub(super) fn delta(
        &mut self,
        mut part: DeltaPart,
        most: usize,
        interner: &mut Interner,
    ) -> Result<Option<WholeDelta>, Fault> {
        for change in &mut part.changes {
            match change {
                ReceivedChange::Issued(grant) => share(grant, interner),
                ReceivedChange::Ended { .. } => {}
            }
        }
        let (after, revision, changes) = match std::mem::replace(self, Self::None) {
            Self::None => (part.after, part.revision, part.changes),
            Self::Delta { after, revision, mut changes }
                if (after, revision) == (part.after, part.revision) =>
            {
                changes.extend(part.changes);
                (after, revision, changes)
            }
            Self::Snapshot { .. } | Self::Delta { .. } => {
                return Err(Fault::Protocol("a change was not finished"));
            }
        };
        if changes.len() > most {
            return Err(Fault::Protocol("a change holds more than this proxy takes"));
        }
        if part.last {
            return Ok(Some(WholeDelta { after, revision, changes }));
        }
        *self = Self::Delta { after, revision, changes };
        Ok(None)
    }
}

/// A million grants name the same few scopes: part by part, so that at most one part is held twice.
fn share(received: &mut Received, interner: &mut Interner) {
    match received {
        // Whoever converted the message gave the only reference away; else it simply is not shared.
        Received::Readable(grant) => {
            if let Some(grant) = Arc::get_mut(grant) {
                interner.share(grant);
            }
        }
        Received::Unreadable { .. } => {}
    }
}

/// The grants that the log has and this version cannot read: they permit nothing, but the digest counts them.
#[derive(Default)]
pub(super) struct Unreadable {
    grants: HashMap<GrantId, Revision>,
    digest: Digest,
}

impl Unreadable {
    /// Their share of the table's digest.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// The readable grants of a snapshot; the others replace what was remembered.
    pub(super) fn sift(&mut self, received: Vec<Received>) -> Result<Vec<Arc<Grant>>, Fault> {
        *self = Self::default();
        let mut grants = Vec::with_capacity(received.len());
        for received in received {
            grants.extend(self.keep(received)?);
        }
        Ok(grants)
    }

    /// The delta without the changes that concern unreadable grants.
    pub(super) fn sift_delta(&mut self, whole: WholeDelta) -> Result<Delta, Fault> {
        let mut changes = Vec::with_capacity(whole.changes.len());
        for change in whole.changes {
            match change {
                ReceivedChange::Issued(received) => changes.extend(self.keep(received)?.map(Change::Issued)),
                ReceivedChange::Ended { grant, cause, at } => match self.grants.remove(&grant) {
                    Some(revision) => self.digest.remove(grant, revision),
                    None => changes.push(Change::Ended { grant, cause, at }),
                },
            }
        }
        Ok(Delta { revision: whole.revision, changes })
    }

    fn keep(&mut self, received: Received) -> Result<Option<Arc<Grant>>, Fault> {
        match received {
            Received::Readable(grant) => Ok(Some(grant)),
            Received::Unreadable { id, revision } => {
                if self.grants.len() >= MAX_UNREADABLE {
                    return Err(Fault::Protocol("too many grants that this version cannot read"));
                }
                if self.grants.insert(id, revision).is_none() {
                    self.digest.add(id, revision);
                }
                Ok(None)
            }
        }
    }
}
