//! Whether a trail is the one that its last checkpoint vouches for, and its tree as it was and has grown since.

use super::Prover;
use crate::audit::removal;
use crate::audit::resume::beside;
use crate::audit::segments::{self, Segment};
use crate::identity::keyfile::{self, FileError};
use crate::notary::{self, KeyError, MOST_WAITING, Notary, Store};
use crate::tlog::proof::HashReader as _;
use crate::tlog::{Checkpoint, CheckpointError, Hash, NoteError, TileHashes, Tree};
use std::io;
use std::path::{Path, PathBuf};

/// Why a trail is not continued: what is there is not what its checkpoint vouches for, or that cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The signing key or its folder.
    #[error("the signing key of the audit trail cannot be used")]
    File(#[from] FileError),
    /// A key of something else.
    #[error("`{}` cannot sign the audit trail", path.display())]
    Key {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: NoteError,
    },
    /// A trail was signed with a key that is gone.
    #[error("`{}` is missing, with which the audit trail was signed: restore it{AWAY}", .0.display())]
    NoKey(PathBuf),
    /// The checkpoint is not ours.
    #[error("the checkpoint `{}` is refused: {source}{AWAY}", path.display())]
    Checkpoint {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// A file of the trail cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Lines are gone.
    #[error("lines {from} to {to} of the audit trail `{}` are missing{AWAY}", path.display())]
    Missing {
        /// The trail.
        path: PathBuf,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Lines are not in their places.
    #[error("`{}` has a line that is not number {wanted} in its place{AWAY}", path.display())]
    Order {
        /// Which file.
        path: PathBuf,
        /// The number that comes next.
        wanted: u64,
    },
    /// A line is not the one that was logged.
    #[error("line {seq} in `{}` is not the one that was written{AWAY}", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
        /// Which line.
        seq: u64,
    },
    /// Some line is not the one that was logged, and the tiles that could tell which are gone.
    #[error("the first {size} lines of the audit trail `{}` are not those that its checkpoint vouches for{AWAY}", path.display())]
    Root {
        /// The trail.
        path: PathBuf,
        /// How many.
        size: u64,
    },
}

/// What can be done.
const AWAY: &str = "; see `jitgate audit verify`, and to begin a new trail move this one away together with its `.lock`, `.tlog`, `.export` and rotated files";

impl Prover {
    /// Takes up the tree of the trail at `trail`, whose last line is number `last` and whose lock is held.
    pub(in crate::audit) fn open(trail: &Path, origin: &str, last: u64) -> Result<Self, ProofError> {
        let store = Store::of(trail);
        keyfile::make_folder(store.folder())?;
        let read = |path: PathBuf| move |source| ProofError::Read { path, source };
        let note = store.checkpoint().map_err(read(store.checkpoint_path()))?;
        let signer = notary::signer(&beside(trail, "key"), origin, note.is_some())?;
        store.write_key(&signer.verifier().to_string())?;
        let checkpoint = note.as_deref().map(|note| Checkpoint::open(note, signer.verifier())).transpose();
        let checkpoint =
            checkpoint.map_err(|source| ProofError::Checkpoint { path: store.checkpoint_path(), source })?;
        let known = checkpoint.as_ref().map_or(0, |known| known.size);
        if last < known {
            return Err(ProofError::Missing { path: trail.to_owned(), from: last + 1, to: known });
        }
        // The tiles are believed if they lead to the root.
        let tree = Tree::read(known, &store).ok();
        let tree = tree.filter(|tree| checkpoint.as_ref().is_none_or(|known| tree.root() == known.root));
        let is_damaged = tree.is_none();
        let tree = match (tree, &checkpoint) {
            (Some(tree), _) => tree,
            (None, Some(known)) => begun(trail, &store, known)?,
            (None, None) => Tree::default(),
        };
        let note = note.zip(checkpoint.as_ref().map(|known| known.size));
        let notary = Notary::new(store, signer, tree, note);
        let mut prover = Self { notary, failing: false };
        prover.catch_up(trail, checkpoint.as_ref(), last)?;
        if is_damaged {
            prover.notary.write_anew();
        }
        Ok(prover)
    }

    /// Reads the lines that the tree does not have yet; compares those of the active file that it has.
    fn catch_up(
        &mut self,
        trail: &Path,
        checkpoint: Option<&Checkpoint>,
        last: u64,
    ) -> Result<(), ProofError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| ProofError::Read { path, source }
        };
        for segment in segments::list(trail).map_err(read(trail))? {
            if segment.last().is_some_and(|last| last <= self.notary.tree().size()) {
                continue;
            }
            self.read_segment(&segment, checkpoint)?;
        }
        let size = self.notary.tree().size();
        if size == last {
            Ok(())
        } else if size < last {
            Err(ProofError::Missing { path: trail.to_owned(), from: size + 1, to: last })
        } else {
            Err(ProofError::Order { path: trail.to_owned(), wanted: last + 1 })
        }
    }

    fn read_segment(&mut self, segment: &Segment, checkpoint: Option<&Checkpoint>) -> Result<(), ProofError> {
        let path = segment.path();
        let failed = |source| ProofError::Read { path: path.to_owned(), source };
        let known = self.notary.tree().size();
        let store = self.notary.store().clone();
        let hashes = TileHashes::new(&store, known);
        let mut before = None;
        let mut lines = segment.open().map_err(failed)?;
        while let Some(line) = lines.line().map_err(failed)? {
            let next = self.notary.tree().size() + 1;
            let wanted = before.map_or(next, |before: u64| before + 1);
            let seq =
                segments::seq(line).ok_or_else(|| ProofError::Order { path: path.to_owned(), wanted })?;
            if before.is_some() && seq != wanted {
                return Err(ProofError::Order { path: path.to_owned(), wanted });
            }
            before = Some(seq);
            let leaf = Hash::leaf(line);
            if seq > next {
                return Err(ProofError::Missing { path: path.to_owned(), from: next, to: seq - 1 });
            } else if seq == next {
                self.push(leaf, checkpoint, path)?;
            } else if seq == 0 || hashes.hash(0, seq - 1).ok().flatten().is_some_and(|logged| logged != leaf)
            {
                // Where a tile is missing, nothing is said: `jitgate audit verify` reads all lines.
                return Err(ProofError::Changed { path: path.to_owned(), seq });
            }
        }
        Ok(())
    }

    fn push(&mut self, leaf: Hash, checkpoint: Option<&Checkpoint>, path: &Path) -> Result<(), ProofError> {
        self.notary.push(leaf);
        let tree = self.notary.tree();
        let size = tree.size();
        if checkpoint.is_some_and(|known| known.size == size && known.root != tree.root()) {
            return Err(ProofError::Root { path: path.to_owned(), size });
        }
        if tree.full().len() >= MOST_WAITING {
            let folder = self.notary.store().folder().to_owned();
            self.notary.write_full().map_err(|source| ProofError::Read { path: folder, source })?;
        }
        Ok(())
    }
}

/// The tree of what is missing at the beginning of a trail, from which the lines that are left lead to its checkpoint, or do not.
fn begun(trail: &Path, store: &Store, known: &Checkpoint) -> Result<Tree, ProofError> {
    let read = |source| ProofError::Read { path: trail.to_owned(), source };
    let missing = removal::missing(&segments::list(trail).map_err(read)?).map_err(read)?;
    if missing > known.size {
        return Ok(Tree::default());
    }
    let tree = store.begun(missing, Some(known)).unwrap_or_default();
    if missing == known.size && tree.size() == missing && tree.root() != known.root {
        return Err(ProofError::Root { path: trail.to_owned(), size: missing });
    }
    Ok(tree)
}

impl From<KeyError> for ProofError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::File(error) => Self::File(error),
            KeyError::Key { path, source } => Self::Key { path, source },
            KeyError::Missing(path) => Self::NoKey(path),
        }
    }
}
