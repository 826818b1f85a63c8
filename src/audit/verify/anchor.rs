//! What single lines are proved against: the largest checkpoint that is believed, if it goes on from every other one.
//!
//! The largest alone is not enough. As a rule it is the one beside the trail, which nobody else has signed: whoever holds the key there
//! can rewrite a line, make the tiles anew and sign for one line more. That the others are its beginning is what they cannot make.

use super::{Trusted, Wrong};
use crate::notary::Store;
use crate::tlog::proof::{self, check_consistency, check_inclusion, consistency, inclusion};
use crate::tlog::{Checkpoint, Hash, TileHashes};

/// A proxy that runs may replace tiles while they are read.
const TRIES: u32 = 3;

/// See the head of this file.
pub(super) struct Anchor<'a> {
    /// What lines are proved against.
    pub(super) largest: &'a Trusted,
    /// One for each of the others that it does not go on from.
    pub(super) contradicted: Vec<Wrong>,
}

impl<'a> Anchor<'a> {
    /// `None` where nothing is trusted.
    pub(super) fn of(store: &Store, trusted: &'a [Trusted]) -> Option<Self> {
        let largest = trusted.iter().max_by_key(|trusted| trusted.checkpoint.size)?;
        let Checkpoint { size, root, .. } = &largest.checkpoint;
        let wrong = |trusted: &Trusted| match goes_on(store, &trusted.checkpoint, (*size, root)) {
            Some(true) => None,
            Some(false) => Some(fork(trusted)),
            None => Some(Wrong::Unproved { line: trusted.checkpoint.size }),
        };
        Some(Self { largest, contradicted: trusted.iter().filter_map(wrong).collect() })
    }

    /// Whether all of them vouch for this line, as far as they go, by its own proof out of the tiles.
    pub(super) fn proves(&self, store: &Store, seq: u64, leaf: &Hash) -> bool {
        let Checkpoint { size, root, .. } = &self.largest.checkpoint;
        let Some(index) = seq.checked_sub(1) else { return false };
        let path = inclusion(&TileHashes::new(store, *size), index, *size).ok().flatten();
        self.contradicted.is_empty()
            && path.is_some_and(|path| check_inclusion(&path, leaf, index, *size, root).is_ok())
    }
}

pub(super) fn fork(trusted: &Trusted) -> Wrong {
    Wrong::Fork { size: trusted.checkpoint.size, checkpoint: trusted.name.clone() }
}

/// Whether the tree of this size and root goes on from what `known` vouches for; `None`: its tiles cannot say.
pub(super) fn goes_on(store: &Store, known: &Checkpoint, (size, root): (u64, &Hash)) -> Option<bool> {
    (0..TRIES).find_map(|_| goes_on_once(store, known, (size, root)))
}

fn goes_on_once(store: &Store, known: &Checkpoint, (size, root): (u64, &Hash)) -> Option<bool> {
    let tiles = TileHashes::new(store, size);
    let path = consistency(&tiles, known.size, size).ok().flatten()?;
    if check_consistency(&path, (known.size, &known.root), (size, root)).is_ok() {
        return Some(true);
    }
    if known.size == size {
        return Some(false);
    }
    // Those of a fork lead from its own beginning to its own root, damaged ones nowhere.
    let own = proof::root(&TileHashes::new(store, known.size), known.size).ok().flatten()?;
    check_consistency(&path, (known.size, &own), (size, root)).is_ok().then_some(false)
}
