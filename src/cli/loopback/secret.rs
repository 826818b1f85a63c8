//! The secret of one run: who knows it may use the loopback listener, and nobody else on this machine.
//!
//! Invariants: never printed by `Debug`, compared in constant time, never part of what goes on to the gate.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// 256 random bits, as text that needs no escaping in a URL, a header or a shell word.
#[derive(Clone)]
pub(in crate::cli) struct Secret(String);

impl Secret {
    /// A new one.
    pub(in crate::cli) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The text, for those who are to have it.
    pub(in crate::cli) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether these bytes are the secret. Takes as long for a wrong one that is right at its beginning as for any other.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), given).is_ok()
    }

    /// Whether these bytes contain the secret; for what its owner sends elsewhere by mistake.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        bytes.windows(self.0.len()).any(|window| self.is(window))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_the_secret() {
        let (secret, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        let text = secret.reveal().to_owned();
        assert_eq!(text.len(), 43);
        assert!(secret.is(text.as_bytes()));
        for wrong in [other.reveal(), "", &text[1..], &format!("{text}x"), &text.to_uppercase()] {
            assert!(!secret.is(wrong.as_bytes()), "{wrong}");
        }
        assert!(secret.is_in(format!("http://127.0.0.1/{text}/v1").as_bytes()));
        assert!(!secret.is_in(&text.as_bytes()[..42]));
        assert!(!format!("{secret:?}").contains(&text));
    }
}
