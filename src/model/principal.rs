//! A principal: a SPIFFE ID (SPIFFE-ID.md sections 2 and 2.1 to 2.3), `spiffe://trust-domain/path`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A syntactically valid SPIFFE ID with a non-root path. Cloning is cheap. One spelling: it is compared byte for byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId(Arc<str>);

/// Why a text is not a SPIFFE ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// Longer than 2,048 bytes.
    #[error("a SPIFFE ID has at most 2048 bytes")]
    TooLong,
    /// The scheme is not exactly `spiffe://`.
    #[error("a SPIFFE ID starts with `spiffe://`")]
    Scheme,
    /// Empty, too long, or not of lower-case letters, digits, `.`, `-` and `_`.
    #[error("the trust domain has 1 to 255 lower-case letters, digits, `.`, `-` or `_`")]
    TrustDomain,
    /// Missing, with an empty or dot segment, a trailing slash, or characters beyond letters, digits, `.`, `-`, `_`.
    #[error(
        "the path has one or more segments of letters, digits, `.`, `-` or `_`, none of them `.` or `..`"
    )]
    Path,
}

impl SpiffeId {
    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text without its scheme, `spiffe://`.
    #[must_use]
    pub fn bare(&self) -> &str {
        self.0.strip_prefix("spiffe://").unwrap_or(&self.0)
    }

    /// The trust domain, for instance `jitgate.local`.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.rest().split_once('/').map_or("", |(domain, _)| domain)
    }

    /// The path, without the leading slash.
    #[must_use]
    pub fn path(&self) -> &str {
        self.rest().split_once('/').map_or("", |(_, path)| path)
    }

    /// The shared text, for those who keep many copies.
    #[must_use]
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }

    fn rest(&self) -> &str {
        self.0.strip_prefix("spiffe://").unwrap_or_default()
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > 2048 {
            return Err(SpiffeIdError::TooLong);
        }
        let rest = text.strip_prefix("spiffe://").ok_or(SpiffeIdError::Scheme)?;
        let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        let domain_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
        if !(1..=255).contains(&domain.len()) || !domain.bytes().all(domain_byte) {
            return Err(SpiffeIdError::TrustDomain);
        }
        let segment = |s: &str| {
            !matches!(s, "" | "." | "..")
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        if !path.split('/').all(segment) {
            return Err(SpiffeIdError::Path);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for SpiffeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for SpiffeId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for SpiffeId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_valid_id() {
        let id: SpiffeId = "spiffe://jitgate.local/agent/demo".parse().unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("jitgate.local", "agent/demo"));
    }

    #[test]
    fn what_is_no_spiffe_id() {
        for bad in [
            "",
            "spiffe://",
            "spiffe:///a",
            "spiffe://d",
            "spiffe://d/",
            "spiffe://d/a/",
            "spiffe://d//a",
            "spiffe://d/./a",
            "spiffe://d/..",
            "SPIFFE://d/a",
            "Spiffe://d/a",
            "spiffe://D/a",
            "spiffe://d:1/a",
            "spiffe://u@d/a",
            "spiffe://d/a?x",
            "spiffe://d/a#x",
            "spiffe://d/%61",
            "spiffe://d/é",
            "spiffe://d/a\0",
            "https://d/a",
            &format!("spiffe://d/{}", "a".repeat(2048)),
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
}
