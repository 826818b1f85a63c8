//! What the table and the decision promise together; each file is about one of them.

mod calls;
mod decision;
mod entry;
mod reference;
mod stream;
mod table;
mod user;

use super::view::View;
use super::{Denial, Request, Table, UserProof, Verdict, decide};
use crate::config::Ceilings;
use crate::model::{Change, Delta, DenyReason, EndCause, Grant, GrantId, Revision, SpiffeId, Time};
use http::request::Parts;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Seconds after the epoch.
pub(super) fn at(seconds: i64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

pub(super) fn id(number: u64) -> GrantId {
    GrantId::from_parts(number, [0; 10])
}

pub(super) fn agent(name: &str) -> SpiffeId {
    format!("spiffe://jitgate.local/agent/{name}").parse().unwrap()
}

/// Of agent `a`, for task `T`, from 100 s to 200 s.
pub(super) fn grant(number: u64, scope: &str) -> Grant {
    Grant {
        id: id(number),
        principal: agent("a"),
        task: "T".parse().unwrap(),
        scope: scope.parse().unwrap(),
        not_before: at(100),
        expires_at: at(200),
        conditions: Default::default(),
        limits: Default::default(),
        recording: crate::model::Recording::default(),
        lineage: None,
        revision: Revision(number),
    }
}

pub(super) fn no_ceilings() -> Ceilings {
    Ceilings { max_ttl: "8h".parse().unwrap(), trust_domains: None, methods: None, tools: None }
}

pub(super) fn issued(grant: Grant) -> Change {
    Change::Issued(Arc::new(grant))
}

pub(super) fn ended(number: u64, cause: EndCause) -> Change {
    Change::Ended { grant: id(number), cause, at: at(0) }
}

pub(super) fn delta(revision: u64, changes: Vec<Change>) -> Delta {
    Delta { revision: Revision(revision), changes }
}

pub(super) fn table(grants: Vec<Grant>) -> Table {
    let table = Table::new(no_ceilings());
    let ended = table.apply(&delta(1, grants.into_iter().map(issued).collect()), at(0)).unwrap();
    assert!(ended.is_empty());
    table
}

pub(super) fn parts(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = http::Request::builder().method(method).uri(path).header("host", "orders.localhost");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

/// The grant that permits, or the reason, for agent `a` at service `orders`.
pub(super) fn ask(table: &Table, request: &str, now: Time) -> Result<GrantId, DenyReason> {
    ask_with(table, request, &[], now)
}

pub(super) fn ask_with(
    table: &Table,
    request: &str,
    headers: &[(&str, &str)],
    now: Time,
) -> Result<GrantId, DenyReason> {
    let (method, path) = request.split_once(' ').unwrap();
    let parts = parts(method, path, headers);
    let view = View::of(&parts).unwrap();
    let set = table.slot(&agent("a"));
    outcome(decide(
        &set.load(),
        &Request {
            service: "orders",
            view: &view,
            call: None,
            only: None,
            source: HERE,
            token: None,
            token_required: false,
            user: UserProof::NotDemanded,
        },
        now,
    ))
    .map_err(|denial| denial.reason)
}

pub(super) fn outcome(verdict: Verdict) -> Result<GrantId, Denial> {
    match verdict {
        Verdict::Permit(permit) => Ok(permit.cell().id()),
        Verdict::Deny(denial) => Err(denial),
    }
}
