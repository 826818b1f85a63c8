//! Conditions of a grant: what must hold at each request, beyond the scope. Absent is unconditional; `null`, `{}`, empty lists and
//! unknown members are refused (law 1).
//!
//! **Source networks** are CIDR blocks without host bits (`10.0.0.0/8`, never `10.1.2.3/8`). An IPv4 address that arrives mapped
//! into IPv6 (`::ffff:10.1.2.3`) is the IPv4 address, and blocks of mapped addresses are refused: write them as IPv4.
//!
//! **Windows** are in [`super::window`].
//!
//! **`token_required`** is `true` or absent: only a request that presents a token of this very grant counts. **`max_risk`** is the
//! highest risk at which the principal keeps the grant; the control plane enforces it (it ends the grant), proxies only know it.

pub use super::window::TimeWindow;

use crate::model::Time;
use crate::model::decision::Risk;
use crate::model::strict::{Object, present};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};

/// The most networks, and the most windows.
pub const MAX_ENTRIES: usize = 100;

/// What must hold at each request. The default is unconditional.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Object<RawConditions>")]
pub struct Conditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    source_networks: Option<Box<[IpNet]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    windows: Option<Box<[TimeWindow]>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    token_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_risk: Option<Risk>,
}

/// Why conditions are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionsError {
    /// `{}`.
    #[error("`conditions` is empty: leave it out for none, or name one")]
    Nothing,
    /// `"token_required":false`, a second spelling of an absent member.
    #[error("`token_required` is `false`: leave it out")]
    NoToken,
    /// An empty list.
    #[error("`{0}` is empty: nothing would be permitted, leave it out for no such condition")]
    Empty(&'static str),
    /// Too many entries.
    #[error("`{0}` has more than {MAX_ENTRIES} entries")]
    TooMany(&'static str),
    /// An entry twice.
    #[error("`{0}`: entry {1} is there twice: remove one")]
    Duplicate(&'static str, usize),
    /// Host bits.
    #[error("`source_networks`: `{given}` has host bits: write `{meant}`, or `/32` (`/128`) for one address")]
    HostBits {
        /// As written.
        given: IpNet,
        /// Without host bits.
        meant: IpNet,
    },
    /// A block of IPv4-mapped addresses.
    #[error("`source_networks`: `{0}` is a block of IPv4-mapped addresses: write it as IPv4")]
    Mapped(IpNet),
}

impl Conditions {
    /// From networks (none: any source) and windows (none: always).
    ///
    /// # Errors
    /// [`ConditionsError`] for lists that are empty, too long or repeat themselves, and for networks that are not canonical.
    pub fn new(
        source_networks: Option<Vec<IpNet>>,
        windows: Option<Vec<TimeWindow>>,
    ) -> Result<Self, ConditionsError> {
        if let Some(networks) = &source_networks {
            check_list("source_networks", networks)?;
            networks.iter().try_for_each(check_network)?;
        }
        if let Some(windows) = &windows {
            check_list("windows", windows)?;
        }
        Ok(Self {
            source_networks: source_networks.map(Vec::into_boxed_slice),
            windows: windows.map(Vec::into_boxed_slice),
            token_required: false,
            max_risk: None,
        })
    }

    /// These, and the caller's address is in this network.
    ///
    /// # Errors
    /// As [`Self::new`]. Networks that were named before are replaced.
    pub fn with_source(self, network: IpNet) -> Result<Self, ConditionsError> {
        check_network(&network)?;
        Ok(Self { source_networks: Some(Box::new([network])), ..self })
    }

    /// These, and a token of the grant is required.
    #[must_use]
    pub fn with_token_required(self) -> Self {
        Self { token_required: true, ..self }
    }

    /// These, and the principal's risk must not rise above this.
    #[must_use]
    pub fn with_max_risk(self, risk: Risk) -> Self {
        Self { max_risk: Some(risk), ..self }
    }

    /// Networks one of which the caller's address must be in; none: any.
    #[must_use]
    pub fn source_networks(&self) -> Option<&[IpNet]> {
        self.source_networks.as_deref()
    }

    /// Windows one of which must be open; none: always.
    #[must_use]
    pub fn windows(&self) -> Option<&[TimeWindow]> {
        self.windows.as_deref()
    }

    /// Whether only requests that present a token of the grant count.
    #[must_use]
    pub fn token_required(&self) -> bool {
        self.token_required
    }

    /// The highest risk at which the principal keeps the grant; none: any.
    #[must_use]
    pub fn max_risk(&self) -> Option<Risk> {
        self.max_risk
    }

    /// Whether nothing is demanded.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        self.source_networks.is_none()
            && self.windows.is_none()
            && !self.token_required
            && self.max_risk.is_none()
    }

    /// Whether networks and windows hold for a request from this address at this time. Allocates nothing.
    #[must_use]
    pub fn hold(&self, now: Time, source: IpAddr) -> bool {
        let source = source.to_canonical();
        let near = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&source));
        let open = |windows: &[TimeWindow]| windows.iter().any(|window| window.holds(now));
        self.source_networks().is_none_or(near) && self.windows().is_none_or(open)
    }
}

