//! A window of the day: `{"days":["mon","fri"],"from":"08:00","to":"18:00","zone":"Europe/Berlin"}`.
//!
//! - It is open while the wall clock of the zone shows `from` or later and less than `to` (half-open), on the days named; `["*"]`
//!   is every day. `to` may be `24:00`.
//! - `from` after `to` is a night: it opens on the days named and closes on the day after. `["fri"]` from `22:00` to `06:00` ends
//!   on Saturday at six. `from` equal to `to` is refused; all day is `00:00` to `24:00`.
//! - What counts is what the wall clock shows. When clocks go back, an hour is shown twice and both count; when they go forward,
//!   an hour is not shown and nothing in it is ever open.
//! - The zone is an IANA name in its own spelling, from the data built into this version; an unknown one is refused.

use crate::model::Time;
use crate::model::strict::Object;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct as _};
use std::fmt;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const ALL_DAYS: u8 = 0x7f;
const DAY_MINUTES: u16 = 24 * 60;

/// A window of the day in a named zone, compiled: checking it neither parses nor allocates.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object<RawWindow>")]
pub struct TimeWindow {
    zone: TimeZone,
    /// Minutes since midnight; `from` is not `to`.
    from: u16,
    to: u16,
    /// One bit a day on which it opens, Monday lowest; never 0.
    days: u8,
}

/// Why a window is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// No day.
    #[error("`days` is empty: write `[\"*\"]` for every day")]
    NoDay,
    /// Not a day.
    #[error(
        "`days`: {0:?} is no day: expected `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`, or `*` alone"
    )]
    Day(String),
    /// A day twice, or `*` beside days.
    #[error("`days` names a day twice or mixes `*` with days")]
    DayTwice,
    /// Not a time of day.
    #[error(
        "`{key}`: {value:?} is no time of day: expected `HH:MM`, `00:00` to `23:59` (`to` may be `24:00`)"
    )]
    TimeOfDay {
        /// `from` or `to`.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// `from` equal to `to`.
    #[error("`from` and `to` are equal: write `00:00` to `24:00` for the whole day")]
    NoLength,
    /// Not a zone.
    #[error("`zone`: {0:?} is no IANA time zone: expected for instance `Europe/Berlin` or `UTC`")]
    Zone(String),
}

impl TimeWindow {
    /// Whether the window is open now. False for times beyond the year 9999.
    #[must_use]
    pub fn holds(&self, now: Time) -> bool {
        let Ok(now) = jiff::Timestamp::from_microsecond(now.as_micros()) else { return false };
        let local = self.zone.to_datetime(now);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = local.weekday().to_monday_zero_offset().unsigned_abs();
        let yesterday = (today + 6) % 7;
        if self.from < self.to {
            self.opens_on(today) && self.from <= minute && minute < self.to
        } else {
            (self.opens_on(today) && self.from <= minute) || (self.opens_on(yesterday) && minute < self.to)
        }
    }

    fn opens_on(&self, day: u8) -> bool {
        self.days >> day & 1 == 1
    }

    /// The IANA name of the zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or_default()
    }

    /// The names of the days on which it opens, Monday first; `*` alone for all.
    fn days(&self) -> impl Iterator<Item = &'static str> {
        let all = (self.days == ALL_DAYS).then_some("*");
        let some = DAYS.into_iter().zip(0_u8..).filter(move |(_, day)| all.is_none() && self.opens_on(*day));
        all.into_iter().chain(some.map(|(name, _)| name))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindow {
    days: Vec<String>,
    from: String,
    to: String,
    zone: String,
}

impl TryFrom<Object<RawWindow>> for TimeWindow {
    type Error = WindowError;

    fn try_from(Object(raw): Object<RawWindow>) -> Result<Self, WindowError> {
        let (from, to) = (time_of_day("from", raw.from)?, time_of_day("to", raw.to)?);
        if from == to {
            return Err(WindowError::NoLength);
        }
        Ok(Self { days: days(raw.days)?, from, to, zone: zone(raw.zone)? })
    }
}

fn days(names: Vec<String>) -> Result<u8, WindowError> {
    let mut mask = 0_u8;
    for name in names {
        let bits = match DAYS.iter().position(|day| **day == *name) {
            Some(day) => 1 << day,
            None if name == "*" => ALL_DAYS,
            None => return Err(WindowError::Day(name)),
        };
        if mask & bits != 0 {
            return Err(WindowError::DayTwice);
        }
        mask |= bits;
    }
    if mask == 0 { Err(WindowError::NoDay) } else { Ok(mask) }
}

