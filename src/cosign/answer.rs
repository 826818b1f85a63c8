//! What the answer of a witness means. Pure.

use std::time::Duration;

/// What was answered, as tlog-witness says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// 200: signature lines.
    Signed(String),
    /// 409: the size of the last checkpoint that it signed, where it says that.
    Conflict(Option<u64>),
    /// 422: what it has signed is not the beginning of what it was shown.
    Unproved,
    /// Anything else that will not change by itself soon.
    Refused(&'static str),
    /// It is away or busy.
    Later {
        /// Why.
        why: String,
        /// How long it asks us to wait.
        after: Option<Duration>,
    },
}

/// What it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// From which size it was shown that the log goes on.
    pub(super) old: u64,
    /// The size of the checkpoint.
    pub(super) size: u64,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Check these signature lines.
    Check(String),
    /// Ask again, from this size.
    From(u64),
    /// Alarm: it knows another log than ours.
    Dispute(Dispute),
    /// Try again after a while.
    Wait {
        /// Why.
        why: String,
        /// How long it asks us to wait.
        after: Option<Duration>,
    },
    /// Somebody has to do something; try again slowly.
    Stuck(String),
}

/// What a witness knows that contradicts our log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Dispute {
    /// More than we have.
    #[error(
        "it has signed for {has} lines, and the log has {ours}: lines were removed, or it was rolled back to a backup"
    )]
    RolledBack {
        /// What it has signed for.
        has: u64,
        /// What there is.
        ours: u64,
    },
    /// Something else.
    #[error(
        "what it has signed for, {size} lines, is not the beginning of this log: lines were changed, or it is another log of the same name"
    )]
    Forked {
        /// How many.
        size: u64,
    },
}

impl Answer {
    /// What to do about the answer to `asked`, while the newest checkpoint vouches for `ours` lines.
    pub(super) fn next(self, asked: Asked, ours: u64) -> Next {
        match self {
            Self::Signed(lines) => Next::Check(lines),
            Self::Conflict(Some(has)) if has > ours => Next::Dispute(Dispute::RolledBack { has, ours }),
            // It was asked from there, and there is nothing to prove: this says that the root is another one. A size is not owed then.
            Self::Conflict(has) if asked.old == asked.size && has.is_none_or(|has| has == asked.old) => {
                Next::Dispute(Dispute::Forked { size: asked.size })
            }
            Self::Conflict(Some(has)) if has == asked.old => Next::Stuck(format!(
                "it does not take a checkpoint from {has} lines on, and says that it has {has}"
            )),
            Self::Conflict(Some(has)) => Next::From(has),
            Self::Conflict(None) => {
                Next::Stuck("it answered 409 without saying which size it has".to_owned())
            }
            Self::Unproved if asked.old > 0 => Next::Dispute(Dispute::Forked { size: asked.old }),
            Self::Unproved => {
                Next::Stuck("it does not take the first checkpoint that it was shown".to_owned())
            }
            Self::Refused(why) => Next::Stuck(why.to_owned()),
            Self::Later { why, after } => Next::Wait { why, after },
        }
    }
}
