//! The hashes of RFC 6962, section 2.1: SHA-256, with one prefix for leaves and another for nodes, so that neither passes for the
//! other.

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// Bytes of a hash.
pub const HASH_LEN: usize = 32;

/// A hash of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; HASH_LEN]);

impl Hash {
    /// The root of a tree without leaves.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(digest(&SHA256, &[]).as_ref())
    }

    /// The hash of a leaf with this content.
    #[must_use]
    pub fn leaf(content: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&[0]);
        context.update(content);
        Self::of(context.finish().as_ref())
    }

    /// The hash of the node above two others.
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut bytes = [1; 1 + 2 * HASH_LEN];
        let (_, places) = bytes.split_at_mut(1);
        for (place, hash) in places.chunks_exact_mut(HASH_LEN).zip([left, right]) {
            place.copy_from_slice(&hash.0);
        }
        Self::of(digest(&SHA256, &bytes).as_ref())
    }

    /// The root of a whole subtree whose lowest hashes these are: a power of two of them. `None` of an empty one.
    #[must_use]
    pub fn perfect(hashes: &[Self]) -> Option<Self> {
        match hashes {
            [] => None,
            [one] => Some(*one),
            more => {
                let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
                Some(Self::node(&Self::perfect(left)?, &Self::perfect(right)?))
            }
        }
    }

    /// Of exactly [`HASH_LEN`] bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// From its base64 form.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok().and_then(|bytes| Self::from_bytes(&bytes))
    }

    /// As a tile holds it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; HASH_LEN] {
        &self.0
    }

    fn of(digest: &[u8]) -> Self {
        // SHA-256 has 32 bytes.
        Self(digest.try_into().unwrap_or_default())
    }
}

/// Base64, as checkpoints and proofs write it.
impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
