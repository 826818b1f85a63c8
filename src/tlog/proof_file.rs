//! `.tlog-proof` files (c2sp.org/tlog-proof): a leaf's place, its path to the root, and the checkpoint, in one text.

use super::checkpoint::{Checkpoint, CheckpointError, decimal};
use super::hash::Hash;
use super::note::VerifierKey;
use super::proof::{ProofError, check_inclusion};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::str::FromStr;

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// No tree is higher.
const LONGEST_PATH: usize = 64;

/// See the module's comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// What the application likes to say; nothing vouches for it.
    pub extra: Option<Vec<u8>>,
    /// Which leaf.
    pub index: u64,
    /// From the leaf's sibling up.
    pub path: Vec<Hash>,
    /// The signed note.
    pub checkpoint: String,
}

/// Why a proof file proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// Not of this form.
    #[error("it is no `{HEADER}` file")]
    Malformed,
    /// Its checkpoint is refused.
    #[error("its checkpoint is refused: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The leaf is not the one that was logged.
    #[error("it does not prove this entry: {0}")]
    Proof(#[from] ProofError),
}

impl ProofFile {
    /// Checks that the leaf with this content was logged by the log of `key`; returns the checkpoint that says so.
    ///
    /// # Errors
    /// [`ProofFileError`].
    pub fn check(&self, content: &[u8], key: &VerifierKey) -> Result<Checkpoint, ProofFileError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, key)?;
        check_inclusion(&self.path, &Hash::leaf(content), self.index, checkpoint.size, &checkpoint.root)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for ProofFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(out, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(out, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(out, "{hash}")?;
        }
        write!(out, "\n{}", self.checkpoint)
    }
}

impl FromStr for ProofFile {
    type Err = ProofFileError;

    fn from_str(text: &str) -> Result<Self, ProofFileError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ProofFileError::Malformed)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(ProofFileError::Malformed);
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let extra = extra.and_then(|line| line.strip_prefix("extra ")).map(|text| STANDARD.decode(text));
        let extra = extra.transpose().map_err(|_| ProofFileError::Malformed)?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let path: Option<Vec<Hash>> = lines.map(Hash::from_base64).collect();
        match (index, path) {
            (Some(index), Some(path)) if path.len() <= LONGEST_PATH => {
                Ok(Self { extra, index, path, checkpoint: checkpoint.to_owned() })
            }
            (None | Some(_), None | Some(_)) => Err(ProofFileError::Malformed),
        }
    }
}