/// Exactly `HH:MM`.
fn time_of_day(key: &'static str, value: String) -> Result<u16, WindowError> {
    let two_digits = |text: &str| match text.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
        }
        _ => None,
    };
    let minutes = value
        .split_once(':')
        .and_then(|(hours, minutes)| Some((two_digits(hours)?, two_digits(minutes)?)))
        .filter(|(_, minutes)| *minutes < 60)
        .map(|(hours, minutes)| hours * 60 + minutes);
    match minutes {
        Some(minutes) if minutes < DAY_MINUTES || (minutes == DAY_MINUTES && key == "to") => Ok(minutes),
        _ => Err(WindowError::TimeOfDay { key, value }),
    }
}

fn zone(name: String) -> Result<TimeZone, WindowError> {
    // The look-up folds case; we want one spelling.
    match TimeZone::get(&name) {
        Ok(zone) if zone.iana_name() == Some(name.as_str()) && !zone.is_unknown() => Ok(zone),
        _ => Err(WindowError::Zone(name)),
    }
}

impl Serialize for TimeWindow {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let time_of_day = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let mut object = to.serialize_struct("window", 4)?;
        object.serialize_field("days", &self.days().collect::<Vec<_>>())?;
        object.serialize_field("from", &time_of_day(self.from))?;
        object.serialize_field("to", &time_of_day(self.to))?;
        object.serialize_field("zone", self.zone())?;
        object.end()
    }
}

