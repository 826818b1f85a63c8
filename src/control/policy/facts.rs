//! The facts of one question: everything that an evaluation depends on beside the policies, as it is logged.
//!
//! Invariant: an evaluation is a function of the policy set and of these facts alone. [`Facts::of`] is the only way from a question
//! to an evaluation, and what is logged reads back to the same value; so deciding again from the log decides the same. Services and
//! history are kept as far as the scope names them. There is nothing secret in a request: tokens were verified before, and only what
//! they said is here.

use super::question::{History, PolicyAction, Question};
use crate::model::{AccessRequest, PrincipalProfile, ServiceName, ServiceProfile, Time};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Facts {
    pub(super) action: PolicyAction,
    pub(super) request: AccessRequest,
    pub(super) requester: PrincipalProfile,
    pub(super) principal: PrincipalProfile,
    /// Those of the scope that are known.
    pub(super) services: BTreeMap<ServiceName, ServiceProfile>,
    pub(super) history: History,
    pub(super) time: LocalTime,
}

/// Control time, and what the clock on the wall shows when the access begins: now, or later where the request asks for it. A booking
/// made in time for a time that is not is judged by the latter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LocalTime {
    pub(super) now: Time,
    /// IANA name.
    pub(super) zone: String,
    /// 0 to 1439.
    pub(super) minute_of_day: u16,
    pub(super) weekday: Weekday,
    /// The hour of `now`, 0 to 23, where the access begins later. Absent otherwise, and in facts of earlier versions, in which minute
    /// and weekday are those of `now`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) asked_hour: Option<u8>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    /// The name in policies.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }
}

impl Facts {
    /// The facts of a question; `None` for a time that no calendar has.
    pub(super) fn of(question: &Question<'_>, zone: &TimeZone) -> Option<Self> {
        let named: BTreeSet<&ServiceName> = question
            .request
            .scope
            .permissions()
            .iter()
            .flat_map(|permission| permission.locations())
            .collect();
        let profile = |name: &&ServiceName| {
            question.services.get(*name).map(|profile| ((*name).clone(), profile.clone()))
        };
        let (history, now) = (question.history, question.now);
        let start = question.request.not_before.map_or(now, |start| start.max(now));
        let of_scope = |tool: &&String| {
            tool.split_once('/').is_some_and(|(service, _)| named.iter().any(|name| name.as_str() == service))
        };
        Some(Self {
            action: question.action,
            request: question.request.clone(),
            requester: question.requester.clone(),
            principal: question.principal.clone(),
            services: named.iter().filter_map(profile).collect(),
            history: History {
                services: history.services.iter().filter(|name| named.contains(name)).cloned().collect(),
                tools: history.tools.iter().filter(of_scope).cloned().collect(),
                ..history.clone()
            },
            time: LocalTime::at(now, start, zone)?,
        })
    }

    /// The hour of the day in which it is asked, 0 to 23.
    pub(super) fn asked_hour(&self) -> u8 {
        let of_start = || u8::try_from(self.time.minute_of_day / 60).unwrap_or(u8::MAX);
        self.time.asked_hour.unwrap_or_else(of_start)
    }
}

impl LocalTime {
    fn at(now: Time, start: Time, zone: &TimeZone) -> Option<Self> {
        let local = on_the_wall(start, zone)?;
        let asked_hour = match start == now {
            true => None,
            false => Some(on_the_wall(now, zone)?.hour().unsigned_abs()),
        };
        let weekday = match local.weekday() {
            jiff::civil::Weekday::Monday => Weekday::Mon,
            jiff::civil::Weekday::Tuesday => Weekday::Tue,
            jiff::civil::Weekday::Wednesday => Weekday::Wed,
            jiff::civil::Weekday::Thursday => Weekday::Thu,
            jiff::civil::Weekday::Friday => Weekday::Fri,
            jiff::civil::Weekday::Saturday => Weekday::Sat,
            jiff::civil::Weekday::Sunday => Weekday::Sun,
        };
        Some(Self {
            now,
            zone: zone.iana_name().unwrap_or("UTC").to_owned(),
            minute_of_day: u16::from(local.hour().unsigned_abs()) * 60
                + u16::from(local.minute().unsigned_abs()),
            weekday,
            asked_hour,
        })
    }
}

fn on_the_wall(time: Time, zone: &TimeZone) -> Option<DateTime> {
    Some(zone.to_datetime(jiff::Timestamp::from_microsecond(time.as_micros()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(time: &str, zone: &str) -> (u16, &'static str) {
        let time = time.parse().unwrap();
        let local = LocalTime::at(time, time, &TimeZone::get(zone).unwrap()).unwrap();
        assert_eq!(local.asked_hour, None);
        (local.minute_of_day, local.weekday.as_str())
    }

    #[test]
    fn the_clock_on_the_wall_of_a_zone() {
        assert_eq!(local("2026-11-25T23:30:00Z", "UTC"), (23 * 60 + 30, "wed"));
        assert_eq!(local("2026-11-25T23:30:00Z", "Europe/Berlin"), (30, "thu"));
        assert_eq!(local("2026-11-25T23:30:00Z", "Asia/Kathmandu"), (5 * 60 + 15, "thu"));
        // Clocks go forward on 2026-03-29 at 01:00 UTC, and back on 2026-10-25 at 01:00 UTC: an hour is shown twice.
        assert_eq!(local("2026-03-29T00:59:00Z", "Europe/Berlin"), (119, "sun"));
        assert_eq!(local("2026-03-29T01:00:00Z", "Europe/Berlin"), (180, "sun"));
        assert_eq!(local("2026-10-25T00:30:00Z", "Europe/Berlin"), (150, "sun"));
        assert_eq!(local("2026-10-25T01:30:00Z", "Europe/Berlin"), (150, "sun"));
        assert!(LocalTime::at(Time::MAX, Time::MAX, &TimeZone::UTC).is_none());
    }

    #[test]
    fn what_begins_later_has_the_clock_of_its_start_and_the_hour_of_asking() {
        let now: Time = "2026-11-25T01:30:00Z".parse().unwrap();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let local = LocalTime::at(now, "2026-11-26T11:15:00Z".parse().unwrap(), &berlin).unwrap();
        assert_eq!((local.minute_of_day, local.weekday), (12 * 60 + 15, Weekday::Thu));
        assert_eq!((local.now, local.asked_hour), (now, Some(2)));
        assert!(LocalTime::at(now, Time::MAX, &berlin).is_none());
    }
}
