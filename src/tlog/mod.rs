//! A transparency log as others read it: RFC 6962 hashing, C2SP tiles, signed notes, checkpoints and proofs.
//!
//! Pure: bytes in, bytes out. Who keeps the tiles, when a checkpoint is signed and what a leaf means is the business of whoever keeps
//! a log. The formats are those of c2sp.org: `signed-note`, `tlog-checkpoint`, `tlog-cosignature`, `tlog-tiles` and
//! `tlog-proof`.

pub mod checkpoint;
pub mod cosignature;
pub mod hash;
pub mod note;
pub mod proof;
pub mod proof_file;
pub mod tile;
pub mod tree;

#[cfg(test)]
pub(crate) mod scribe;
#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::{Cosigned, WitnessKey};
pub use hash::Hash;
pub use note::{NoteError, NoteSigner, VerifierKey};
pub use proof::{HashReader, ProofError};
pub use proof_file::ProofFile;
pub use tile::{Tile, TileHashes, TileReader};
pub use tree::Tree;
