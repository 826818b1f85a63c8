//! A Merkle log that is kept in a folder and signed for: its tiles, its key, its checkpoint; and handing checkpoints to somebody who
//! remembers them.
//!
//! Knows neither what a leaf means nor where leaves come from. Invariants: a checkpoint is signed only over what its caller has put on
//! the disk; it replaces the last in one step.

mod beginning;
mod hand_over;
mod key;
mod origin;
mod store;
mod succession;

pub use hand_over::{HandOver, SignedCheckpoint};
pub use key::{KeyError, signer};
pub use origin::{audit_trail, event_log};
pub use store::Store;
pub use succession::{Judged, Kept, judge};

use crate::runtime::clock::Mono;
use crate::tlog::proof::{check_consistency, consistency, root};
use crate::tlog::{Checkpoint, Hash, NoteSigner, Tile, TileHashes, Tree, VerifierKey};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// So many full tiles may wait to be written (8 MiB, 262,144 leaves).
pub const MOST_WAITING: usize = 1024;
/// While something is added a checkpoint is signed this often.
const EVERY: Duration = Duration::from_secs(1);

/// The latest checkpoint of a log and the key that checks it.
#[derive(Debug)]
pub struct Latest {
    key: VerifierKey,
    store: Store,
    note: watch::Sender<Arc<str>>,
    disputes: AtomicU32,
}

impl Latest {
    /// The public key, as `key.pub` in the folder holds it.
    #[must_use]
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The signed note that was last written; empty before the first.
    #[must_use]
    pub fn note(&self) -> Arc<str> {
        Arc::clone(&self.note.borrow())
    }

    /// How many leaves it vouches for; 0 before the first.
    #[must_use]
    pub fn size(&self) -> u64 {
        Checkpoint::unverified(&self.note()).map_or(0, |checkpoint| checkpoint.size)
    }

    /// Each note from now on; some may be passed over.
    #[must_use]
    pub fn notes(&self) -> watch::Receiver<Arc<str>> {
        self.note.subscribe()
    }

    /// Its folder.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Somebody outside has signed for another log of this name. That is remembered beside the log. Writes a file.
    pub fn dispute(&self) {
        self.disputes.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.store.mark_disputed() {
            tracing::error!(log = self.key.name(), %error, "that this log is disputed cannot be remembered");
        }
    }

    /// How often somebody did, in this process and, as once, in those before.
    #[must_use]
    pub fn disputes(&self) -> u32 {
        self.disputes.load(Ordering::Relaxed)
    }

    /// The proof that the tree of `new` leaves goes on from that of `old` (RFC 6962, section 2.1.2). Empty where there is nothing to
    /// prove. Reads files.
    ///
    /// # Errors
    /// Tiles are missing or damaged.
    pub fn consistency(&self, old: u64, new: u64) -> io::Result<Vec<Hash>> {
        if old == 0 || old >= new {
            return Ok(Vec::new());
        }
        let proof = consistency(&TileHashes::new(&self.store, new), old, new)?;
        proof.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the tree has not so many leaves"))
    }

    /// The same for the checkpoint of `note`, after checking that it holds: damaged tiles make a proof that does not. Reads files.
    ///
    /// # Errors
    /// Tiles are missing or damaged.
    pub fn proved(&self, old: u64, note: &str) -> io::Result<Vec<Hash>> {
        let new = Checkpoint::unverified(note).map_err(io::Error::other)?;
        let proof = self.consistency(old, new.size)?;
        if old > 0 && old < new.size {
            let before = root(&TileHashes::new(&self.store, old), old)?.unwrap_or_else(Hash::empty);
            check_consistency(&proof, (old, &before), (new.size, &new.root)).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "tiles are damaged: see `jitgate audit verify`")
            })?;
        }
        Ok(proof)
    }
}

/// See the module's comment.
#[derive(Debug)]
pub struct Notary {
    store: Store,
    signer: NoteSigner,
    tree: Tree,
    /// The size that the last checkpoint vouches for; `None` before the first.
    signed: Option<u64>,
    /// The tiles at the edge that were written for it.
    partial: Vec<Tile>,
    next: Option<Mono>,
    latest: Arc<Latest>,
}

impl Notary {
    /// Goes on with `tree` in `store`, where `note` is the last that was signed, with its size.
    #[must_use]
    pub fn new(store: Store, signer: NoteSigner, tree: Tree, note: Option<(String, u64)>) -> Self {
        let (note, signed) = note.map_or_else(Default::default, |(note, size)| (note, Some(size)));
        let key = signer.verifier().clone();
        let (note, disputes) = (watch::Sender::new(note.into()), AtomicU32::new(store.is_disputed().into()));
        let latest = Arc::new(Latest { key, store: store.clone(), note, disputes });
        let partial = tree.partial().map(|(tile, _)| tile).collect();
        Self { store, signer, tree, signed, partial, next: None, latest }
    }

    /// What others ask.
    #[must_use]
    pub fn latest(&self) -> Arc<Latest> {
        Arc::clone(&self.latest)
    }

    /// The tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Its folder.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether the last checkpoint vouches for every leaf.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.signed == Some(self.tree.size())
    }

    /// Tiles of the last checkpoint are damaged: another one is signed, with all that it stands on.
    pub fn write_anew(&mut self) {
        self.signed = None;
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.tree.push(leaf);
    }

    /// Whether a checkpoint is to be signed now; then the next is due a while later.
    pub fn is_due(&mut self, now: Mono) -> bool {
        if self.is_current() || self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = Some(now.plus(EVERY));
        true
    }

    /// Signs for every leaf. All that they stand for has to be on the disk.
    ///
    /// # Errors
    /// The folder cannot be written; then the last checkpoint stands, and this can be tried again.
    pub fn sign(&mut self) -> io::Result<()> {
        self.write_full()?;
        let mut partial = Vec::new();
        for (tile, hashes) in self.tree.partial() {
            self.store.write_tile(tile, hashes)?;
            partial.push(tile);
        }
        let key = self.signer.verifier();
        let (size, root) = (self.tree.size(), self.tree.root());
        let note = Checkpoint { origin: key.name().to_owned(), size, root }.sign(&self.signer);
        self.store.write_checkpoint(&note)?;
        self.latest.note.send_replace(note.into());
        self.signed = Some(size);
        for old in std::mem::replace(&mut self.partial, partial) {
            if !self.partial.contains(&old) {
                self.store.remove_partial(old);
            }
        }
        Ok(())
    }

    /// Writes the tiles that have become full.
    ///
    /// # Errors
    /// The folder cannot be written; what is left can be tried again.
    pub fn write_full(&mut self) -> io::Result<()> {
        let mut written = 0;
        let mut done = Ok(());
        for (tile, hashes) in self.tree.full() {
            done = self.store.write_tile(*tile, hashes);
            if done.is_err() {
                break;
            }
            written += 1;
        }
        self.tree.forget_full(written);
        done
    }

    /// Forgets tiles that have become full and are in the folder already.
    pub fn forget_full(&mut self) {
        self.tree.forget_full(self.tree.full().len());
    }
}