fn check_list<T: PartialEq>(key: &'static str, list: &[T]) -> Result<(), ConditionsError> {
    if list.is_empty() {
        return Err(ConditionsError::Empty(key));
    }
    if list.len() > MAX_ENTRIES {
        return Err(ConditionsError::TooMany(key));
    }
    match list.iter().enumerate().find(|(at, entry)| list.iter().take(*at).any(|before| before == *entry)) {
        Some((at, _)) => Err(ConditionsError::Duplicate(key, at)),
        None => Ok(()),
    }
}

fn check_network(network: &IpNet) -> Result<(), ConditionsError> {
    let meant = network.trunc();
    if meant != *network {
        return Err(ConditionsError::HostBits { given: *network, meant });
    }
    match network {
        IpNet::V6(block) if block.prefix_len() >= 96 && is_mapped(block.addr()) => {
            Err(ConditionsError::Mapped(*network))
        }
        IpNet::V4(_) | IpNet::V6(_) => Ok(()),
    }
}

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConditions {
    #[serde(default, deserialize_with = "present")]
    source_networks: Option<Vec<IpNet>>,
    #[serde(default, deserialize_with = "present")]
    windows: Option<Vec<TimeWindow>>,
    #[serde(default, deserialize_with = "present")]
    token_required: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    max_risk: Option<Risk>,
}

impl TryFrom<Object<RawConditions>> for Conditions {
    type Error = ConditionsError;

