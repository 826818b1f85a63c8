//! The decision: does a live grant of this principal permit this request now? Pure, synchronous, allocates nothing.
//!
//! # Which grant permits
//!
//! Where several grants permit, the first in this order is chosen: those without a limit on uses or bytes (they cost nothing to
//! use), then the one that lives longest, then the lowest id.
//!
//! # What is reported where none does
//!
//! The greatest [`DenyReason`] of the grants that match the request but for the reason itself. With `jitgate-task`, grants of
//! other tasks count as if they did not exist; with a token, so do all grants but the one that it names. A grant that was narrowed matches what its own scope and each scope that it was
//! narrowed from permit.
//!
//! | reason | a grant of the principal that matches service, action, path and query … |
//! |---|---|
//! | `token_invalid` | … where the service demands its user's token, and the token does not hold or names another user than the grant |
//! | `token_required` | demands a token, or the service does (its own, or its user's), and there is none |
//! | `limit` | has ended because its bytes were used up |
//! | `condition` | passes a ceiling of this proxy, or its conditions do not hold |
//! | `not_yet_valid` | has a window that is not open yet |
//! | `expired` | has a window that is over, or ended because it was not used |
//! | `revoked` | was ended in another way: revoked, its task is over, superseded |
//! | `out_of_scope` | … does not exist, but one names the service, live or ended |
//! | `no_grant` | … does not exist, nor one that names the service |
//!
//! Only grants of the principal are looked at, so that a stranger gets `no_grant` whatever exists (law 11).

use super::cell::Cell;
use super::index::GrantSet;
use super::probe::Probe;
use super::proof::UserProof;
use super::rules::{Rule, Shapes};
use super::verdict::{Denial, Permit, Verdict};
use super::view::View;
use crate::model::grant::Conditions;
use crate::model::{DenyReason, EndCause, GrantId, McpCall, Recording, Time};
use std::net::IpAddr;

/// What is asked, beyond who asks (the [`GrantSet`] is the caller's).
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The service as named in scopes.
    pub service: &'a str,
    /// The request.
    pub view: &'a View<'a>,
    /// What the body asks for, at a service that speaks MCP. With it only `mcp` permissions are compared, and never the method and
    /// path of the view; without it they permit nothing.
    pub call: Option<&'a McpCall<'a>>,
    /// The one grant that may be attended, where a message belongs to what was called under it; no other counts. It is no token.
    pub only: Option<GrantId>,
    /// The caller's address.
    pub source: IpAddr,
    /// The grant that a verified token of this caller names: no other counts. A token narrows; it permits nothing.
    pub token: Option<GrantId>,
    /// Whether the service demands a token, whatever the grants say.
    pub token_required: bool,
    /// The human behind the request, where the service demands to know.
    pub user: UserProof<'a>,
}

/// Decides a request at `now`, control time.
pub fn decide(set: &GrantSet, request: &Request<'_>, now: Time) -> Verdict {
    scan(set, request, now, 0)
}

/// Decides a request again after admission found a limit of the preferred grant used up: only grants that come after `refused` in
/// the order of preference count. Where it denies, report the [`Denial::best`] of its denial and [`DenyReason::Limit`].
///
/// `set` may be a newer one: the order of preference is the same in each.
pub fn decide_after(set: &GrantSet, request: &Request<'_>, now: Time, refused: &Cell) -> Verdict {
    scan(set, request, now, set.after(refused.rank()))
}

/// Whether the caller may be here at all, for what carries no privilege at a service that speaks MCP (its handshake, lists that show
/// what is permitted, streams that stay open): a live grant has an `mcp` permission for the service. `call` is not looked at. The
/// permit is an attendance ([`Permit::is_attendance`]). The reason is `no_grant` if no grant, live or ended, has such a permission.
pub fn attend(set: &GrantSet, request: &Request<'_>, now: Time) -> Verdict {
    attend_recorded(set, request, now, Recording::Full)
}

/// The same where no more than `most` is recorded: grants that demand more count as if they did not exist.
pub fn attend_recorded(set: &GrantSet, request: &Request<'_>, now: Time, most: Recording) -> Verdict {
    let mut denial = None;
    let rules = set.service(request.service).into_iter().flat_map(|shapes| shapes.attended());
    for rule in rules {
        let Some((cell, end)) = set.member(rule.member) else { continue };
        if cell.recording() > most || !counts(cell, request) || !cell.attends_within(request.service) {
            continue;
        }
        match obstacle(cell, end, true, request, now) {
            None => return Verdict::Permit(Permit::attendance(std::sync::Arc::clone(cell))),
            Some(reason) => {
                let found = Denial { reason, nearest: Some(cell.id()) };
                denial = Some(denial.map_or(found, |known: Denial| known.best(found)));
            }
        }
    }
    Verdict::Deny(denial.unwrap_or(Denial::of(DenyReason::NoGrant)))
}

