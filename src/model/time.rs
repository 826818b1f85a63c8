//! Points in time and lengths of time, with their units in the type. Nothing here reads a clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Microseconds since the Unix epoch, UTC. Text form: RFC 3339 with `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

/// Why a text is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time: expected RFC 3339, for instance `2026-11-22T10:00:00Z`")]
pub struct TimeError;

impl Time {
    /// The last representable point, for "no bound".
    pub const MAX: Self = Self(i64::MAX);

    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch; 0 before it.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0 / 1_000).unwrap_or(0)
    }

    /// This much later; stays at [`Time::MAX`] instead of wrapping.
    #[must_use]
    pub fn plus(self, length: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This much earlier.
    #[must_use]
    pub fn minus(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(stamp) => write!(f, "{stamp:.6}"),
            Err(_) => f.write_str("never"),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Time {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        text.parse::<jiff::Timestamp>().map(|stamp| Self(stamp.as_microsecond())).map_err(|_| TimeError)
    }
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A length of time that a person writes: a whole number and one of `ms`, `s`, `m`, `h`, `d`; several parts may follow each
/// other, largest first (`1h30m`). Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(Duration);

/// Why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: expected for instance `90s`, `15m`, `1h30m` or `1d`, more than zero")]
pub struct TtlError;

impl Ttl {
    /// A working day: as long as any grant lives unless the configuration says otherwise.
    pub const EIGHT_HOURS: Self = Self(Duration::from_secs(8 * 3600));

    /// From a length of time, in whole milliseconds (what the text form can say); refuses less than one.
    ///
    /// # Errors
    /// [`TtlError`] for less than a millisecond, and for more than `u64` milliseconds.
    pub fn new(length: Duration) -> Result<Self, TtlError> {
        match u64::try_from(length.as_millis()) {
            Ok(millis @ 1..) => Ok(Self(Duration::from_millis(millis))),
            Ok(0) | Err(_) => Err(TtlError),
        }
    }

    /// The length.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1_000)];

impl FromStr for Ttl {
    type Err = TtlError;

    fn from_str(text: &str) -> Result<Self, TtlError> {
        let mut rest = text;
        let mut millis = 0_u64;
        let mut last_unit = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let (unit, tail) = UNITS
                .iter()
                .find_map(|(name, unit)| tail.strip_prefix(name).map(|tail| (*unit, tail)))
                .ok_or(TtlError)?;
            if unit >= last_unit {
                return Err(TtlError);
            }
            last_unit = unit;
            let number: u64 = number.parse().map_err(|_| TtlError)?;
            millis = number.checked_mul(unit).and_then(|part| millis.checked_add(part)).ok_or(TtlError)?;
            rest = tail;
        }
        Self::new(Duration::from_millis(millis))
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        for (name, unit) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest / unit > 0 {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Ttl {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Ttl {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, millis) in
            [("90s", 90_000), ("15m", 900_000), ("1h30m", 5_400_000), ("250ms", 250), ("1d", 86_400_000)]
        {
            let ttl: Ttl = text.parse().unwrap();
            assert_eq!(ttl.get().as_millis(), millis);
        }
        assert_eq!("90s".parse::<Ttl>().unwrap().to_string(), "1m30s");
        for bad in ["", "0s", "5", "m", "-1s", "1m1h", "1m1m", "1.5h", " 1s", "99999999999999999999s", "1w"] {
            assert!(bad.parse::<Ttl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_rfc_3339_in_utc_with_microseconds() {
        let time: Time = "2026-11-22T10:00:00.5+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-22T09:00:00.500000Z");
        assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
    }
}
