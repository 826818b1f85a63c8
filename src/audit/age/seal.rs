//! Writing a file: a fresh file key, wrapped for each recipient, and the plaintext in chunks under it.

use super::{
    BASE64, CHUNK, END, FILE_KEY, PAYLOAD_NONCE, STANZA, TAG, VERSION, derive, header_key, nonce, wrapping,
};
use crate::model::AgeRecipient;
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use base64::Engine as _;

/// A file could not be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is nobody to encrypt for.
    #[error("there is no recipient")]
    Nobody,
    /// No random numbers, or a key that is no point of the curve.
    #[error("the recipient's key cannot be used, or the system has no random numbers")]
    Failed,
}

impl From<Unspecified> for SealError {
    fn from(_: Unspecified) -> Self {
        Self::Failed
    }
}

/// The file that holds `plain`.
///
/// # Errors
/// [`SealError`].
pub fn seal(recipients: &[AgeRecipient], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    if recipients.is_empty() {
        return Err(SealError::Nobody);
    }
    let file_key: [u8; FILE_KEY] = random()?;
    let mut out = header(recipients, &file_key)?.into_bytes();
    let salt: [u8; PAYLOAD_NONCE] = random()?;
    out.extend_from_slice(&salt);
    let key = aead(&derive(&file_key, &salt, b"payload")?)?;
    out.reserve(plain.len() + (plain.len() / CHUNK + 1) * TAG);
    // An empty file has one chunk, which is empty.
    let chunks = plain.len().div_ceil(CHUNK).max(1);
    for number in 0..chunks {
        let chunk = plain.get(number * CHUNK..plain.len().min((number + 1) * CHUNK)).unwrap_or_default();
        let start = out.len();
        out.extend_from_slice(chunk);
        let at = Nonce::assume_unique_for_key(nonce(number as u64, number + 1 == chunks));
        let tag =
            key.seal_in_place_separate_tag(at, Aad::empty(), out.get_mut(start..).unwrap_or_default())?;
        out.extend_from_slice(tag.as_ref());
    }
    Ok(out)
}

fn header(recipients: &[AgeRecipient], file_key: &[u8; FILE_KEY]) -> Result<String, SealError> {
    let mut header = VERSION.to_owned();
    for AgeRecipient(recipient) in recipients {
        let ephemeral = PrivateKey::generate(&X25519)?;
        let share: [u8; 32] = ephemeral.compute_public_key()?.as_ref().try_into().map_err(|_| Unspecified)?;
        let theirs = UnparsedPublicKey::new(&X25519, recipient.as_slice());
        // Refuses points of low order: their secret would be known to everybody.
        let key = agree(&ephemeral, theirs, Unspecified, |shared| wrapping(shared, &share, recipient))?;
        let mut body = file_key.to_vec();
        aead(&key)?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::empty(),
            &mut body,
        )?;
        header.push_str(STANZA);
        BASE64.encode_string(share, &mut header);
        header.push('\n');
        BASE64.encode_string(body, &mut header);
        header.push('\n');
    }
    header.push_str(END);
    let code = hmac::sign(&header_key(file_key)?, header.as_bytes());
    header.push(' ');
    BASE64.encode_string(code, &mut header);
    header.push('\n');
    Ok(header)
}

pub(super) fn aead(key: &[u8; 32]) -> Result<LessSafeKey, Unspecified> {
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new)
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| SealError::Failed)?;
    Ok(bytes)
}
