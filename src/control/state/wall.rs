//! The clock on the wall of a zone, for many times that lie close together: between two changes of the clocks the hour is arithmetic,
//! so the zone is asked once for each such stretch and not for each time.

use crate::model::Time;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// See the module. Quick for times in ascending order; right for any.
pub(super) struct Wall<'z> {
    zone: &'z TimeZone,
    /// The last stretch: from, to (excluded; microseconds), and how far the clock is ahead of UTC, in seconds.
    stretch: (i64, i64, i64),
}

impl<'z> Wall<'z> {
    pub(super) fn new(zone: &'z TimeZone) -> Self {
        Self { zone, stretch: (0, 0, 0) }
    }

    /// The day (counted from 1970) and the hour; `None` for a time that no calendar has.
    pub(super) fn day_and_hour(&mut self, at: Time) -> Option<(i64, u8)> {
        let micros = at.as_micros();
        if !(self.stretch.0..self.stretch.1).contains(&micros) {
            let stamp = Timestamp::from_microsecond(micros).ok()?;
            let ahead = i64::from(self.zone.to_offset(stamp).seconds());
            let next = self.zone.following(stamp).next();
            let last = Timestamp::MAX.as_microsecond();
            self.stretch = (micros, next.map_or(last, |next| next.timestamp().as_microsecond()), ahead);
        }
        let local = micros.div_euclid(1_000_000).saturating_add(self.stretch.2);
        let hour = u8::try_from(local.rem_euclid(86_400) / 3_600).ok()?;
        Some((local.div_euclid(86_400), hour))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One whole conversion for each time.
    fn slowly(zone: &TimeZone, at: Time) -> (i64, u8) {
        let local = Timestamp::from_microsecond(at.as_micros()).unwrap().to_zoned(zone.clone()).datetime();
        let epoch = jiff::civil::date(1970, 1, 1);
        let days = local.date().since((jiff::Unit::Day, epoch)).unwrap().get_days();
        (i64::from(days), u8::try_from(local.hour()).unwrap())
    }

    proptest! {
        /// Zones with half hours, with changes of half an hour and of whole days, and with seconds in their past.
        #[test]
        fn the_hour_is_that_of_a_whole_conversion(
            name in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "Africa/Monrovia",
                "America/Havana", "Africa/Casablanca",
            ]),
            start in 0_i64..4_000_000_000, steps in prop::collection::vec(-4_000_000_000_000_i64..6_000_000_000_000, 1..64),
        ) {
            let zone = TimeZone::get(name).unwrap();
            let mut wall = Wall::new(&zone);
            let mut at = start * 1_000_000;
            for step in steps {
                at = (at + step).max(0);
                let time = Time::from_micros(at);
                prop_assert_eq!(wall.day_and_hour(time), Some(slowly(&zone, time)), "{} {}", name, at);
            }
        }
    }

    #[test]
    fn the_instant_of_a_change_belongs_to_what_comes_after_it() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let mut wall = Wall::new(&zone);
        for (time, hour) in [
            ("2026-03-29T00:59:59.999999Z", 1),
            ("2026-03-29T01:00:00Z", 3),
            ("2026-03-29T01:00:00.000001Z", 3),
            ("2026-10-25T00:59:59.999999Z", 2),
            ("2026-10-25T01:00:00Z", 2),
            ("2026-10-25T02:00:00Z", 3),
        ] {
            assert_eq!(wall.day_and_hour(time.parse().unwrap()).unwrap().1, hour, "{time}");
        }
        assert_eq!(wall.day_and_hour(Time::MAX), None);
    }
}
