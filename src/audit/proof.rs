//! The tree over a trail: line N is leaf N - 1. It lives in `NAME.tlog` beside the trail, as C2SP tlog-tiles lays it out.
//!
//! Driven by the trail's writer, in its thread; requests never wait for it. Invariants: a checkpoint is signed only over lines that
//! are on the disk; a trail that does not fit its last checkpoint is not continued.

mod open;
#[cfg(test)]
mod tests;

pub use open::ProofError;

use crate::notary::{Latest, MOST_WAITING, Notary};
use crate::runtime::clock::Mono;
use crate::tlog::Hash;
use std::io;
use std::sync::Arc;

/// See the module's comment.
#[derive(Debug)]
pub(super) struct Prover {
    notary: Notary,
    failing: bool,
}

impl Prover {
    /// What the control channel and others ask.
    pub(super) fn latest(&self) -> Arc<Latest> {
        self.notary.latest()
    }

    /// Whether the last checkpoint vouches for every line.
    pub(super) fn is_current(&self) -> bool {
        self.notary.is_current()
    }

    /// Takes whole lines, each with its newline, that were written behind those before.
    pub(super) fn add(&mut self, lines: &[u8]) {
        let mut rest = lines;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            self.notary.push(Hash::leaf(rest.get(..end).unwrap_or_default()));
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }

    /// Whether the last checkpoint that was due could not be written.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    /// Signs a checkpoint if it is time to. `sync` puts the lines on the disk: where that fails the trail cannot be written. What else
    /// fails is tried again, and an error only when more waits than may: above that nothing is admitted that could not be proved.
    pub(super) fn tick(&mut self, now: Mono, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.notary.is_due(now) { self.sign(sync) } else { Ok(()) }
    }

    /// Signs a checkpoint now, unless nothing was added.
    pub(super) fn sign(&mut self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.is_current() {
            return Ok(());
        }
        sync()?;
        match self.notary.sign() {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the checkpoint of the audit trail is written again");
                }
                Ok(())
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let folder = self.notary.store().folder().display();
                    tracing::error!(%error, %folder, "the checkpoint of the audit trail cannot be written; lines are, for a while");
                }
                if self.notary.tree().full().len() < MOST_WAITING { Ok(()) } else { Err(error) }
            }
        }
    }
}
