//! What the log says about those who ask: what they were granted, when they ask, how often they were refused, how much access
//! they had. Facts for policies and for the cap on privileged time. Everything is bounded.

use crate::control::policy::History;
use crate::control::state::look::services_of;
use crate::control::state::wall::Wall;
use crate::model::scope::Names;
use crate::model::{Grant, Permission, Scope, ServiceName, SpiffeId, Time};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// How far back anything but "ever" reaches.
pub(crate) const REACH: Duration = Duration::from_secs(30 * 86_400);
/// How far back refusals reach.
const HOUR: Duration = Duration::from_secs(3600);
const MAX_ASKED: usize = 1_024;
const MAX_REFUSED: usize = 1_024;
const MAX_TOOLS: usize = 1_024;
/// A request of more bytes than this counts as several: whatever the longest justification, and some permissions.
const ONE_REQUEST: usize = 8 << 10;
/// Privileged time is summed up in slices of this length.
const SLICE: Duration = Duration::from_secs(600);
/// On so many days somebody asks in an hour that is usual.
const USUAL_DAYS: usize = 3;
/// Records that are tidied with each one that is written: more than one, so that they cannot pile up.
const TIDIED: usize = 2;

#[derive(Debug, Clone, Default)]
struct Record {
    services: BTreeSet<ServiceName>,
    /// `service/tool`, the first so many; of further ones it is told each time that they are new.
    tools: BTreeSet<String>,
    asked: VecDeque<Time>,
    /// The hour of the clock (UTC) in which it asked last, and how often in that hour.
    lately: (i64, u32),
    refused: VecDeque<Time>,
    /// Milliseconds of access by service and slice of the clock in which it began.
    access: BTreeMap<ServiceName, BTreeMap<i64, u64>>,
    /// When it is to be tidied; none: there is nothing in it that loses its meaning.
    due: Option<Time>,
}

/// What is past is forgotten as time goes on: by the times of events alone, so that a replay comes to the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Histories {
    records: HashMap<SpiffeId, Record>,
    due: BTreeSet<(Time, SpiffeId)>,
}

impl Histories {
    /// Somebody's record, to be written to; tidies a few that are due.
    fn record(&mut self, who: &SpiffeId, now: Time) -> &mut Record {
        for _ in 0..TIDIED {
            if self.due.first().is_none_or(|(at, _)| *at > now) {
                break;
            }
            if let Some((_, who)) = self.due.pop_first() {
                self.tidy(who, now);
            }
        }
        let record = self.records.entry(who.clone()).or_default();
        if record.due.is_none() {
            let due = now.plus(REACH);
            record.due = Some(due);
            self.due.insert((due, who.clone()));
        }
        record
    }

    fn tidy(&mut self, who: SpiffeId, now: Time) {
        let Some(record) = self.records.get_mut(&who) else { return };
        record.forget(now);
        record.due = record.has_past(now).then(|| now.plus(REACH));
        match record.due {
            Some(due) => {
                self.due.insert((due, who));
            }
            None if record.services.is_empty() => {
                self.records.remove(&who);
            }
            None => {}
        }
    }

    pub(super) fn asked(&mut self, who: &SpiffeId, now: Time, bytes: usize) {
        push(&mut self.record(who, now).asked, now, (REACH, MAX_ASKED));
        self.counted(who, now, bytes);
    }

    /// One more call in this hour that left so much in the log, and in memory: a large one counts as several.
    pub(super) fn counted(&mut self, who: &SpiffeId, now: Time, bytes: usize) {
        let weight = u32::try_from(bytes.div_ceil(ONE_REQUEST)).unwrap_or(u32::MAX).max(1);
        let record = self.record(who, now);
        let hour = hour(now);
        let before = if record.lately.0 == hour { record.lately.1 } else { 0 };
        record.lately = (hour, before.saturating_add(weight));
    }

    /// How often somebody asked in this hour of the clock.
    pub(super) fn asked_lately(&self, who: &SpiffeId, now: Time) -> u32 {
        self.records
            .get(who)
            .filter(|record| record.lately.0 == hour(now))
            .map_or(0, |record| record.lately.1)
    }

    pub(super) fn refused(&mut self, who: &SpiffeId, now: Time) {
        push(&mut self.record(who, now).refused, now, (HOUR, MAX_REFUSED));
    }

    /// Access was granted on a request.
    pub(super) fn granted(&mut self, who: &SpiffeId, grant: &Grant, now: Time) {
        let length = millis(grant.expires_at.since(grant.not_before));
        let record = self.record(who, now);
        for tool in tools_of(&grant.scope) {
            if record.tools.len() >= MAX_TOOLS {
                break;
            }
            record.tools.insert(tool);
        }
        for service in services_of(&grant.scope) {
            record.services.insert(service.clone());
            let slices = record.access.entry(service).or_default();
            forget_slices(slices, now);
            let sum = slices.entry(slice(grant.not_before)).or_default();
            *sum = sum.saturating_add(length);
        }
    }

