//! The decision: does a live grant of this principal permit this request now?

use super::cell::Cell;
use super::table::GrantSet;
use super::verdict::{Denial, Verdict};
use super::view::View;
use crate::model::{DenyReason, Time};
use std::net::IpAddr;

/// What is asked, beyond who asks (the [`GrantSet`] is the caller's).
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The service as named in scopes.
    pub service: &'a str,
    /// The request.
    pub view: &'a View<'a>,
    /// The caller's address.
    pub source: IpAddr,
}

/// Decides a request. Synchronous, allocates nothing.
pub fn decide(set: &GrantSet, request: &Request<'_>, now: Time) -> Verdict {
    let _ = (set, request, now);
    Verdict::Deny(Denial::of(DenyReason::NoGrant))
}

/// Decides a request again after admission found a limit of the preferred grant used up: only grants that come after `refused` in
/// the order of preference count. Report the [`Denial::best`] of this one and of `limit` if nothing permits.
pub fn decide_after(set: &GrantSet, request: &Request<'_>, now: Time, refused: &Cell) -> Verdict {
    let _ = refused;
    decide(set, request, now)
}
