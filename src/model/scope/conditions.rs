//! Conditions of a grant: what must hold at each request, beyond the scope. Absent is unconditional; `null`, `{}`, empty lists and
//! unknown members are refused (law 1).
//!
//! **Source networks** are CIDR blocks without host bits (`10.0.0.0/8`, never `10.1.2.3/8`). An IPv4 address that arrives mapped
//! into IPv6 (`::ffff:10.1.2.3`) is the IPv4 address, and blocks of mapped addresses are refused: write them as IPv4.
//!
//! **Windows** are in [`super::window`].

pub use super::window::TimeWindow;

use crate::model::Time;
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
}

/// Why conditions are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionsError {
    /// `{}`.
    #[error("`conditions` is empty: leave it out for none, or name one")]
    Nothing,
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
        })
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

    /// Whether nothing is demanded.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        self.source_networks.is_none() && self.windows.is_none()
    }

    /// Whether all conditions hold for a request from this address at this time. Allocates nothing.
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
}

impl TryFrom<Object<RawConditions>> for Conditions {
    type Error = ConditionsError;

    fn try_from(Object(raw): Object<RawConditions>) -> Result<Self, ConditionsError> {
        let conditions = Self::new(raw.source_networks, raw.windows)?;
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
            (&format!(r#"{{"source_networks":[{}]}}"#, many.join(",")), "more than 100"),
        ] {
            let error = parse(json).expect_err(json);
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
