//! Limits of a grant: how much it permits. Absent is unlimited; `null`, zero, `{}` and unknown members are refused (law 1).

use crate::model::Ttl;
use crate::model::strict::{Object, present};
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

/// The largest count: what every JSON reader holds exactly (RFC 8785 section 3.2.2.3, RFC 7493 section 2.2).
pub const MAX_COUNT: u64 = (1 << 53) - 1;
/// The longest time that a rate may be over.
pub const MAX_RATE_PER: Duration = Duration::from_secs(86_400);
/// The longest idle timeout.
pub const MAX_IDLE: Duration = Duration::from_secs(7 * 86_400);

/// How much a grant permits. The default is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Object<RawLimits>")]
pub struct Limits {
    /// Requests over the whole life of the grant, over all proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<NonZeroU64>,
    /// Requests in a length of time, at each proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Requests in flight at once, at each proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_streams: Option<NonZeroU32>,
    /// The grant ends when it was not used for this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Ttl>,
    /// Body bytes, both directions together, over the whole life of the grant, over all proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<NonZeroU64>,
    /// Bytes of the arguments of one call at a service that speaks MCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument_bytes: Option<NonZeroU64>,
    /// Bytes of the answer to one call at a service that speaks MCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<NonZeroU64>,
}

/// A rate: `requests` in `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Object<RawRate>")]
pub struct Rate {
    /// How many requests, also the burst.
    pub requests: NonZeroU32,
    /// In which length of time.
    pub per: Ttl,
}

