//! A trail that begins later than line 1: whether its own retention removed what is missing, and whether the rest goes on from there.
//!
//! What is gone is known by its tiles alone. They are believed when the lines that are left lead from them to the root of a checkpoint.

use super::{Report, Wrong};
use crate::audit::removal::{Policy, Recorded};
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
