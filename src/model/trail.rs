//! How far a proxy's audit trail has come, and what can be wrong with that.

use crate::model::{ProxyName, Revision, Time};
use serde::{Deserialize, Serialize};

/// The head of a trail, as its proxy signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrailHead {
    /// By which it is verified (C2SP signed-note).
    pub key: String,
    /// How many lines it stands for.
    pub size: u64,
    /// The root of the tree over them, base64 as in the note.
    pub root: String,
    /// The signed note (C2SP tlog-checkpoint).
    pub note: String,
}

/// The newest head of a proxy's trail, kept beside the event log until that has it, or a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTrail {
    /// Whose.
    pub proxy: ProxyName,
    /// The event of this trail that the log had last: the head goes on from there. After a later one it says nothing any more.
    pub logged: Revision,
    /// When it came, control time.
    pub at: Time,
    /// The head.
    pub head: TrailHead,
}

/// Why a head contradicts the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrailFault {
    /// It is signed with another key.
    Key,
    /// It stands for fewer lines.
    RolledBack,
    /// It does not go on from there: lines that were signed for are others now.
    Forked,
}

impl TrailFault {
    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::RolledBack => "rolled_back",
            Self::Forked => "forked",
        }
    }

    /// What it means, for people.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Key => "is signed with another key than before",
            Self::RolledBack => "has fewer lines than it had signed for",
            Self::Forked => "does not go on from what it had signed for: lines were changed",
        }
    }
}