/// Why limits are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// `{}`.
    #[error("`limits` is empty: leave it out for no limit, or name one")]
    Empty,
    /// A count beyond [`MAX_COUNT`].
    #[error("`{0}` is more than {MAX_COUNT}: leave it out for no limit")]
    TooLarge(&'static str),
    /// Beyond [`MAX_RATE_PER`].
    #[error("`rate.per` is more than a day: use `max_uses`")]
    RatePer,
    /// Beyond [`MAX_IDLE`].
    #[error("`idle_timeout` is more than seven days: leave it out")]
    Idle,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a call may have arguments of so many bytes.
    #[must_use]
    pub fn take_arguments(&self, bytes: usize) -> bool {
        self.argument_bytes.is_none_or(|most| bytes as u64 <= most.get())
    }

    /// Whether they are of one call at a time, or of time alone: such limits cannot be multiplied by handing a grant on.
    #[must_use]
    pub fn may_be_handed_on(&self) -> bool {
        Self { idle_timeout: None, argument_bytes: None, response_bytes: None, ..*self }.is_unlimited()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    #[serde(default, deserialize_with = "present")]
    max_uses: Option<NonZeroU64>,
    #[serde(default, deserialize_with = "present")]
    rate: Option<Rate>,
    #[serde(default, deserialize_with = "present")]
    concurrent_streams: Option<NonZeroU32>,
    #[serde(default, deserialize_with = "present")]
    idle_timeout: Option<Ttl>,
    #[serde(default, deserialize_with = "present")]
    bytes: Option<NonZeroU64>,
    #[serde(default, deserialize_with = "present")]
    argument_bytes: Option<NonZeroU64>,
    #[serde(default, deserialize_with = "present")]
    response_bytes: Option<NonZeroU64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRate {
    requests: NonZeroU32,
    per: Ttl,
}

impl From<Object<RawRate>> for Rate {
    fn from(Object(RawRate { requests, per }): Object<RawRate>) -> Self {
        Self { requests, per }
    }
}

impl TryFrom<Object<RawLimits>> for Limits {
    type Error = LimitsError;

    fn try_from(Object(raw): Object<RawLimits>) -> Result<Self, LimitsError> {
        let RawLimits {
            max_uses,
            rate,
            concurrent_streams,
            idle_timeout,
            bytes,
            argument_bytes,
            response_bytes,
        } = raw;
        let counts = [
            ("max_uses", max_uses),
            ("bytes", bytes),
            ("argument_bytes", argument_bytes),
            ("response_bytes", response_bytes),
        ];
        for (key, count) in counts {
            if count.is_some_and(|count| count.get() > MAX_COUNT) {
                return Err(LimitsError::TooLarge(key));
            }
        }
        if rate.is_some_and(|rate| rate.per.get() > MAX_RATE_PER) {
            return Err(LimitsError::RatePer);
        }
        if idle_timeout.is_some_and(|idle| idle.get() > MAX_IDLE) {
            return Err(LimitsError::Idle);
        }
        let limits =
            Self { max_uses, rate, concurrent_streams, idle_timeout, bytes, argument_bytes, response_bytes };
        if limits.is_unlimited() { Err(LimitsError::Empty) } else { Ok(limits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Limits, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn limits_round_trip() {
        let json = r#"{"max_uses":3,"rate":{"requests":10,"per":"1m"},"concurrent_streams":2,"idle_timeout":"5m","bytes":9007199254740991}"#;
        let limits = parse(json).unwrap();
        assert_eq!(limits.max_uses.unwrap().get(), 3);
        assert_eq!(serde_json::to_string(&limits).unwrap(), json);
        assert!(parse(r#"{"rate":{"requests":1,"per":"1d"}}"#).is_ok());
        let json = r#"{"argument_bytes":2048,"response_bytes":65536}"#;
        assert_eq!(serde_json::to_string(&parse(json).unwrap()).unwrap(), json);
    }

    #[test]
    fn a_limit_of_one_call_is_its_largest_size_and_may_be_handed_on() {
        let limits = parse(r#"{"argument_bytes":5,"response_bytes":9,"idle_timeout":"5m"}"#).unwrap();
        assert!(limits.take_arguments(5) && !limits.take_arguments(6));
        assert!(Limits::default().take_arguments(usize::MAX));
        assert!(limits.may_be_handed_on());
        for other in [r#"{"bytes":5}"#, r#"{"max_uses":1}"#, r#"{"concurrent_streams":1,"response_bytes":9}"#]
        {
            assert!(!parse(other).unwrap().may_be_handed_on(), "{other}");
        }
    }

    #[test]
    fn what_limits_nothing_or_too_late_is_refused() {
        for (json, says) in [
            ("{}", "empty"),
            (r#"{"max_uses":0}"#, "nonzero"),
            (r#"{"max_uses":-1}"#, "nonzero"),
            (r#"{"max_uses":1.5}"#, "nonzero"),
            (r#"{"max_uses":"3"}"#, "nonzero"),
            (r#"{"max_uses":null}"#, "null"),
            (r#"{"rate":null,"max_uses":1}"#, "null"),
            (r#"{"idle_timeout":null,"max_uses":1}"#, "null"),
            (r#"{"concurrent_streams":null,"max_uses":1}"#, "null"),
            (r#"{"bytes":null,"max_uses":1}"#, "null"),
            (r#"{"max_uses":9007199254740992}"#, "`max_uses`"),
            (r#"{"bytes":9007199254740992}"#, "`bytes`"),
            (r#"{"argument_bytes":0}"#, "nonzero"),
            (r#"{"response_bytes":null,"max_uses":1}"#, "null"),
            (r#"{"argument_bytes":9007199254740992}"#, "`argument_bytes`"),
            (r#"{"response_bytes":9007199254740992}"#, "`response_bytes`"),
            (r#"{"max_uses":1,"max_uses":1}"#, "duplicate"),
            (r#"{"uses":1}"#, "unknown"),
            (r#"{"rate":{"requests":1}}"#, "per"),
            (r#"{"rate":{"requests":0,"per":"1s"}}"#, "nonzero"),
            (r#"{"rate":{"requests":1,"per":"0s"}}"#, "duration"),
            (r#"{"rate":{"requests":1,"per":"1d1ms"}}"#, "`rate.per`"),
            (r#"{"rate":{"requests":1,"per":"1s","burst":2}}"#, "unknown"),
            (r#"{"rate":{"requests":1,"per":"1s","per":"1s"}}"#, "duplicate"),
            (r#"{"idle_timeout":"8d"}"#, "`idle_timeout`"),
            ("[]", "an object"),
            ("[3,null,null,null,null,null,null]", "an object"),
            (r#"{"rate":[1,"1s"]}"#, "an object"),
            ("null", "null"),
        ] {
            let error = parse(json).expect_err(json);
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
