//! Identifiers: a prefix that says what it names, and a ULID (48 bit milliseconds, 80 bit random) that sorts by time.
//!
//! Text form: `gr_` + 26 lower-case Crockford base32 digits. Exactly one spelling is accepted. 16 bytes in memory.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 26;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind: expected `{prefix}_` and 26 base32 digits")]
pub struct IdError {
    prefix: &'static str,
}

fn encode(value: u128, out: &mut [u8; DIGITS]) {
    const TWELVE: u128 = (1 << 60) - 1;
    // In parts of at most 12 digits, which fit into 64 bits: every audit line carries two of these.
    let (head, tail) = out.split_at_mut(14);
    let (first, middle) = head.split_at_mut(2);
    for (digits, part) in [(first, value >> 120), (middle, (value >> 60) & TWELVE), (tail, value & TWELVE)] {
        let mut rest = part as u64;
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET.get((rest & 31) as usize).copied().unwrap_or(b'0');
            rest >>= 5;
        }
    }
}

fn decode(text: &[u8]) -> Option<u128> {
    // 26 digits hold 130 bits; the first may only be 0..=7.
    if text.len() != DIGITS || text.first().is_none_or(|first| *first > b'7') {
        return None;
    }
    text.iter().try_fold(0_u128, |value, byte| {
        let digit = ALPHABET.iter().position(|letter| letter == byte)?;
        Some((value << 5) | digit as u128)
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The prefix of the text form, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// From milliseconds since the Unix epoch (the low 48 bits count) and 80 random bits.
            #[must_use]
            pub fn from_parts(millis: u64, random: [u8; 10]) -> Self {
                let mut low = [0_u8; 16];
                if let Some(tail) = low.get_mut(6..) {
                    tail.copy_from_slice(&random);
                }
                Self((u128::from(millis & 0xffff_ffff_ffff) << 80) | u128::from_be_bytes(low))
            }

            /// The 128 bits, for the wire.
            #[must_use]
            pub fn to_bits(self) -> u128 {
                self.0
            }

            /// From the 128 bits of [`Self::to_bits`].
            #[must_use]
            pub fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// The milliseconds since the Unix epoch at which it was made.
            #[must_use]
            pub fn millis(self) -> u64 {
                (self.0 >> 80) as u64
            }

            /// Appends the text form without allocating more than `out` needs.
            pub fn write_to(self, out: &mut Vec<u8>) {
                let mut digits = [0_u8; DIGITS];
                encode(self.0, &mut digits);
                out.extend_from_slice(concat!($prefix, "_").as_bytes());
                out.extend_from_slice(&digits);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut digits = [0_u8; DIGITS];
                encode(self.0, &mut digits);
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(|digits| decode(digits.as_bytes()))
                    .map(Self)
                    .ok_or(IdError { prefix: $prefix })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
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

id!(
    /// A grant, `gr_…`.
    GrantId, "gr"
);
id!(
    /// A revocation, `rv_…`.
    RevocationId, "rv"
);
id!(
    /// An access request, `rq_…`.
    AccessRequestId, "rq"
);
id!(
    /// A review of what was granted under an exception, `rw_…`.
    ReviewId, "rw"
);
id!(
    /// One HTTP request at a proxy, `rq_…` is an access request; this is `req_…`, the value of `x-request-id`.
    RequestId, "req"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_sorts_by_time() {
        let early = GrantId::from_parts(1_000, [0xff; 10]);
        let late = GrantId::from_parts(1_001, [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<GrantId>().unwrap(), early);
        assert_eq!(early.to_string().len(), 29);
        assert_eq!(late.millis(), 1_001);
    }

    #[test]
    fn only_one_spelling_is_accepted() {
        let id = GrantId::from_parts(77, [7; 10]).to_string();
        for wrong in [
            id.to_uppercase(),
            id.replacen("gr_", "rv_", 1),
            format!("{id}0"),
            format!(" {id}"),
            id.replacen("gr_0", "gr_8", 1),
            "gr_".into(),
            String::new(),
        ] {
            assert!(wrong.parse::<GrantId>().is_err(), "{wrong}");
        }
    }
}
