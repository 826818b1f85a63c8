//! Strict reading of optional JSON members. serde takes `null` for "absent"; here absent often means "unrestricted", and nobody
//! gets that by writing `null` (law 1).

use serde::{Deserialize, Deserializer};

/// For `#[serde(default, deserialize_with = "present")]`: absent is none, everything else must be a `T`.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
