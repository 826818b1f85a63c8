//! A trail that begins later than line 1: whether its own retention removed what is missing, and whether the rest goes on from there.
//!
//! What is gone is known by its tiles alone. They are believed when the lines that are left lead from them to the root of a checkpoint.

use super::{Report, Trusted, Wrong};
use crate::audit::removal::{Policy, Recorded};
use crate::notary::Store;
use crate::tlog::proof::{check_consistency, check_inclusion, consistency, inclusion};
use crate::tlog::{Checkpoint, Hash, TileHashes, Tree};
use std::path::Path;

/// Lines 1 to `to` are gone, as a line of the trail says, which is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Gone {
    /// The last of them.
    pub to: u64,
    /// The number of the line that says so.
    pub recorded_in: u64,
    /// Why the last of them were removed.
    pub policy: Policy,
    /// Lines up to this one were removed before `keep` had passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_to: Option<u64>,
}

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { to, recorded_in, policy, early_to } = self;
        let policy = policy.as_str();
        write!(f, "lines 1 to {to} were removed by retention (`{policy}`")?;
        if let Some(early) = early_to {
            write!(f, ", some up to line {early} before `keep` had passed")?;
        }
        write!(f, "), recorded in line {recorded_in}")
    }
}

/// Whether the largest checkpoint vouches for this line, by its own proof out of the tiles.
pub(super) fn is_proved(store: &Store, trusted: &[Trusted], seq: u64, leaf: &Hash) -> bool {
    let Some(trusted) = trusted.iter().max_by_key(|trusted| trusted.checkpoint.size) else { return false };
    let Checkpoint { size, root, .. } = &trusted.checkpoint;
    let Some(index) = seq.checked_sub(1) else { return false };
    let path = inclusion(&TileHashes::new(store, *size), index, *size).ok().flatten();
    path.is_some_and(|path| check_inclusion(&path, leaf, index, *size, root).is_ok())
}

/// Whether the tree of the lines that are gone goes on from what a checkpoint vouches for; `None`: its tiles cannot say.
pub(super) fn goes_on(store: &Store, trusted: &Trusted, begun: &Tree) -> Option<bool> {
    let (size, root) = (begun.size(), begun.root());
    let known = &trusted.checkpoint;
    if known.size == 0 || known.size == size {
        return Some(known.size == 0 || known.root == root);
    }
    let path = consistency(&TileHashes::new(store, size), known.size, size).ok().flatten()?;
    Some(check_consistency(&path, (known.size, &known.root), (size, &root)).is_ok())
}

/// Says of the lines that are missing at the beginning whether they were removed as they may be, or are a fault.
pub(super) fn beginning(report: &mut Report, missing: u64, recorded: Option<Recorded>, trail: &Path) {
    match recorded {
        Some(Recorded { line, removed }) => {
            let early = Some(removed.early().min(missing)).filter(|early| *early > 0);
            let policy = removed.policy;
            report.removed = Some(Gone { to: missing, recorded_in: line, policy, early_to: early });
        }
        // Where there is no tree to begin with, it was found on the way.
        None if missing > 0
            && !report.wrong.iter().any(|wrong| matches!(wrong, Wrong::Missing { from: 1, .. })) =>
        {
            let file = trail.to_owned();
            report.wrong.insert(0, Wrong::Missing { from: 1, to: missing, file });
        }
        None => {}
    }
}
