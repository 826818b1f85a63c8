//! What changes a proxy's table: the difference between two revisions of the log, as one proxy needs to know it.

use crate::model::{EndCause, Grant, GrantId, Revision, Time};
use std::sync::Arc;

/// One change of the set of grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A grant was issued.
    Issued(Arc<Grant>),
    /// A grant ended before its window closed.
    Ended {
        /// Which.
        grant: GrantId,
        /// Why.
        cause: EndCause,
        /// When the control plane accepted it, control time.
        at: Time,
    },
}

/// All changes up to `revision` since the table's revision. Deltas may be empty: they still move the revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The revision that the table has after it.
    pub revision: Revision,
    /// The changes, in log order.
    pub changes: Vec<Change>,
}
