//! What the log says about those who ask: what they were granted, when they ask, how often they were refused, how much access
//! they had. Facts for policies and for the cap on privileged time. Everything is bounded.

use crate::control::policy::History;
use crate::control::state::look::services_of;
use crate::model::{Grant, ServiceName, SpiffeId, Time};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// How far back anything but "ever" reaches.
pub(crate) const REACH: Duration = Duration::from_secs(30 * 86_400);
const MAX_ASKED: usize = 1_024;
const MAX_REFUSED: usize = 1_024;
/// A request of more bytes than this counts as several: whatever the longest justification, and some permissions.
const ONE_REQUEST: usize = 8 << 10;
/// Privileged time is summed up in slices of this length.
const SLICE: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Default)]
struct Record {
    services: BTreeSet<ServiceName>,
    asked: VecDeque<Time>,
    /// The hour of the clock (UTC) in which it asked last, and how often in that hour.
    lately: (i64, u32),
    refused: VecDeque<Time>,
    /// Milliseconds of access by service and slice of the clock in which it began.
    access: BTreeMap<ServiceName, BTreeMap<i64, u64>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Histories(HashMap<SpiffeId, Record>);

impl Histories {
    pub(super) fn asked(&mut self, who: &SpiffeId, now: Time, bytes: usize) {
        push(&mut self.0.entry(who.clone()).or_default().asked, now, MAX_ASKED);
        self.counted(who, now, bytes);
    }

    /// One more call in this hour that left so much in the log, and in memory: a large one counts as several.
    pub(super) fn counted(&mut self, who: &SpiffeId, now: Time, bytes: usize) {
        let weight = u32::try_from(bytes.div_ceil(ONE_REQUEST)).unwrap_or(u32::MAX).max(1);
        let record = self.0.entry(who.clone()).or_default();
        let hour = hour(now);
        let before = if record.lately.0 == hour { record.lately.1 } else { 0 };
        record.lately = (hour, before.saturating_add(weight));
    }

    /// How often somebody asked in this hour of the clock.
    pub(super) fn asked_lately(&self, who: &SpiffeId, now: Time) -> u32 {
        self.0.get(who).filter(|record| record.lately.0 == hour(now)).map_or(0, |record| record.lately.1)
    }

    pub(super) fn refused(&mut self, who: &SpiffeId, now: Time) {
        push(&mut self.0.entry(who.clone()).or_default().refused, now, MAX_REFUSED);
    }

    /// Access was granted on a request.
    pub(super) fn granted(&mut self, who: &SpiffeId, grant: &Grant, now: Time) {
        let length = millis(grant.expires_at.since(grant.not_before));
        // Counted from now: a booking far ahead does not make the past forgotten.
        let oldest = slice(now.minus(REACH));
        let record = self.0.entry(who.clone()).or_default();
        for service in services_of(&grant.scope) {
            record.services.insert(service.clone());
            let slices = record.access.entry(service).or_default();
            while slices.first_key_value().is_some_and(|(at, _)| *at < oldest) {
                slices.pop_first();
            }
            let sum = slices.entry(slice(grant.not_before)).or_default();
            *sum = sum.saturating_add(length);
        }
    }

    /// It ended earlier than planned.
    pub(super) fn ended(&mut self, who: &SpiffeId, grant: &Grant, at: Time) {
        let unused = millis(grant.expires_at.since(at.max(grant.not_before)));
        let Some(record) = self.0.get_mut(who) else { return };
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
        let slices = self.0.get(who).and_then(|record| record.access.get(service));
        let sum = slices.into_iter().flat_map(|all| all.range(slice(since)..)).map(|(_, sum)| *sum);
        Duration::from_millis(sum.fold(0, u64::saturating_add))
    }

    /// What policies are told about somebody; `hour_of` gives day and hour in the zone of the policies.
    pub(super) fn facts(
        &self,
        who: &SpiffeId,
        now: Time,
        window: Duration,
        hour_of: impl Fn(Time) -> (i64, u8),
    ) -> History {
        let Some(record) = self.0.get(who) else { return History::default() };
        let mut days: BTreeMap<u8, BTreeSet<i64>> = BTreeMap::new();
        for at in record.asked.iter().filter(|at| **at >= now.minus(REACH)) {
            let (day, hour) = hour_of(*at);
            days.entry(hour).or_default().insert(day);
        }
        let hour_ago = now.minus(Duration::from_secs(3600));
        let refused = record.refused.iter().filter(|at| **at > hour_ago).count();
        let access = record
            .access
            .keys()
            .map(|service| self.access(who, service, now.minus(window)))
            .max()
            .unwrap_or_default();
        History {
            services: record.services.clone(),
            tools: BTreeSet::new(),
            usual_hours: days.into_iter().filter(|(_, days)| days.len() >= 3).map(|(hour, _)| hour).collect(),
            refusals_last_hour: u32::try_from(refused).unwrap_or(u32::MAX),
            privileged_minutes: access.as_secs() / 60,
        }
    }
}

fn push(queue: &mut VecDeque<Time>, now: Time, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(now);
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
