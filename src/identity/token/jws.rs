//! A signed token in compact form (RFC 7515): taken apart without believing anything, then verified.

use crate::identity::token::{Claims, KeySet, TokenFault};
use crate::model::strict::Unique;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The longest token that is looked at.
pub const MAX_TOKEN: usize = 16 << 10;
/// The longest header.
const MAX_HEADER: usize = 2 << 10;

/// Header members that bring keys along, change how the rest is read, or must be understood (RFC 7515 section 4.1, RFC 7797).
const REFUSED: [&str; 9] = ["crit", "jwk", "jku", "x5u", "x5c", "b64", "enc", "zip", "epk"];

/// A token that was taken apart. Nothing in it was verified.
#[derive(Debug, Clone)]
pub struct Jws<'a> {
    algorithm: String,
    kid: Option<String>,
    kind: Option<String>,
    /// Header and payload as they were signed.
    signed: &'a str,
    signature: &'a str,
    claims: Map<String, Value>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenFault::TooLong`], [`TokenFault::Form`] or [`TokenFault::Header`].
    pub fn parse(text: &'a str) -> Result<Self, TokenFault> {
        if text.len() > MAX_TOKEN {
            return Err(TokenFault::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenFault::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenFault::Form)?;
        if header.len() > MAX_HEADER || payload.contains('.') || !is_base64url(signature) {
            return Err(TokenFault::Form);
        }
        let mut header = object(header)?;
        if REFUSED.iter().any(|name| header.contains_key(*name)) {
            return Err(TokenFault::Header);
        }
        let mut text_of = |name: &str| match header.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TokenFault::Form),
        };
        let algorithm = text_of("alg")?.ok_or(TokenFault::Form)?;
        Ok(Self {
            algorithm,
            kid: text_of("kid")?,
            kind: text_of("typ")?,
            signed,
            signature,
            claims: object(payload)?,
        })
    }

    /// The `iss` that it claims: to choose keys by, and for nothing else.
    #[must_use]
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The kind (`typ`), lower case and without the `application/` that may be left out (RFC 7515 section 4.1.9).
    #[must_use]
    pub fn kind(&self) -> Option<String> {
        let kind = self.kind.as_ref()?.to_ascii_lowercase();
        Some(kind.strip_prefix("application/").map_or(kind.clone(), str::to_owned))
    }

    /// The kind exactly as it stands there.
    #[must_use]
    pub fn exact_kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// The claims, if one of these keys signed them, with its own algorithm.
    ///
    /// # Errors
    /// [`TokenFault::UnknownKey`], [`TokenFault::Algorithm`] or [`TokenFault::Signature`].
    pub fn verify(self, keys: &KeySet) -> Result<Claims, TokenFault> {
        let key = self.kid.as_deref().and_then(|kid| keys.find(kid)).ok_or(TokenFault::UnknownKey)?;
        if self.algorithm != key.algorithm().as_str() {
            return Err(TokenFault::Algorithm);
        }
        if !key.signed(self.signed.as_bytes(), self.signature) {
            return Err(TokenFault::Signature);
        }
        Ok(Claims::verified(self.claims))
    }
}

/// The `kid` that the header of a text names, if it begins like a token at all. Believes nothing.
pub(super) fn named_key(text: &str) -> Option<String> {
    let (header, _) = text.split_once('.')?;
    if header.len() > MAX_HEADER {
        return None;
    }
    object(header).ok()?.get("kid")?.as_str().map(str::to_owned)
}

fn is_base64url(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A JSON object in base64url without padding, no name in it twice.
fn object(part: &str) -> Result<Map<String, Value>, TokenFault> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Form)?;
    match serde_json::from_slice(&bytes) {
        Ok(Unique(Value::Object(members))) => Ok(members),
        Ok(Unique(_)) | Err(_) => Err(TokenFault::Form),
    }
}
