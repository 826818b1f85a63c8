//! Signed notes (c2sp.org/signed-note) with Ed25519 keys, algorithm 0x01.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::str::FromStr;

/// The algorithm's number in keys.
const ALGORITHM: u8 = 0x01;
pub(super) const KEY_LEN: usize = 32;
pub(super) const SIGNATURE_LEN: usize = 64;
/// Begins each signature line: an em dash and a space.
const MARK: &str = "— ";

/// Why a note or a key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not of this form at all.
    #[error("it is no signed note: it needs a text, an empty line and signature lines")]
    Malformed,
    /// Signed by others only.
    #[error(
        "it is not signed by `{wanted}` but by {signers}: this is the wrong key, or the note of another log"
    )]
    Unsigned {
        /// The key that was looked for.
        wanted: String,
        /// Who did sign.
        signers: String,
    },
    /// The signature is not over this text.
    #[error("the signature of `{0}` does not fit the text: the note was changed or forged")]
    Signature(String),
    /// Not a key of this form.
    #[error("it is no verifier key: `NAME+HASH+BASE64` of an Ed25519 key is needed")]
    Key,
    /// Not a key of a witness.
    #[error(
        "it is no key of a witness: `NAME+HASH+BASE64` of an Ed25519 cosignature key (type 0x04) is needed"
    )]
    WitnessKey,
    /// The key of a log.
    #[error("it is the key of a log (type 0x01), not of a witness (type 0x04)")]
    LogKey,
    /// A key of another algorithm.
    #[error(
        "keys of type 0x{0:02x} are not supported: a witness's Ed25519 cosignature key (type 0x04) is needed"
    )]
    Algorithm(u8),
    /// A cosignature's time is none.
    #[error("the cosignature of `{0}` says a time that is none")]
    Time(String),
    /// A private key that cannot be used.
    #[error("it is no Ed25519 key in PKCS#8 form")]
    PrivateKey,
    /// It cannot name a key.
    #[error("`{0}` cannot name a key: it is empty, or has white space or `+` in it")]
    Name(String),
}

/// A public key with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: [u8; KEY_LEN],
}

impl VerifierKey {
    fn new(name: &str, key: [u8; KEY_LEN]) -> Result<Self, NoteError> {
        let id = key_id(name, ALGORITHM, &key)?;
        Ok(Self { name: name.to_owned(), id, key })
    }

    /// Whose it is: the origin of the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a note that this key signed. Signatures of others are not looked at.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split(note)?;
        let mut signers = Vec::new();
        for line in signatures.lines() {
            let line = Line::take_apart(line).ok_or(NoteError::Malformed)?;
            if line.name == self.name && line.id == self.id {
                let good = verify(&self.key, text.as_bytes(), &line.signature);
                return if good { Ok(text) } else { Err(NoteError::Signature(self.name.clone())) };
            }
            signers.push(format!("`{}`", short(line.name, line.id)));
        }
        Err(NoteError::Unsigned { wanted: self.short(), signers: signers.join(", ") })
    }

    /// Its name and hash.
    #[must_use]
    pub fn short(&self) -> String {
        short(&self.name, self.id)
    }
}

/// A signature line that nobody has checked.
pub(super) struct Line<'a> {
    /// Who signs.
    pub(super) name: &'a str,
    /// The hash of the key.
    pub(super) id: [u8; 4],
    /// What stands behind it.
    pub(super) signature: Vec<u8>,
}

impl<'a> Line<'a> {
    pub(super) fn take_apart(line: &'a str) -> Option<Self> {
        let (name, signature) = line.strip_prefix(MARK)?.split_once(' ')?;
        let signature = STANDARD.decode(signature).ok()?;
        let (id, signature) = signature.split_first_chunk::<4>()?;
        Some(Self { name, id: *id, signature: signature.to_vec() })
    }
}

/// The hash of a key with its name.
pub(super) fn key_id(name: &str, algorithm: u8, key: &[u8]) -> Result<[u8; 4], NoteError> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
        return Err(NoteError::Name(name.to_owned()));
    }
    let hashed = [name.as_bytes(), b"\n", &[algorithm], key].concat();
    Ok(digest(&SHA256, &hashed).as_ref().first_chunk().copied().unwrap_or_default())
}

pub(super) fn verify(key: &[u8; KEY_LEN], message: &[u8], signature: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&ED25519, key);
    signature.len() == SIGNATURE_LEN && key.verify(message, signature).is_ok()
}

pub(super) fn short(name: &str, id: [u8; 4]) -> String {
    format!("{name}+{:08x}", u32::from_be_bytes(id))
}

/// Name, hash as it is written, and bytes of `NAME+HASH+BASE64`; the first of these is the algorithm.
pub(super) fn parts(text: &str) -> Option<(&str, &str, Vec<u8>)> {
    let mut parts = text.splitn(3, '+');
    let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name, id, STANDARD.decode(key).ok()?))
}

pub(super) fn written(name: &str, id: [u8; 4], algorithm: u8, key: &[u8]) -> String {
    format!("{}+{}", short(name, id), STANDARD.encode([&[algorithm], key].concat()))
}

/// The text of a note and its signature lines, which nobody has checked.
///
/// # Errors
/// [`NoteError::Malformed`].
pub fn split(note: &str) -> Result<(&str, &str), NoteError> {
    let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, rest) = note.split_at(at + 1);
    let signatures = rest.strip_prefix('\n').unwrap_or_default();
    let control = note.contains(|c: char| c.is_control() && c != '\n');
    if signatures.is_empty() || !signatures.ends_with('\n') || text.trim().is_empty() || control {
        return Err(NoteError::Malformed);
    }
    Ok((text, signatures))
}

/// `NAME+HASH+BASE64`.
impl fmt::Display for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&written(&self.name, self.id, ALGORITHM, &self.key))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, id, key) = parts(text).ok_or(NoteError::Key)?;
        let Some((&ALGORITHM, key)) = key.split_first() else { return Err(NoteError::Key) };
        let found = Self::new(name, key.try_into().map_err(|_| NoteError::Key)?)?;
        if id == format!("{:08x}", u32::from_be_bytes(found.id)) { Ok(found) } else { Err(NoteError::Key) }
    }
}

/// A private key with its name.
pub struct NoteSigner {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl NoteSigner {
    /// A new key in PKCS#8 form; `None` if there is no randomness.
    #[must_use]
    pub fn generate() -> Option<Vec<u8>> {
        let made = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).ok()?;
        Some(made.as_ref().to_vec())
    }

    /// From a key in PKCS#8 form.
    ///
    /// # Errors
    /// [`NoteError::PrivateKey`], [`NoteError::Name`].
    pub fn from_pkcs8(name: &str, der: &[u8]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| NoteError::PrivateKey)?;
        let key = pair.public_key().as_ref().try_into().map_err(|_| NoteError::PrivateKey)?;
        Ok(Self { pair, verifier: VerifierKey::new(name, key)? })
    }

    /// Its public half.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs `text`, whose last character is a newline.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let signature = [self.verifier.id.as_slice(), signature.as_ref()].concat();
        format!("{text}\n{MARK}{} {}\n", self.verifier.name, STANDARD.encode(signature))
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NoteSigner({})", self.verifier.short())
    }
}
