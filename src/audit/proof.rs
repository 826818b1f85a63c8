//! The tree over a trail: line N is leaf N - 1. It lives in `NAME.tlog` beside the trail, as C2SP tlog-tiles lays it out.
//!
//! Driven by the trail's writer, in its thread; requests never wait for it. Invariants: a checkpoint is signed only over lines that
//! are on the disk; it replaces the last in one step; a trail that does not fit its last checkpoint is not continued.

mod open;
mod store;
#[cfg(test)]
mod tests;

pub use open::ProofError;
pub use store::Store;

use crate::runtime::clock::Mono;
use crate::tlog::{Checkpoint, Hash, NoteSigner, Tile, Tree, VerifierKey};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// While there is traffic a checkpoint is signed this often.
const EVERY: Duration = Duration::from_secs(1);
/// So many full tiles may wait to be written (8 MiB, 262,144 lines); above that nothing is admitted that could not be proved.
const MOST_WAITING: usize = 1024;

/// The latest checkpoint of a trail and the key that checks it.
#[derive(Debug)]
pub struct Latest {
    key: VerifierKey,
    note: Mutex<Arc<str>>,
}

impl Latest {
    /// The public key, as `NAME.tlog/key.pub` holds it.
    #[must_use]
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The signed note that was last written to `NAME.tlog/checkpoint`.
    #[must_use]
    pub fn note(&self) -> Arc<str> {
        Arc::clone(&self.note.lock())
    }
}

/// See the module's comment.
#[derive(Debug)]
pub(super) struct Prover {
    store: Store,
    signer: NoteSigner,
    tree: Tree,
    /// The size that the last checkpoint vouches for; `None` before the first.
    signed: Option<u64>,
    /// The tiles at the edge that were written for it.
    partial: Vec<Tile>,
    next: Option<Mono>,
    failing: bool,
    latest: Arc<Latest>,
}

impl Prover {
    /// What the control channel and others ask.
    pub(super) fn latest(&self) -> Arc<Latest> {
        Arc::clone(&self.latest)
    }

    /// Whether the last checkpoint vouches for every line.
    pub(super) fn is_current(&self) -> bool {
        self.signed == Some(self.tree.size())
    }

    /// Takes whole lines, each with its newline, that were written behind those before.
    pub(super) fn add(&mut self, lines: &[u8]) {
        let mut rest = lines;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            self.tree.push(Hash::leaf(rest.get(..end).unwrap_or_default()));
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }

    /// Signs a checkpoint if it is time to. `sync` puts the lines on the disk. What fails is tried again, and an error only when
    /// more waits than may.
    pub(super) fn tick(&mut self, now: Mono, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.is_current() || self.next.is_some_and(|next| now < next) {
            return Ok(());
        }
        self.next = Some(now.plus(EVERY));
        self.sign(sync)
    }

    /// Signs a checkpoint now, unless nothing was added.
    pub(super) fn sign(&mut self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.is_current() {
            return Ok(());
        }
        match sync().and_then(|()| self.write()) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the checkpoint of the audit trail is written again");
                }
                Ok(())
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let folder = self.store.folder().display();
                    tracing::error!(%error, %folder, "the checkpoint of the audit trail cannot be written; lines are, for a while");
                }
                if self.tree.full().len() < MOST_WAITING { Ok(()) } else { Err(error) }
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
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
        *self.latest.note.lock() = note.into();
        self.signed = Some(size);
        for old in std::mem::replace(&mut self.partial, partial) {
            if !self.partial.contains(&old) {
                self.store.remove_partial(old);
            }
        }
        Ok(())
    }

    fn write_full(&mut self) -> io::Result<()> {
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
}
