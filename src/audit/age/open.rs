//! Reading a file: strict about every byte, so that what was changed is found.

use super::seal::aead;
use super::{
    BASE64, CHUNK, END, FILE_KEY, PAYLOAD_NONCE, STANZA, TAG, VERSION, derive, header_key, nonce, wrapping,
};
use crate::model::{AgeIdentity, AgeRecipient};
use aws_lc_rs::aead::{Aad, Nonce};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use base64::Engine as _;

/// A file cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another format, or one of age's that is not written here.
    #[error("not a file in the age format with X25519 recipients")]
    Foreign,
    /// It is for others.
    #[error("the key does not open it: it was encrypted for another")]
    WrongKey,
    /// It was changed or cut short.
    #[error("it was changed or cut short")]
    Broken,
}

impl From<Unspecified> for OpenError {
    fn from(_: Unspecified) -> Self {
        Self::Broken
    }
}

/// The public key of a private one.
///
/// # Errors
/// [`OpenError::Broken`] if it is none.
pub fn recipient(AgeIdentity(secret): &AgeIdentity) -> Result<AgeRecipient, OpenError> {
    let public =
        PrivateKey::from_private_key(&X25519, secret).map_err(|_| OpenError::Broken)?.compute_public_key()?;
    public.as_ref().try_into().map(AgeRecipient).map_err(|_| OpenError::Broken)
}

/// What the file holds.
///
/// # Errors
/// [`OpenError`].
pub fn open(identities: &[AgeIdentity], file: &[u8]) -> Result<Vec<u8>, OpenError> {
    let Parts { header, code, payload } = split(file)?;
    let file_key = file_key(identities, header)?;
    // `---` belongs to what is vouched for, what follows it does not.
    hmac::verify(&header_key(&file_key)?, &[header, END.as_bytes()].concat(), &code)?;
    let (salt, chunks) = payload.split_at_checked(PAYLOAD_NONCE).ok_or(OpenError::Broken)?;
    let key = aead(&derive(&file_key, salt, b"payload")?)?;
    let count = chunks.len().div_ceil(CHUNK + TAG);
    let mut plain = Vec::with_capacity(chunks.len());
    for (number, chunk) in chunks.chunks(CHUNK + TAG).enumerate() {
        let last = number + 1 == count;
        let at = Nonce::assume_unique_for_key(nonce(number as u64, last));
        let mut chunk = chunk.to_vec();
        let opened = key.open_in_place(at, Aad::empty(), &mut chunk)?;
        if opened.is_empty() && number > 0 {
            return Err(OpenError::Broken);
        }
        plain.extend_from_slice(opened);
    }
    if count == 0 { Err(OpenError::Broken) } else { Ok(plain) }
}

struct Parts<'a> {
    /// The lines before `---`, each with its end.
    header: &'a [u8],
    /// What stands behind it.
    code: Vec<u8>,
    payload: &'a [u8],
}

fn split(file: &[u8]) -> Result<Parts<'_>, OpenError> {
    if !file.starts_with(VERSION.as_bytes()) {
        return Err(OpenError::Foreign);
    }
    let mut at = 0;
    loop {
        let rest = file.get(at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(OpenError::Broken)?;
        let (line, after) = (rest.get(..length).unwrap_or_default(), at + length + 1);
        if let Some(code) = line.strip_prefix(END.as_bytes()) {
            let code =
                code.strip_prefix(b" ").and_then(|code| BASE64.decode(code).ok()).ok_or(OpenError::Broken)?;
            let (header, payload) =
                (file.get(..at).unwrap_or_default(), file.get(after..).unwrap_or_default());
            return Ok(Parts { header, code, payload });
        }
        at = after;
    }
}

fn file_key(identities: &[AgeIdentity], header: &[u8]) -> Result<[u8; FILE_KEY], OpenError> {
    let text = std::str::from_utf8(header).map_err(|_| OpenError::Broken)?;
    let mut lines = text.lines().skip(1);
    let mut any = false;
    while let Some(line) = lines.next() {
        let Some(share) = line.strip_prefix(STANZA) else { continue };
        let body = lines.next().ok_or(OpenError::Broken)?;
        let bytes = |text: &str| BASE64.decode(text).map_err(|_| OpenError::Broken);
        let share: [u8; 32] = bytes(share)?.try_into().map_err(|_| OpenError::Broken)?;
        let body = bytes(body)?;
        any = true;
        if let Some(key) = identities.iter().find_map(|identity| unwrap(identity, &share, &body).ok()) {
            return Ok(key);
        }
    }
    Err(if any { OpenError::WrongKey } else { OpenError::Foreign })
}

fn unwrap(identity: &AgeIdentity, share: &[u8; 32], body: &[u8]) -> Result<[u8; FILE_KEY], OpenError> {
    let AgeRecipient(own) = recipient(identity)?;
    let secret = PrivateKey::from_private_key(&X25519, &identity.0).map_err(|_| OpenError::Broken)?;
    let theirs = UnparsedPublicKey::new(&X25519, share.as_slice());
    let key = agree(&secret, theirs, Unspecified, |shared| wrapping(shared, share, &own))?;
    let mut body = body.to_vec();
    let opened = aead(&key)?.open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut body)?;
    opened.try_into().map_err(|_| OpenError::Broken)
}
