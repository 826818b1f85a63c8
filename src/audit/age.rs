//! Files that only the holder of a private key can open, in the age format (C2SP `age`, version 1), X25519 recipients.
//!
//! The format alone is ours; every primitive is the provider's that TLS uses as well. The crate `age` would bring a second set of
//! primitives and translations of its messages, fifty crates in all. The standard tool `age` opens what is written here (held by
//! `tests/e2e/recording.rs`), and what it wrote is opened here.

mod open;
mod seal;

pub use open::{OpenError, open, recipient};
pub use seal::{SealError, seal};

use crate::model::{AgeIdentity, AgeRecipient};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::{error::Unspecified, hmac};
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

const VERSION: &str = "age-encryption.org/v1\n";
const STANZA: &str = "-> X25519 ";
const END: &str = "---";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const FILE_KEY: usize = 16;
const PAYLOAD_NONCE: usize = 16;
/// Plaintext bytes of a chunk.
const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;

/// A new pair of keys.
///
/// # Errors
/// [`SealError::Failed`] where the system has no random numbers.
pub fn generate() -> Result<(AgeIdentity, AgeRecipient), SealError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|_| SealError::Failed)?;
    let identity = AgeIdentity(key);
    let public = recipient(&identity).map_err(|_| SealError::Failed)?;
    Ok((identity, public))
}

struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Result<[u8; 32], Unspecified> {
    let mut key = [0; 32];
    Salt::new(HKDF_SHA256, salt).extract(secret).expand(&[info], Bytes(32))?.fill(&mut key)?;
    Ok(key)
}

/// The key under which a stanza carries the file key.
fn wrapping(shared: &[u8], share: &[u8; 32], recipient: &[u8; 32]) -> Result<[u8; 32], Unspecified> {
    derive(shared, &[share.as_slice(), recipient].concat(), LABEL)
}

/// What vouches for the header: a code over all of it up to `---`.
fn header_key(file_key: &[u8; FILE_KEY]) -> Result<hmac::Key, Unspecified> {
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &derive(file_key, &[], b"header")?))
}

/// The nonce of a chunk: its number, and whether it is the last.
fn nonce(number: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    let [rest @ .., flag] = &mut nonce;
    rest.iter_mut().rev().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    *flag = last.into();
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(seed: u8) -> (AgeIdentity, AgeRecipient) {
        let identity = AgeIdentity([seed; 32]);
        let recipient = open::recipient(&identity).unwrap();
        (identity, recipient)
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_and_no_other() {
        let ((one, to_one), (two, to_two), (other, _)) = (pair(1), pair(2), pair(3));
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let plain: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let file = seal(&[to_one, to_two], &plain).unwrap();
            assert_eq!(open(std::slice::from_ref(&one), &file).unwrap(), plain, "{length}");
            assert_eq!(open(&[other.clone(), two.clone()], &file).unwrap(), plain, "{length}");
            assert_eq!(open(std::slice::from_ref(&other), &file), Err(OpenError::WrongKey));
        }
        assert!(seal(&[], b"x").is_err(), "nobody could open it");
    }

    #[test]
    fn no_byte_can_be_changed_or_left_out() {
        let (identity, recipient) = pair(1);
        let file = seal(&[recipient], &vec![b'x'; CHUNK + 10]).unwrap();
        for at in (0..300).chain([CHUNK, file.len() - 1]) {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(open(std::slice::from_ref(&identity), &changed).is_err(), "byte {at}");
        }
        for cut in [0, 10, 100, 200, file.len() - 1, file.len() - 26, file.len() - 27] {
            assert!(open(std::slice::from_ref(&identity), &file[..cut]).is_err(), "cut at {cut}");
        }
        assert!(open(&[identity], &[file.as_slice(), b"x"].concat()).is_err());
    }
}
