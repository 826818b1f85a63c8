//! The versions of MCP that have streamable HTTP, and what differs between them on the wire.
//!
//! | | 2025-03-26 | 2025-06-18, 2025-11-25 | 2026-07-28 |
//! |---|---|---|---|
//! | `MCP-Protocol-Version` | may be absent | after `initialize`, once a session is known it may be absent | on every request |
//! | `Mcp-Method`, `Mcp-Name`, `Mcp-Param-*` | refused | refused | as the body says |
//! | `params._meta` with a version | refused | refused | on every request |
//! | `Mcp-Session-Id` | as the server gave it | as the server gave it | refused |
//! | `GET`, `DELETE`, `Last-Event-ID` | yes | yes | refused |
//! | batches | yes | refused | refused |
//! | responses of the client | yes | yes | refused |

use std::fmt;
use std::str::FromStr;

/// A version of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// 2025-03-26: the only one with batches.
    V20250326,
    /// 2025-06-18.
    V20250618,
    /// 2025-11-25: the last one with sessions.
    V20251125,
    /// 2026-07-28: each request stands alone.
    V20260728,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 4] = [Self::V20250326, Self::V20250618, Self::V20251125, Self::V20260728];

    /// As it is written in headers and bodies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V20250326 => "2025-03-26",
            Self::V20250618 => "2025-06-18",
            Self::V20251125 => "2025-11-25",
            Self::V20260728 => "2026-07-28",
        }
    }

    /// Whether each request stands alone: no session, no stream but answers.
    #[must_use]
    pub fn is_stateless(self) -> bool {
        match self {
            Self::V20250326 | Self::V20250618 | Self::V20251125 => false,
            Self::V20260728 => true,
        }
    }

    /// Whether a body may be a list of messages.
    #[must_use]
    pub fn has_batches(self) -> bool {
        self == Self::V20250326
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// A text names no version that this gate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an MCP version: `2025-03-26`, `2025-06-18`, `2025-11-25` or `2026-07-28`")]
pub struct VersionError;

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or(VersionError)
    }
}

/// Versions that are allowed; never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions(u8);

impl Versions {
    /// Every version.
    pub const ALL: Self = Self(0b1111);

    /// The versions of a list; none if it is empty.
    #[must_use]
    pub fn of(list: impl IntoIterator<Item = Version>) -> Option<Self> {
        let bits = list.into_iter().fold(0, |bits, version| bits | 1 << version as u8);
        (bits != 0).then_some(Self(bits))
    }

    /// Whether this one is allowed.
    #[must_use]
    pub fn contains(self, version: Version) -> bool {
        self.0 & 1 << version as u8 != 0
    }

    /// Newest first.
    pub fn iter(self) -> impl Iterator<Item = Version> {
        Version::ALL.into_iter().rev().filter(move |version| self.contains(*version))
    }

    /// The newest one that has sessions.
    pub(super) fn newest_with_sessions(self) -> Option<Version> {
        self.iter().find(|version| !version.is_stateless())
    }
}
