//! The report on what was asked, decided, approved, done, and how it ended: which of all that is known belongs in it.
//!
//! Pure: the ledger, the calls and the time go in.

use super::calls::Calls;
use super::ledger::{Act, Asked, Dispute, Granted, Ledger, Reviewed, TaskEnd};
use super::source::{Log, Trail};
use crate::audit::search::{Conditions, Field};
use crate::model::{AccessRequestId, GrantId, SpiffeId, TaskId, Time};
use serde::Serialize;
use std::collections::BTreeSet;

/// Refusals that name no grant are looked for by principal, for so many of them.
const PRINCIPALS: usize = 100;

/// What a report is about; all of it holds.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Subject {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) task: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grant: Option<GrantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) principal: Option<SpiffeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Time>,
}

impl Subject {
    /// In words.
    pub(super) fn words(&self) -> String {
        let parts = [
            ("task", self.task.as_ref().map(ToString::to_string)),
            ("grant", self.grant.map(|id| id.to_string())),
            ("principal", self.principal.as_ref().map(ToString::to_string)),
            ("since", self.since.map(|time| time.to_string())),
            ("until", self.until.map(|time| time.to_string())),
        ];
        let parts = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
        parts.collect::<Vec<_>>().join(", ")
    }

    fn takes(&self, task: &TaskId, principal: &SpiffeId) -> bool {
        self.task.as_ref().is_none_or(|wanted| wanted == task)
            && self.principal.as_ref().is_none_or(|wanted| wanted == principal)
    }

    /// Whether something that went on from `begin` to `end` was in its time.
    pub(super) fn overlaps(&self, begin: Time, end: Option<Time>) -> bool {
        self.until.is_none_or(|until| begin < until)
            && self.since.is_none_or(|since| end.is_none_or(|end| end >= since))
    }

    /// The lines of a trail that are about it. Also those that are behind its time: a call that began in it may end there.
    pub(super) fn lines(&self) -> Conditions {
        let members = [
            (Field::Task, self.task.as_ref().map(ToString::to_string)),
            (Field::Grant, self.grant.map(|id| id.to_string())),
            (Field::Principal, self.principal.as_ref().map(ToString::to_string)),
        ];
        let mut all = Conditions::default();
        for (field, value) in members {
            if let Some(value) = value {
                all = all.with(field, value);
            }
        }
        all.between(self.since, None)
    }
}

/// What the log says of a subject.
#[derive(Debug, Default, Serialize)]
pub(super) struct Known {
    pub(super) requests: Vec<Asked>,
    pub(super) grants: Vec<Granted>,
    pub(super) reviews: Vec<Reviewed>,
    pub(super) tasks: Vec<Act<TaskEnd>>,
}

impl Known {
    /// What of a ledger belongs to the subject.
    pub(super) fn of(ledger: Ledger, subject: &Subject, now: Time) -> Self {
        let over = |id: &GrantId| ledger.grants.get(id).map(|granted| granted.over(now));
        let in_time = |asked: &Asked| {
            // It goes on as long as a grant of it does.
            let ends = asked.grants.iter().filter_map(over);
            let ends: Option<Vec<Time>> = ends.collect();
            let settled = asked.settled.as_ref().map(|settled| settled.at);
            let end = ends.and_then(|ends| ends.into_iter().max().max(settled)).filter(|_| settled.is_some());
            subject.overlaps(asked.request.requested_at, end)
        };
        let of = subject.grant.and_then(|id| ledger.grants.get(&id)?.grant.lineage.as_ref()?.request);
        let asked_for = |id: AccessRequestId, asked: &Asked| {
            subject.takes(&asked.request.task, &asked.request.principal)
                && subject.grant.is_none_or(|grant| of == Some(id) || asked.grants.contains(&grant))
        };
        let wanted: BTreeSet<AccessRequestId> = ledger
            .requests
            .iter()
            .filter(|(id, asked)| asked_for(**id, asked) && in_time(asked))
            .map(|(id, _)| *id)
            .collect();
        let grants: BTreeSet<GrantId> = ledger
            .grants
            .iter()
            .filter(|(id, granted)| {
                subject.grant.is_none_or(|wanted| wanted == **id)
                    && subject.takes(&granted.grant.task, &granted.grant.principal)
                    && subject.overlaps(granted.issued_at, granted.over(now))
            })
            .map(|(id, _)| *id)
            .collect();
        let tasks: BTreeSet<&TaskId> = ledger
            .grants
            .iter()
            .filter(|(id, _)| grants.contains(id))
            .map(|(_, granted)| &granted.grant.task)
            .chain(subject.task.as_ref())
            .collect();
        let ends = ledger.tasks.iter().filter(|end| tasks.contains(&end.what.task));
        let ends = ends.filter(|end| subject.overlaps(end.at, Some(end.at))).cloned().collect();
        let requests = ledger.requests.into_iter().filter(|(id, _)| wanted.contains(id));
        let reviews = ledger.reviews.into_values().filter(|review| grants.contains(&review.grant));
        Self {
            requests: requests.map(|(_, asked)| asked).collect(),
            reviews: reviews.collect(),
            tasks: ends,
            grants: ledger.grants.into_iter().filter(|(id, _)| grants.contains(id)).map(|(_, g)| g).collect(),
        }
    }

    /// Refusals of the principals of this access while it lasted: a request that no grant permits is about no grant and no task.
    pub(super) fn refusals(&self, subject: &Subject, now: Time) -> Vec<(SpiffeId, Conditions)> {
        if subject.task.is_none() && subject.grant.is_none() {
            // Then they are among the lines of the subject.
            return Vec::new();
        }
        let begins = self.grants.iter().map(|granted| granted.issued_at);
        let begins = begins.chain(self.requests.iter().map(|asked| asked.request.requested_at)).min();
        let waits = self.requests.iter().any(|asked| asked.settled.is_none());
        let ends = self.grants.iter().map(|granted| granted.over(now).unwrap_or(now));
        let ends = ends.chain(self.requests.iter().filter_map(|asked| Some(asked.settled.as_ref()?.at)));
        let (Some(begin), Some(end)) = (begins, ends.chain(waits.then_some(now)).max()) else {
            return Vec::new();
        };
        let since = subject.since.map_or(begin, |since| since.max(begin));
        // The line of a call is written when it ends, and calls that an end of access refuses come a moment later.
        let end = end.plus(std::time::Duration::from_secs(60));
        let until = subject.until.map_or(end, |until| until.min(end));
        let of = self.grants.iter().map(|granted| &granted.grant.principal);
        let of: BTreeSet<_> = of.chain(self.requests.iter().map(|asked| &asked.request.principal)).collect();
        let conditions = |principal: &SpiffeId| {
            Conditions::default()
                .with(Field::Principal, principal.as_str())
                .with(Field::Decision, "deny")
                .between(Some(since), Some(until))
        };
        of.into_iter().take(PRINCIPALS).map(|principal| (principal.clone(), conditions(principal))).collect()
    }
}

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    pub(super) title: String,
    pub(super) at: Time,
    pub(super) subject: Subject,
    /// What is not in it, in words; empty if it has everything.
    pub(super) missing: Vec<String>,
    /// The control plane's log; nothing if it was not read.
    pub(super) control: Option<Log>,
    pub(super) trails: Vec<Trail>,
    /// Proxies that once handed over a checkpoint that contradicts the one before.
    pub(super) disputes: Vec<Act<Dispute>>,
    #[serde(flatten)]
    pub(super) known: Known,
    pub(super) calls: Calls,
    /// Refused calls of the same principals in that time that name no grant.
    pub(super) refused: Calls,
}
