//! Asking once although the answer got lost (`Idempotency-Key`, draft-ietf-httpapi-idempotency-key-header-07).

use serde::{Deserialize, Serialize};

/// A key that a caller chose for one ask, and what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdempotencyKey {
    /// From 1 to 255 visible ASCII characters, without quotation mark and backslash.
    pub key: String,
    /// SHA-256 of where it was sent and what, in hexadecimal: the same key with anything else is a mistake of the caller.
    pub fingerprint: String,
}

impl IdempotencyKey {
    /// The key that a header's value names: a string of RFC 8941 (`"…"`), or the same without quotation marks, as many clients
    /// send it. `None`: neither.
    #[must_use]
    pub fn read(value: &str) -> Option<&str> {
        let text = value.trim_matches([' ', '\t']);
        let text = text.strip_prefix('"').map_or(Some(text), |rest| rest.strip_suffix('"'))?;
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        ((1..=255).contains(&text.len()) && text.bytes().all(plain)).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_the_same_with_and_without_quotation_marks() {
        for text in ["8e03978e-40d5", "\"8e03978e-40d5\"", " \"8e03978e-40d5\" "] {
            assert_eq!(IdempotencyKey::read(text), Some("8e03978e-40d5"), "{text}");
        }
        for text in ["", "\"\"", "\"a", "a\"", "a b", "\"a\"b\"", "\"a\\\"b\"", "\u{e4}", &"k".repeat(256)] {
            assert_eq!(IdempotencyKey::read(text), None, "{text}");
        }
        assert!(IdempotencyKey::read(&"k".repeat(255)).is_some());
    }
}