    /// It ended earlier than planned.
    pub(super) fn ended(&mut self, who: &SpiffeId, grant: &Grant, at: Time) {
        let unused = millis(grant.expires_at.since(at.max(grant.not_before)));
        let Some(record) = self.records.get_mut(who) else { return };
        for service in services_of(&grant.scope) {
            if let Some(sum) =
                record.access.get_mut(&service).and_then(|all| all.get_mut(&slice(grant.not_before)))
            {
                *sum = sum.saturating_sub(unused);
            }
        }
    }

    /// How much access to one service somebody had or has since `since`.
    pub(super) fn access(&self, who: &SpiffeId, service: &ServiceName, since: Time) -> Duration {
        let slices = self.records.get(who).and_then(|record| record.access.get(service));
        let sum = slices.into_iter().flat_map(|all| all.range(slice(since)..)).map(|(_, sum)| *sum);
        Duration::from_millis(sum.fold(0, u64::saturating_add))
    }

    /// What policies are told about somebody, in the zone of the policies.
    pub(super) fn facts(&self, who: &SpiffeId, now: Time, window: Duration, zone: &TimeZone) -> History {
        let Some(record) = self.records.get(who) else { return History::default() };
        let asked = record.asked.iter().copied().filter(|at| *at >= now.minus(REACH));
        let hour_ago = now.minus(HOUR);
        let refused = record.refused.iter().filter(|at| **at > hour_ago).count();
        let access = record
            .access
            .keys()
            .map(|service| self.access(who, service, now.minus(window)))
            .max()
            .unwrap_or_default();
        History {
            services: record.services.clone(),
            tools: record.tools.clone(),
            usual_hours: usual_hours(asked, zone),
            refusals_last_hour: u32::try_from(refused).unwrap_or(u32::MAX),
            privileged_minutes: access.as_secs() / 60,
        }
    }
}

impl Record {
    /// Drops what nothing looks at any more, with its memory.
    fn forget(&mut self, now: Time) {
        forget(&mut self.asked, now.minus(REACH));
        forget(&mut self.refused, now.minus(HOUR));
        self.asked.shrink_to_fit();
        self.refused.shrink_to_fit();
        self.access.retain(|_, slices| {
            forget_slices(slices, now);
            !slices.is_empty()
        });
    }

    /// Whether there is anything that will lose its meaning.
    fn has_past(&self, now: Time) -> bool {
        let lately = self.lately.0 >= hour(now);
        lately || !self.asked.is_empty() || !self.refused.is_empty() || !self.access.is_empty()
    }
}

/// The tools that a scope names, as `service/tool`; `*` is none of them.
fn tools_of(scope: &Scope) -> impl Iterator<Item = String> {
    let mcp = scope.permissions().iter().filter_map(|permission| match permission {
        Permission::Mcp(mcp) => Some(mcp),
        Permission::Http(_) | Permission::Grpc(_) => None,
    });
    mcp.flat_map(|mcp| {
        let named = mcp.tools().into_iter().flat_map(Names::texts).filter(|tool| *tool != "*");
        named.flat_map(|tool| mcp.locations().iter().map(move |service| format!("{service}/{tool}")))
    })
}

/// The hours of the day in which these times are on at least [`USUAL_DAYS`] days.
fn usual_hours(asked: impl Iterator<Item = Time>, zone: &TimeZone) -> BTreeSet<u8> {
    let mut wall = Wall::new(zone);
    let mut days = [[None::<i64>; USUAL_DAYS]; 24];
    for (day, hour) in asked.filter_map(|at| wall.day_and_hour(at)) {
        let Some(days) = days.get_mut(usize::from(hour)) else { continue };
        if !days.contains(&Some(day))
            && let Some(free) = days.iter_mut().find(|known| known.is_none())
        {
            *free = Some(day);
        }
    }
    let usual = (0..).zip(days).filter(|(_, days)| days.iter().all(Option::is_some));
    usual.map(|(hour, _)| hour).collect()
}

fn push(queue: &mut VecDeque<Time>, now: Time, (reach, max): (Duration, usize)) {
    forget(queue, now.minus(reach));
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(now);
}

fn forget(queue: &mut VecDeque<Time>, before: Time) {
    while queue.front().is_some_and(|at| *at < before) {
        queue.pop_front();
    }
}

/// Counted from now: a booking far ahead does not make the past forgotten.
fn forget_slices(slices: &mut BTreeMap<i64, u64>, now: Time) {
    let oldest = slice(now.minus(REACH));
    while slices.first_key_value().is_some_and(|(at, _)| *at < oldest) {
        slices.pop_first();
    }
}

fn hour(time: Time) -> i64 {
    time.as_micros().div_euclid(3_600_000_000)
}

fn slice(time: Time) -> i64 {
    let length = i64::try_from(SLICE.as_micros()).unwrap_or(i64::MAX);
    time.as_micros().div_euclid(length)
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
