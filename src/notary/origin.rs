//! The names of our logs, which whoever signs and whoever checks must write alike.

use crate::model::{Epoch, SpiffeId};

/// The audit trail of a proxy: its SPIFFE ID without the scheme, and `/audit`.
#[must_use]
pub fn audit_trail(proxy: &SpiffeId) -> String {
    format!("{}/audit", proxy.bare())
}

/// The event log of a control plane: its SPIFFE ID without the scheme, `/events/` and the epoch, with which another log begins.
#[must_use]
pub fn event_log(control: &SpiffeId, epoch: Epoch) -> String {
    format!("{}/events/{}", control.bare(), epoch.0)
}
