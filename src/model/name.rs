//! Names that people choose: services, tasks, proxies. Small alphabets, so that a name reads the same everywhere: in a
//! host name, in a header, in a terminal, in HTML.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not such a name; says what would be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: expected {expected}")]
pub struct NameError {
    what: &'static str,
    expected: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError { what: $what, expected: $expected })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Host-name alphabet: lower-case letters, digits, `-`, and `.` between labels; starts and ends with a letter or digit.
fn is_service(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// One label of such a name: also the name of a file, beside which there is room for the dots of others.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Visible ASCII that needs no quoting in a header, a URL path segment or a shell word.
fn is_task(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:#@+=".contains(&b))
        && text.bytes().any(|b| b.is_ascii_alphanumeric())
}

name!(
    /// A protected service, as named in `locations` of a scope and in the proxy's configuration.
    ServiceName, "service name", "lower-case letters, digits and `-` (dots between labels), at most 253 characters", is_service
);
name!(
    /// The unit of work that access is for, for instance `INC-4711`.
    TaskId, "task", "1 to 128 letters, digits or any of `-._:#@+=`", is_task
);
name!(
    /// The name of a proxy in audit lines and receipts: the last part of its SPIFFE ID or as configured.
    ProxyName, "proxy name", "lower-case letters, digits and `-` (dots between labels), at most 253 characters", is_service
);
name!(
    /// A group of principals and people, as policies and approval rules name it.
    GroupName, "group name", "1 to 128 letters, digits or any of `-._:#@+=`", is_task
);
name!(
    /// A webhook, as the configuration calls it.
    WebhookName, "webhook name", "lower-case letters, digits and `-` (dots between labels), at most 253 characters", is_service
);
name!(
    /// Where an audit trail is sent, as the configuration calls it.
    ExportName, "export name", "lower-case letters, digits and `-` (dots between labels), at most 253 characters", is_service
);
name!(
    /// An external witness of a log, as the configuration calls it.
    WitnessName, "witness name", "lower-case letters, digits and `-`, at most 63 characters", is_label
);
name!(
    /// A named scope template of the configuration, which a request may name instead of a scope.
    RoleName, "role name", "1 to 128 letters, digits or any of `-._:#@+=`", is_task
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_has_another_reading_elsewhere() {
        for good in ["orders", "a", "a-1.b", "127.0.0.1"] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a..b", ".", "a.", "a b", "a:b", "a/b", "é", "a_b", "*"] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
        for good in ["w1", "city-archive", &"w".repeat(63)] {
            assert!(good.parse::<WitnessName>().is_ok(), "{good}");
        }
        for bad in ["", "a.b", "-a", "w1.0123456789abcdef.tmp", &"w".repeat(64)] {
            assert!(bad.parse::<WitnessName>().is_err(), "{bad}");
        }
        for good in ["INC-4711", "a.b_c:1", "42"] {
            assert!(good.parse::<TaskId>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a,b", "\u{202e}", "a\n", "..", &"x".repeat(129)] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad}");
        }
    }
}
