//! Checkpoints (c2sp.org/tlog-checkpoint): the name, size and root of a log, which its key signs.

use super::hash::Hash;
use super::note::{self, NoteError, NoteSigner, VerifierKey};
use std::fmt;

/// What a log says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Its note is.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The note holds something else.
    #[error("it is no checkpoint: it needs the log's name, its size and its root, a line each")]
    Malformed,
    /// That of another log.
    #[error("it is of the log `{found}`, not of `{wanted}`")]
    Origin {
        /// Whose it is.
        found: String,
        /// The name of the key.
        wanted: String,
    },
}

impl Checkpoint {
    /// As a signed note.
    #[must_use]
    pub fn sign(&self, signer: &NoteSigner) -> String {
        signer.sign(&self.to_string())
    }

    /// That of a note that `key` signed, whose name must be the log's.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let found = Self::parse(key.open(note)?)?;
        if found.origin == key.name() {
            Ok(found)
        } else {
            Err(CheckpointError::Origin { found: found.origin, wanted: key.name().to_owned() })
        }
    }

    /// That of a note whose signatures nobody has checked.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn unverified(note: &str) -> Result<Self, CheckpointError> {
        Self::parse(note::split(note)?.0)
    }

    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Malformed);
        };
        let size = decimal(size).ok_or(CheckpointError::Malformed)?;
        let root = Hash::from_base64(root).ok_or(CheckpointError::Malformed)?;
        // What stands behind is for extensions, which nobody has to know; a line of them is never empty.
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(CheckpointError::Malformed);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// A number without sign or leading zeros.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The text that is signed.
impl fmt::Display for Checkpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\n{}\n{}\n", self.origin, self.size, self.root)
    }
}
