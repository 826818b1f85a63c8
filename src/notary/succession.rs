//! What a checkpoint is beside the one before, to whoever has kept that one.

use crate::model::TrailFault;
use crate::tlog::Hash;
use crate::tlog::proof::check_consistency;
use std::cmp::Ordering;

/// What is known of a log: its key, its size, its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept<'a> {
    /// The key that signs for it.
    pub key: &'a str,
    /// How many leaves it has.
    pub size: u64,
    /// The root over them.
    pub root: &'a Hash,
}

/// What a checkpoint is beside the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It says the same.
    Same,
    /// It goes on from there.
    GoesOn,
    /// Its proof is for another one than was kept: nobody can say.
    Unproved,
    /// It contradicts it.
    Contradicts(TrailFault),
}

/// Judges `head`, with the `proof` that it goes on from `since` leaves, by the one `before`.
#[must_use]
pub fn judge(before: Kept<'_>, head: Kept<'_>, since: u64, proof: &[Hash]) -> Judged {
    if head.key != before.key {
        return Judged::Contradicts(TrailFault::Key);
    }
    match head.size.cmp(&before.size) {
        Ordering::Less => Judged::Contradicts(TrailFault::RolledBack),
        Ordering::Equal if head.root == before.root => Judged::Same,
        Ordering::Equal => Judged::Contradicts(TrailFault::Forked),
        Ordering::Greater if since != before.size => Judged::Unproved,
        Ordering::Greater => {
            match check_consistency(proof, (before.size, before.root), (head.size, head.root)) {
                Ok(()) => Judged::GoesOn,
                Err(_) => Judged::Contradicts(TrailFault::Forked),
            }
        }
    }
}
