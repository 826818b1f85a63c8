//! The report on how access is used: what was granted and not needed, how long people waited, who renews again and again, which
//! reviews are open.
//!
//! Pure: the ledger, what trails showed, and the time go in. A time range takes in what was asked for and granted in it.

use super::ledger::{Act, Asked, Dispute, Granted, Ledger, Outcome, Reviewed};
use super::source::{Log, Trail};
use super::story::Subject;
use super::unused::{Unsure, Unused};
use crate::model::event::Actor;
use crate::model::{GrantId, PolicyOutcome, SpiffeId, TaskId, Time};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So many in a row are a series.
const SERIES: usize = 3;

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct Review {
    pub(super) title: String,
    pub(super) at: Time,
    pub(super) subject: Subject,
    /// What is not in it, in words; empty if it has everything.
    pub(super) missing: Vec<String>,
    pub(super) control: Log,
    pub(super) trails: Vec<Trail>,
    /// Proxies that once handed over a checkpoint that contradicts the one before.
    pub(super) disputes: Vec<Act<Dispute>>,
    pub(super) counts: Counts,
    pub(super) unused: Vec<Left>,
    /// Grants of which it cannot be told what was used.
    pub(super) unsure: Vec<Unsure>,
    pub(super) approval_times: Vec<Waits>,
    pub(super) renewals: Vec<Series>,
    pub(super) open_reviews: Vec<Reviewed>,
}

/// How many of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) requests: u64,
    /// Without anybody's approval.
    pub(super) granted_at_once: u64,
    pub(super) granted_by_approval: u64,
    /// By a grant that was live already.
    pub(super) satisfied: u64,
    pub(super) denied_by_policy: u64,
    pub(super) denied_by_people: u64,
    pub(super) cancelled: u64,
    /// Nobody decided in time.
    pub(super) lapsed: u64,
    pub(super) waiting: u64,
    pub(super) emergencies: u64,
    pub(super) grants: u64,
    /// Without a request.
    pub(super) by_operators: u64,
    pub(super) revoked: u64,
    pub(super) reviews_not_justified: u64,
}

/// What was left unused of a grant.
#[derive(Debug, Serialize)]
pub(super) struct Left {
    #[serde(flatten)]
    pub(super) unused: Unused,
    pub(super) principal: SpiffeId,
    pub(super) task: TaskId,
    pub(super) granted_at: Time,
    /// It may still be used.
    pub(super) live: bool,
    /// Requests under it that proxies counted, if that is logged.
    pub(super) requests: Option<u64>,
}

/// How long decisions of people took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Waits {
    /// `all`, `service` or `policy`.
    pub(super) by: &'static str,
    pub(super) name: String,
    pub(super) decisions: usize,
    pub(super) median_seconds: f64,
    pub(super) p95_seconds: f64,
    pub(super) longest_seconds: f64,
}

/// The same access, granted again and again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Series {
    pub(super) principal: SpiffeId,
    pub(super) permissions: Vec<String>,
    pub(super) grants: Vec<GrantId>,
    pub(super) tasks: BTreeSet<TaskId>,
    pub(super) from: Time,
    /// When the last ended; nothing while it is live.
    pub(super) to: Option<Time>,
    /// For how long there was access, in all.
    pub(super) seconds: f64,
}

/// The grants that were issued in the subject's time.
pub(super) fn grants<'a>(ledger: &'a Ledger, subject: &Subject) -> Vec<&'a Granted> {
    let all = ledger.grants.values();
    all.filter(|granted| subject.overlaps(granted.issued_at, Some(granted.issued_at))).collect()
}

/// The requests that were made in it.
fn requests<'a>(ledger: &'a Ledger, subject: &Subject) -> Vec<&'a Asked> {
    let all = ledger.requests.values();
    let at = |asked: &Asked| asked.request.requested_at;
    all.filter(|asked| subject.overlaps(at(asked), Some(at(asked)))).collect()
}

/// Counts.
pub(super) fn counts(ledger: &Ledger, subject: &Subject) -> Counts {
    let mut counts = Counts::default();
    for asked in requests(ledger, subject) {
        counts.requests += 1;
        counts.emergencies += u64::from(asked.request.emergency);
        let one = match asked.settled.as_ref().map(|settled| (&settled.what, &settled.by)) {
            None => &mut counts.waiting,
            Some((Outcome::Granted, _)) if asked.approvals.is_empty() => &mut counts.granted_at_once,
            Some((Outcome::Granted, _)) => &mut counts.granted_by_approval,
            Some((Outcome::Satisfied { .. }, _)) => &mut counts.satisfied,
            Some((Outcome::Denied { .. }, Actor::System)) => &mut counts.denied_by_policy,
            Some((Outcome::Denied { .. }, Actor::Identity(_))) => &mut counts.denied_by_people,
            Some((Outcome::Cancelled { .. }, _)) => &mut counts.cancelled,
            Some((Outcome::Lapsed, _)) => &mut counts.lapsed,
        };
        *one += 1;
    }
    for granted in grants(ledger, subject) {
        counts.grants += 1;
        let request = granted.grant.lineage.as_ref().and_then(|lineage| lineage.request);
        counts.by_operators += u64::from(request.is_none());
        counts.revoked += u64::from(granted.ended.as_ref().is_some_and(|end| end.what.revocation.is_some()));
    }
    let closed = ledger.reviews.values().filter_map(|review| review.closed.as_ref());
    let unjustified =
        closed.filter(|closed| !closed.what.justified && subject.overlaps(closed.at, Some(closed.at)));
    counts.reviews_not_justified = u64::try_from(unjustified.count()).unwrap_or(u64::MAX);
    counts
}

