//! What the decision says. A [`Permit`] is a value that the next step consumes: only [`super::decide`](mod@super::decide) makes
//! one, nobody copies one, and without one nothing is admitted.

use super::cell::Cell;
use crate::model::{DenyReason, GrantId};
use std::sync::Arc;

/// Permit or deny of one request.
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// A live grant permits it.
    Permit(Permit),
    /// None does.
    Deny(Denial),
}

/// The proof that a live grant permitted one request at one point in time. Consumed by admission.
///
/// It cannot be made outside of the decision:
///
/// ```compile_fail
/// fn forge(cell: std::sync::Arc<jitgate::access::Cell>) -> jitgate::access::Permit {
///     jitgate::access::Permit { cell, attendance: false }
/// }
/// ```
///
/// nor by the constructor that the decision uses:
///
/// ```compile_fail
/// fn forge(cell: std::sync::Arc<jitgate::access::Cell>) -> jitgate::access::Permit {
///     jitgate::access::Permit::new(cell)
/// }
/// ```
///
/// nor used twice:
///
/// ```compile_fail
/// fn twice(permit: jitgate::access::Permit) -> [jitgate::access::Permit; 2] {
///     [permit.clone(), permit]
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Permit {
    cell: Arc<Cell>,
    attendance: bool,
}

impl Permit {
    pub(in crate::access) fn new(cell: Arc<Cell>) -> Self {
        Self { cell, attendance: false }
    }

    pub(in crate::access) fn attendance(cell: Arc<Cell>) -> Self {
        Self { cell, attendance: true }
    }

    /// Whether it permits to be there and nothing else: its admission takes nothing of the grant's limits, and nothing that happens
    /// under it is activity.
    #[must_use]
    pub fn is_attendance(&self) -> bool {
        self.attendance
    }

    /// The grant that permits.
    #[must_use]
    pub fn cell(&self) -> &Arc<Cell> {
        &self.cell
    }

    /// Consumes the permit: what admission goes on with.
    #[must_use]
    pub fn into_cell(self) -> Arc<Cell> {
        self.cell
    }
}

/// Why no grant permits, as the best of all reasons (the greatest [`DenyReason`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// The reason to report.
    pub reason: DenyReason,
    /// The grant that came nearest, for the audit trail; none where no grant matched the request.
    pub nearest: Option<GrantId>,
}

impl Denial {
    /// A denial that no grant had a part in.
    #[must_use]
    pub fn of(reason: DenyReason) -> Self {
        Self { reason, nearest: None }
    }

    /// The one to report of two: the greater reason, the first where they are equal.
    #[must_use]
    pub fn best(self, other: Self) -> Self {
        if other.reason > self.reason { other } else { self }
    }
}
