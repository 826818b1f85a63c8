//! Checkpoints of audit trails and of the event log.

use super::{Bytes, WireError};
use crate::notary::SignedCheckpoint;
use crate::tlog::Hash;
use crate::wire::generated as raw;

/// Longest signed note and longest verifier key. A note of ours takes a few hundred bytes, with cosignatures more.
const MAX_NOTE: usize = 16 << 10;
const MAX_KEY: usize = 1_024;
/// A proof takes at most two hashes for each level of a tree of 2^64 leaves.
const MAX_PROOF: usize = 128;

impl TryFrom<raw::LogCheckpoint> for SignedCheckpoint {
    type Error = WireError;

    fn try_from(checkpoint: raw::LogCheckpoint) -> Result<Self, WireError> {
        let raw::LogCheckpoint { note, key, since, proof } = checkpoint;
        if note.len() > MAX_NOTE || key.len() > MAX_KEY || proof.len() > MAX_PROOF {
            return Err(WireError::TooMany("checkpoint"));
        }
        let hash = |hash: &Bytes| Hash::from_bytes(hash).ok_or(WireError::Malformed("proof"));
        let proof = proof.iter().map(hash).collect::<Result<_, _>>()?;
        Ok(Self { note, key, since, proof })
    }
}

impl From<SignedCheckpoint> for raw::LogCheckpoint {
    fn from(checkpoint: SignedCheckpoint) -> Self {
        let SignedCheckpoint { note, key, since, proof } = checkpoint;
        let proof = proof.iter().map(|hash| Bytes::copy_from_slice(hash.as_bytes())).collect();
        Self { note, key, since, proof }
    }
}
