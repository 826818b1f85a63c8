//! Why a proxy gives up a connection to the control plane.

use crate::model::{Epoch, LogId, Revision};
use crate::wire::convert::WireError;

/// Why the proxy ends the connection itself. It keeps its table, and enforces from it until its lease is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The connection was not made in time.
    #[error("the control plane did not answer in time")]
    ConnectTimeout,
    /// Nothing was heard, or pings went unanswered, for too long.
    #[error("the control plane went silent")]
    Silent,
    /// A delta does not follow the table's revision: it is replaced by a snapshot.
    #[error("a change after revision {after} does not follow the table's {held}: asking for a snapshot")]
    Gap {
        /// The table's revision.
        held: Revision,
        /// The one that the delta follows.
        after: Revision,
    },
    /// The table is not what the control plane says it must be: it is replaced by a snapshot.
    #[error("the table at revision {0} has silently diverged: asking for a snapshot")]
    Diverged(Revision),
    /// The table refused what the replica told it; a defect of ours. It is replaced by a snapshot.
    #[error("the table refused a change: asking for a snapshot")]
    TableRefused,
    /// The log has lost events that this proxy has applied.
    #[error(
        "the control plane's log stands at revision {offered}, behind this proxy's {held}: if its store was \
         restored from a backup, start it once with --restored"
    )]
    Behind {
        /// The table's revision.
        held: Revision,
        /// The control plane's.
        offered: Revision,
    },
    /// Another log than the one followed so far.
    #[error(
        "the control plane serves the log {offered}, this proxy follows {held}: restart the proxy if that is meant"
    )]
    OtherLog {
        /// The one followed.
        held: LogId,
        /// The one offered.
        offered: LogId,
    },
    /// An earlier epoch than the one followed so far.
    #[error("the control plane is in epoch {}, this proxy in {}: an old replica of it still runs", offered.0, held.0)]
    OldEpoch {
        /// The one followed.
        held: Epoch,
        /// The one offered.
        offered: Epoch,
    },
    /// A message that cannot come here, or cannot be read.
    #[error("the control plane broke the protocol: {0}")]
    Protocol(&'static str),
    /// A message that does not convert.
    #[error("a message of the control plane is refused")]
    Wire(#[from] WireError),
}

impl Fault {
    /// Whether only a snapshot helps.
    pub(super) fn needs_snapshot(&self) -> bool {
        match self {
            Self::Gap { .. } | Self::Diverged(_) | Self::TableRefused => true,
            Self::ConnectTimeout
            | Self::Silent
            | Self::Behind { .. }
            | Self::OtherLog { .. }
            | Self::OldEpoch { .. }
            | Self::Protocol(_)
            | Self::Wire(_) => false,
        }
    }
}