impl fmt::Debug for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<_> = self.days().collect();
        write!(f, "{} {}..{} min {}", days.join(","), self.from, self.to, self.zone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<TimeWindow, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn window(days: &str, from: &str, to: &str, zone: &str) -> TimeWindow {
        parse(&format!(r#"{{"days":{days},"from":"{from}","to":"{to}","zone":"{zone}"}}"#)).unwrap()
    }

    fn holds(window: &TimeWindow, time: &str) -> bool {
        window.holds(time.parse().unwrap())
    }

    #[test]
    fn half_open_on_the_days_named() {
        // 2026-11-23 is a Monday; Berlin is at +01:00.
        let window = window(r#"["mon","tue"]"#, "08:00", "18:00", "Europe/Berlin");
        assert!(!holds(&window, "2026-11-23T07:59:59.999999+01:00"));
        assert!(holds(&window, "2026-11-23T08:00:00+01:00"));
        assert!(holds(&window, "2026-11-24T17:59:59.999999+01:00"));
        assert!(!holds(&window, "2026-11-24T18:00:00+01:00"));
        assert!(!holds(&window, "2026-11-25T12:00:00+01:00"), "Wednesday");
        assert!(!holds(&window, "2026-11-22T12:00:00+01:00"), "Sunday");
        assert!(!window.holds(Time::MAX));
        assert!(!window.holds(Time::from_micros(i64::MIN)));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = window(r#"["fri"]"#, "22:00", "06:00", "UTC");
        assert!(!holds(&night, "2026-11-27T21:59:59Z"));
        assert!(holds(&night, "2026-11-27T22:00:00Z"));
        assert!(holds(&night, "2026-11-28T05:59:59Z"), "Saturday morning");
        assert!(!holds(&night, "2026-11-28T06:00:00Z"));
        assert!(!holds(&night, "2026-11-27T05:00:00Z"), "Friday morning belongs to Thursday");
        let sunday = window(r#"["sun"]"#, "23:00", "01:00", "UTC");
        assert!(holds(&sunday, "2026-11-23T00:30:00Z"), "Monday after Sunday");
    }

    #[test]
    fn a_whole_day_is_written_out() {
        let day = window(r#"["sun"]"#, "00:00", "24:00", "UTC");
        assert!(holds(&day, "2026-11-22T00:00:00Z") && holds(&day, "2026-11-22T23:59:59.999999Z"));
        assert!(!holds(&day, "2026-11-23T00:00:00Z"));
    }

    #[test]
    fn the_wall_clock_counts_when_it_is_changed() {
        // Berlin: 2026-03-29 02:00 -> 03:00 (+01:00 -> +02:00); 2026-10-25 03:00 -> 02:00.
        let early = window(r#"["*"]"#, "02:00", "03:00", "Europe/Berlin");
        assert!(!holds(&early, "2026-03-29T00:59:59Z") && !holds(&early, "2026-03-29T01:00:00Z"));
        assert!(!holds(&early, "2026-03-29T01:30:00Z"), "02:30 is not shown that day");
        assert!(holds(&early, "2026-10-25T00:30:00Z"), "02:30 summer time");
        assert!(holds(&early, "2026-10-25T01:30:00Z"), "02:30 standard time");
        assert!(!holds(&early, "2026-10-25T02:00:00Z"));
        let morning = window(r#"["*"]"#, "08:00", "09:00", "Europe/Berlin");
        assert!(holds(&morning, "2026-07-01T06:30:00Z") && !holds(&morning, "2026-07-01T07:30:00Z"));
        assert!(holds(&morning, "2026-12-01T07:30:00Z") && !holds(&morning, "2026-12-01T06:30:00Z"));
        // Beyond the table of transitions the rule goes on.
        assert!(holds(&morning, "2090-07-01T06:30:00Z"));
    }

    #[test]
    fn one_rendering() {
        let json = r#"{"days":["mon","sun"],"from":"22:05","to":"24:00","zone":"Asia/Kolkata"}"#;
        assert_eq!(serde_json::to_string(&parse(json).unwrap()).unwrap(), json);
        let unsorted = window(r#"["sun","mon"]"#, "22:05", "24:00", "Asia/Kolkata");
        assert_eq!(unsorted, parse(json).unwrap());
        let all = window(r#"["mon","tue","wed","thu","fri","sat","sun"]"#, "00:00", "01:00", "UTC");
        assert!(serde_json::to_string(&all).unwrap().contains(r#""days":["*"]"#));
        assert_eq!(all, window(r#"["*"]"#, "00:00", "01:00", "UTC"));
    }

    #[test]
    fn windows_that_are_not_clear_are_refused() {
        for (days, from, to, zone, says) in [
            ("[]", "08:00", "18:00", "UTC", "`days` is empty"),
            (r#"["Mon"]"#, "08:00", "18:00", "UTC", "no day"),
            (r#"["mon","mon"]"#, "08:00", "18:00", "UTC", "twice"),
            (r#"["*","mon"]"#, "08:00", "18:00", "UTC", "mixes"),
            (r#"["mon","*"]"#, "08:00", "18:00", "UTC", "mixes"),
            ("null", "08:00", "18:00", "UTC", "null"),
            (r#"["*"]"#, "8:00", "18:00", "UTC", "`from`"),
            (r#"["*"]"#, "+8:00", "18:00", "UTC", "`from`"),
            (r#"["*"]"#, "08:60", "18:00", "UTC", "`from`"),
            (r#"["*"]"#, "24:00", "18:00", "UTC", "`from`"),
            (r#"["*"]"#, "08:00", "24:01", "UTC", "`to`"),
            (r#"["*"]"#, "08:00", "18:00:00", "UTC", "`to`"),
            (r#"["*"]"#, "08:00", "", "UTC", "`to`"),
            (r#"["*"]"#, "08:00", "08:00", "UTC", "equal"),
            (r#"["*"]"#, "08:00", "18:00", "Europe/Nowhere", "`zone`"),
            (r#"["*"]"#, "08:00", "18:00", "europe/berlin", "`zone`"),
            (r#"["*"]"#, "08:00", "18:00", "+01:00", "`zone`"),
            (r#"["*"]"#, "08:00", "18:00", "Etc/Unknown", "`zone`"),
            (r#"["*"]"#, "08:00", "18:00", "", "`zone`"),
        ] {
            let json = format!(r#"{{"days":{days},"from":"{from}","to":"{to}","zone":"{zone}"}}"#);
            let error = parse(&json).expect_err(&json);
            assert!(error.contains(says), "{json}: {error}");
        }
        for json in [
            r#"[["*"],"08:00","18:00","UTC"]"#,
            r#"{"from":"08:00","to":"18:00","zone":"UTC"}"#,
            r#"{"days":["*"],"from":"08:00","to":"18:00"}"#,
            r#"{"days":["*"],"from":"08:00","to":"18:00","zone":"UTC","zone":"UTC"}"#,
            r#"{"days":["*"],"from":"08:00","to":"18:00","zone":"UTC","not":1}"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }
}
