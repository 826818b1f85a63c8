//! Keys of the age file format (age-encryption.org/v1): to whom a file is encrypted, and what opens it.
//!
//! X25519 alone. In text they are Bech32 (BIP 173), as `age-keygen` prints them.

use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use std::fmt;
use std::str::FromStr;

const RECIPIENT: &str = "age";
const IDENTITY: &str = "age-secret-key-";

/// A text is no key of age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgeKeyError {
    /// Not a recipient.
    #[error(
        "expected a public key of age such as `age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p`"
    )]
    Recipient,
    /// Not an identity.
    #[error("expected a private key of age that begins with `AGE-SECRET-KEY-1`")]
    Identity,
}

/// A public key: `age1…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgeRecipient(pub [u8; 32]);

/// A private key: `AGE-SECRET-KEY-1…`. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct AgeIdentity(pub [u8; 32]);

impl FromStr for AgeRecipient {
    type Err = AgeKeyError;
    fn from_str(text: &str) -> Result<Self, AgeKeyError> {
        decode(text, RECIPIENT).map(Self).ok_or(AgeKeyError::Recipient)
    }
}

impl fmt::Display for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(RECIPIENT, &self.0).ok_or(fmt::Error)?)
    }
}

impl FromStr for AgeIdentity {
    type Err = AgeKeyError;
    fn from_str(text: &str) -> Result<Self, AgeKeyError> {
        decode(text, IDENTITY).map(Self).ok_or(AgeKeyError::Identity)
    }
}

impl AgeIdentity {
    /// The key itself, for a file that nobody else can read.
    #[must_use]
    pub fn reveal(&self) -> Option<String> {
        encode(IDENTITY, &self.0).map(|text| text.to_ascii_uppercase())
    }
}

impl fmt::Debug for AgeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgeIdentity(…)")
    }
}

/// The `AgeIdentity`s of an identity file: one a line, between comments and empty lines.
///
/// # Errors
/// [`AgeKeyError::Identity`] for a line that is none, and where there is none at all.
pub fn identities(text: &str) -> Result<Vec<AgeIdentity>, AgeKeyError> {
    listed(text, AgeKeyError::Identity)
}

/// The `AgeRecipient`s of a recipients file, in the same form.
///
/// # Errors
/// [`AgeKeyError::Recipient`] for a line that is none, and where there is none at all.
pub fn recipients(text: &str) -> Result<Vec<AgeRecipient>, AgeKeyError> {
    listed(text, AgeKeyError::Recipient)
}

fn listed<T: FromStr<Err = AgeKeyError>>(text: &str, none: AgeKeyError) -> Result<Vec<T>, AgeKeyError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<T> = lines.map(str::parse).collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(none) } else { Ok(keys) }
}

fn decode(text: &str, prefix: &str) -> Option<[u8; 32]> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok()?;
    let bytes: Vec<u8> = checked.byte_iter().collect();
    let key: [u8; 32] = bytes.try_into().ok()?;
    // One spelling: not those with stray bits at the end, or a prefix of other letters.
    (encode(prefix, &key)? == text.to_ascii_lowercase()).then_some(key)
}

fn encode(prefix: &str, key: &[u8; 32]) -> Option<String> {
    bech32::encode::<Bech32>(bech32::Hrp::parse(prefix).ok()?, key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Printed by age-keygen 1.1.1.
    const PUBLIC: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    #[test]
    fn keys_have_one_spelling_each() {
        let key: AgeRecipient = PUBLIC.parse().unwrap();
        assert_eq!(key.to_string(), PUBLIC);
        let secret = AgeIdentity([7; 32]);
        let text = secret.reveal().unwrap();
        assert!(text.starts_with("AGE-SECRET-KEY-1"), "{text}");
        assert_eq!(text.parse::<AgeIdentity>().unwrap(), secret);
        assert!(!format!("{secret:?}").contains('7'));
        for wrong in ["", "age1", &PUBLIC[..60], &PUBLIC.replace("8p", "8q"), &text, "ssh-ed25519 AAAA"] {
            assert_eq!(wrong.parse::<AgeRecipient>(), Err(AgeKeyError::Recipient), "{wrong}");
        }
        assert_eq!(PUBLIC.parse::<AgeIdentity>(), Err(AgeKeyError::Identity));
    }

    #[test]
    fn files_hold_keys_between_comments() {
        let text = format!("# public key: {PUBLIC}\n\n  {PUBLIC}  \n{PUBLIC}\r\n");
        assert_eq!(recipients(&text).unwrap().len(), 2);
        assert!(recipients("# nothing\n").is_err() && recipients("x\n").is_err() && identities("").is_err());
    }
}