/// Whether a live grant permits the request's call with some arguments, as far as each scope alone can say.
#[must_use]
pub fn shows(set: &GrantSet, request: &Request<'_>, now: Time) -> bool {
    shown(set, request, now, |_| true)
}

/// Whether [`shows`] holds of a grant that is not known to be used up: what a list shows.
#[must_use]
pub fn offers(set: &GrantSet, request: &Request<'_>, now: Time) -> bool {
    shown(set, request, now, |cell| !cell.entry.is_used_up(cell.limits()))
}

fn shown(set: &GrantSet, request: &Request<'_>, now: Time, by: impl Fn(&Cell) -> bool) -> bool {
    let Some((shapes, probe)) = set.service(request.service).zip(set.probe_shown(request)) else {
        return false;
    };
    let may_pass = set.may_pass(request);
    shapes.candidates(&probe).flatten().any(|rule| {
        matching(set, rule, request, &probe)
            .is_some_and(|(cell, end)| obstacle(cell, end, may_pass, request, now).is_none() && by(cell))
    })
}

fn scan(set: &GrantSet, request: &Request<'_>, now: Time, from: u32) -> Verdict {
    let Some(shapes) = set.service(request.service) else {
        return Verdict::Deny(Denial::of(DenyReason::NoGrant));
    };
    let probe = set.probe(request);
    let may_pass = set.may_pass(request);
    let mut best = None;
    let mut denial: Option<Denial> = None;
    for candidates in shapes.candidates(&probe) {
        for rule in candidates.skip_while(|rule| rule.member < from) {
            if best.is_some_and(|(member, _)| rule.member >= member) {
                break;
            }
            let Some((cell, end)) = matching(set, rule, request, &probe) else { continue };
            match obstacle(cell, end, may_pass, request, now) {
                None => best = Some((rule.member, cell)),
                Some(reason) => {
                    let found = Denial { reason, nearest: Some(cell.id()) };
                    denial = Some(denial.map_or(found, |known| known.best(found)));
                }
            }
        }
    }
    match best {
        Some((_, cell)) => Verdict::Permit(Permit::new(std::sync::Arc::clone(cell))),
        None => Verdict::Deny(denial.unwrap_or_else(|| unmatched(set, &shapes, request))),
    }
}

/// The grant of a rule, if it is of the task asked for, the rule matches, and so does what the grant was narrowed from.
fn matching<'s>(
    set: &'s GrantSet,
    rule: &Rule,
    request: &Request<'_>,
    probe: &Probe<'_>,
) -> Option<(&'s std::sync::Arc<Cell>, Option<EndCause>)> {
    set.member(rule.member).filter(|(cell, _)| {
        counts(cell, request) && rule.matches(cell.scope(), probe) && cell.is_within(request.service, probe)
    })
}

/// Whether a grant counts at all: it is of the task asked for, and the one that the token names.
fn counts(cell: &Cell, request: &Request<'_>) -> bool {
    request.view.task().is_none_or(|task| task == cell.task().as_str())
        && request.token.is_none_or(|grant| grant == cell.id())
        && request.only.is_none_or(|grant| grant == cell.id())
}

/// What keeps a matching grant from permitting. Its limits are not looked at: they are taken at admission.
fn obstacle(
    cell: &Cell,
    end: Option<EndCause>,
    may_pass: bool,
    request: &Request<'_>,
    now: Time,
) -> Option<DenyReason> {
    match end {
        Some(EndCause::Limit) => return Some(DenyReason::Limit),
        Some(EndCause::Expired | EndCause::Idle) => return Some(DenyReason::Expired),
        Some(EndCause::Revoked | EndCause::TaskDone | EndCause::TaskFailed | EndCause::Superseded) => {
            return Some(DenyReason::Revoked);
        }
        None => {}
    }
    if now >= cell.expires_at() {
        Some(DenyReason::Expired)
    } else if now < cell.not_before() {
        Some(DenyReason::NotYetValid)
    } else if cell.is_barred()
        || !may_pass
        || !cell.conditions().is_none_or(|conditions| conditions.hold(now, request.source))
    {
        Some(DenyReason::Condition)
    } else if request.token.is_none()
        && (request.token_required || cell.conditions().is_some_and(Conditions::token_required))
    {
        Some(DenyReason::TokenRequired)
    } else {
        request.user.obstacle(cell)
    }
}

/// No grant matches: is there one that names the service at all?
fn unmatched(set: &GrantSet, shapes: &Shapes<'_>, request: &Request<'_>) -> Denial {
    let counted = |rule: &Rule| set.member(rule.member).is_some_and(|(cell, _)| counts(cell, request));
    let named = shapes.rules().any(counted);
    Denial::of(if named { DenyReason::OutOfScope } else { DenyReason::NoGrant })
}