    fn try_from(Object(raw): Object<RawConditions>) -> Result<Self, ConditionsError> {
        let mut conditions = Self::new(raw.source_networks, raw.windows)?;
        conditions.max_risk = raw.max_risk;
        conditions.token_required = match raw.token_required {
            Some(false) => return Err(ConditionsError::NoToken),
            Some(true) => true,
            None => false,
        };
        if conditions.is_unconditional() { Err(ConditionsError::Nothing) } else { Ok(conditions) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Conditions, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn holds(networks: &str, source: &str) -> bool {
        let conditions = parse(&format!(r#"{{"source_networks":{networks}}}"#)).unwrap();
        conditions.hold(Time::default(), source.parse().unwrap())
    }

    #[test]
    fn sources_inside_and_outside() {
        assert!(holds(r#"["10.0.0.0/8"]"#, "10.255.0.1"));
        assert!(!holds(r#"["10.0.0.0/8"]"#, "11.0.0.0"));
        assert!(holds(r#"["192.0.2.7/32","2001:db8::/32"]"#, "2001:db8:ffff::1"));
        assert!(!holds(r#"["192.0.2.7/32","2001:db8::/32"]"#, "192.0.2.8"));
        assert!(holds(r#"["0.0.0.0/0"]"#, "203.0.113.9"));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert!(holds(r#"["10.0.0.0/8"]"#, "::ffff:10.1.2.3"));
        assert!(!holds(r#"["10.0.0.0/8"]"#, "::ffff:11.1.2.3"));
        assert!(!holds(r#"["::/0"]"#, "::ffff:10.1.2.3"), "any IPv6 address is not any IPv4 address");
        assert!(!holds(r#"["0.0.0.0/0"]"#, "2001:db8::1"));
        assert!(!holds(r#"["10.0.0.0/8"]"#, "::10.1.2.3"), "IPv4-compatible addresses are IPv6");
    }

    #[test]
    fn every_condition_must_hold() {
        let json = r#"{"source_networks":["10.0.0.0/8"],"windows":[{"days":["*"],"from":"08:00","to":"18:00","zone":"UTC"}]}"#;
        let both = parse(json).unwrap();
        let hold = |time: &str, source: &str| both.hold(time.parse().unwrap(), source.parse().unwrap());
        assert!(hold("2026-11-22T08:00:00Z", "10.0.0.1"));
        assert!(!hold("2026-11-22T07:59:59Z", "10.0.0.1"));
        assert!(!hold("2026-11-22T08:00:00Z", "11.0.0.1"));
        assert_eq!(serde_json::to_string(&both).unwrap(), json);
        assert!(Conditions::default().hold(Time::MAX, "::1".parse().unwrap()));
    }

    #[test]
    fn a_token_and_a_risk_are_conditions() {
        let json = r#"{"token_required":true,"max_risk":"medium"}"#;
        let both = parse(json).unwrap();
        assert_eq!(both, Conditions::default().with_token_required().with_max_risk(Risk::Medium));
        assert_eq!(serde_json::to_string(&both).unwrap(), json);
        assert!(both.token_required() && both.max_risk() == Some(Risk::Medium));
        for one in [r#"{"token_required":true}"#, r#"{"max_risk":"low"}"#] {
            assert!(!parse(one).unwrap().is_unconditional());
        }
    }

    #[test]
    fn conditions_with_two_readings_are_refused() {
        let many: Vec<String> = (0..=MAX_ENTRIES).map(|n| format!(r#""10.0.{n}.0/24""#)).collect();
        for (json, says) in [
            ("{}", "empty"),
            (r#"[["10.0.0.0/8"],[]]"#, "an object"),
            ("null", "null"),
            (r#"{"source_networks":null}"#, "null"),
            (r#"{"windows":null,"source_networks":["10.0.0.0/8"]}"#, "null"),
            (r#"{"source_networks":[]}"#, "`source_networks` is empty"),
            (r#"{"windows":[]}"#, "`windows` is empty"),
            (r#"{"source_networks":["10.0.0.1/8"]}"#, "write `10.0.0.0/8`"),
            (r#"{"source_networks":["10.0.0.0/8","10.0.0.0/8"]}"#, "twice"),
            (r#"{"source_networks":["10.0.0.1"]}"#, "invalid"),
            (r#"{"source_networks":["10.0.0.0/33"]}"#, "invalid"),
            (r#"{"source_networks":["::ffff:10.0.0.0/104"]}"#, "write it as IPv4"),
            (r#"{"source_networks":["*"]}"#, "invalid"),
            (r#"{"source_networks":["10.0.0.0/8"],"source_networks":["10.0.0.0/8"]}"#, "duplicate"),
            (r#"{"risk":"low"}"#, "unknown"),
            (r#"{"max_risk":"none"}"#, "unknown"),
            (r#"{"max_risk":null}"#, "expected value"),
            (r#"{"token_required":false}"#, "leave it out"),
            (r#"{"token_required":null}"#, "null"),
            (r#"{"token_required":1}"#, "boolean"),
            (&format!(r#"{{"source_networks":[{}]}}"#, many.join(",")), "more than 100"),
        ] {
            let error = parse(json).expect_err(json);
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
