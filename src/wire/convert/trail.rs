//! Checkpoints of audit trails.

use super::{Bytes, WireError};
use crate::tlog::Hash;
use crate::wire::generated as raw;
use crate::wire::message::TrailCheckpoint;

/// Longest signed note and longest verifier key. A note of ours takes a few hundred bytes, with cosignatures more.
const MAX_NOTE: usize = 16 << 10;
const MAX_KEY: usize = 1_024;
/// A proof takes at most two hashes for each level of a tree of 2^64 leaves.
const MAX_PROOF: usize = 128;

impl TryFrom<raw::TrailCheckpoint> for TrailCheckpoint {
    type Error = WireError;

    fn try_from(checkpoint: raw::TrailCheckpoint) -> Result<Self, WireError> {
        let raw::TrailCheckpoint { note, key, since, proof } = checkpoint;
        if note.len() > MAX_NOTE || key.len() > MAX_KEY || proof.len() > MAX_PROOF {
            return Err(WireError::TooMany("checkpoint"));
        }
        let hash = |hash: &Bytes| Hash::from_bytes(hash).ok_or(WireError::Malformed("proof"));
        let proof = proof.iter().map(hash).collect::<Result<_, _>>()?;
        Ok(Self { note, key, since, proof })
    }
}

impl From<TrailCheckpoint> for raw::TrailCheckpoint {
    fn from(checkpoint: TrailCheckpoint) -> Self {
        let TrailCheckpoint { note, key, since, proof } = checkpoint;
        let proof = proof.iter().map(|hash| Bytes::copy_from_slice(hash.as_bytes())).collect();
        Self { note, key, since, proof }
    }
}