/// What was left unused, with whose it was.
pub(super) fn left(ledger: &Ledger, unused: Vec<Unused>, now: Time) -> Vec<Left> {
    let with = |unused: Unused| {
        let granted = ledger.grants.get(&unused.grant)?;
        Some(Left {
            principal: granted.grant.principal.clone(),
            task: granted.grant.task.clone(),
            granted_at: granted.issued_at,
            live: granted.over(now).is_none(),
            requests: granted.requests(),
            unused,
        })
    };
    unused.into_iter().filter_map(with).collect()
}

/// How long decisions of people took: over all, by service, by the policies that determined that people decide.
pub(super) fn approval_times(ledger: &Ledger, subject: &Subject) -> Vec<Waits> {
    let mut groups: BTreeMap<(usize, String), Vec<Duration>> = BTreeMap::new();
    for asked in requests(ledger, subject) {
        let Some(settled) = asked.settled.as_ref() else { continue };
        let by_people = match (&settled.what, &settled.by) {
            (Outcome::Granted, _) => !asked.approvals.is_empty(),
            (Outcome::Denied { .. }, Actor::Identity(_)) => true,
            (Outcome::Denied { .. }, Actor::System)
            | (Outcome::Satisfied { .. } | Outcome::Cancelled { .. } | Outcome::Lapsed, _) => false,
        };
        if !by_people {
            continue;
        }
        let took = settled.at.since(asked.request.requested_at);
        groups.entry((0, String::new())).or_default().push(took);
        let permissions = asked.request.scope.permissions();
        let services: BTreeSet<_> =
            permissions.iter().flat_map(|permission| permission.locations()).collect();
        for service in services {
            groups.entry((1, service.to_string())).or_default().push(took);
        }
        groups.entry((2, policies(asked))).or_default().push(took);
    }
    let waits = |((group, name), mut took): ((usize, String), Vec<Duration>)| {
        took.sort_unstable();
        Waits {
            by: ["all", "service", "policy"].get(group).copied().unwrap_or_default(),
            name,
            decisions: took.len(),
            median_seconds: rank(&took, 50),
            p95_seconds: rank(&took, 95),
            longest_seconds: rank(&took, 100),
        }
    };
    groups.into_iter().map(waits).collect()
}

/// The policies that made people decide.
fn policies(asked: &Asked) -> String {
    let evaluations = asked.evaluations.iter().rev();
    let by_people = evaluations.filter(|said| match &said.what.outcome {
        PolicyOutcome::Permitted(terms) => !terms.stages.is_empty(),
        PolicyOutcome::Denied { .. } => false,
    });
    match by_people.map(|said| said.what.determining.join(", ")).next() {
        Some(named) if !named.is_empty() => named,
        Some(_) | None => "(no policy)".to_owned(),
    }
}

/// The value that so many of a hundred do not exceed (nearest rank), in seconds.
fn rank(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(0.0, Duration::as_secs_f64)
}

/// The same permissions, granted to the same principal at least three times, each within `gap` of the end of the one before.
pub(super) fn renewals(ledger: &Ledger, subject: &Subject, gap: Duration, now: Time) -> Vec<Series> {
    let mut same: BTreeMap<(&SpiffeId, String), Vec<&Granted>> = BTreeMap::new();
    for granted in grants(ledger, subject) {
        let scope = granted.grant.scope.canonical_texts();
        let key: BTreeSet<String> = scope.into_iter().collect();
        let key = key.into_iter().collect::<Vec<_>>().join(" ");
        same.entry((&granted.grant.principal, key)).or_default().push(granted);
    }
    let mut found = Vec::new();
    for mut all in same.into_values() {
        all.sort_by_key(|granted| (granted.grant.not_before, granted.grant.id));
        let mut run: Vec<&Granted> = Vec::new();
        let mut end = Time::from_micros(i64::MIN);
        for granted in all {
            if granted.grant.not_before > end.plus(gap) {
                found.extend(series(&run, now));
                run.clear();
            }
            end = end.max(granted.over(now).unwrap_or(now));
            run.push(granted);
        }
        found.extend(series(&run, now));
    }
    found.sort_by(|a, b| b.grants.len().cmp(&a.grants.len()).then(a.from.cmp(&b.from)));
    found
}

fn series(run: &[&Granted], now: Time) -> Option<Series> {
    let first = run.first().filter(|_| run.len() >= SERIES)?;
    let over = |granted: &&Granted| granted.over(now);
    let live = run.iter().any(|granted| over(granted).is_none());
    // Grants may overlap; time counts once.
    let (mut total, mut until) = (Duration::ZERO, Time::from_micros(i64::MIN));
    for granted in run {
        let (begin, end) = (granted.grant.not_before.max(until), over(granted).unwrap_or(now));
        total += end.since(begin);
        until = until.max(end);
    }
    Some(Series {
        principal: first.grant.principal.clone(),
        permissions: first.grant.scope.canonical_texts(),
        grants: run.iter().map(|granted| granted.grant.id).collect(),
        tasks: run.iter().map(|granted| granted.grant.task.clone()).collect(),
        from: first.grant.not_before,
        to: if live { None } else { Some(until) },
        seconds: total.as_secs_f64(),
    })
}

/// Reviews that nobody has closed, the one that is due first at the beginning. Of those it does not matter when they were opened.
pub(super) fn open_reviews(ledger: &mut Ledger) -> Vec<Reviewed> {
    let all = std::mem::take(&mut ledger.reviews);
    let mut open: Vec<_> = all.into_values().filter(|review| review.closed.is_none()).collect();
    open.sort_by_key(|review| review.due);
    open
}
