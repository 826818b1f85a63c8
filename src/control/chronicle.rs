//! The Merkle log over the event log: event N, as the log holds it, is leaf N - 1. Signed for each second in which something was added, so
//! that nobody who reads the checkpoints can be shown another past later, not even by whoever runs the control plane.
//!
//! Runs beside the writer, which never waits for it. Invariants: a checkpoint stands for events that are durable; a log that is not the one
//! that was signed for is not signed for any more, and somebody is told. A restored log (another epoch) is another log.

use crate::control::log::{EventLog, Identity, LogError};
use crate::control::plane::Plane;
use crate::identity::keyfile::{self, FileError};
use crate::model::{Revision, SpiffeId};
use crate::notary::{self, KeyError, Notary, Store};
use crate::tlog::{Checkpoint, CheckpointError, Hash, Tree};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Events read at once; each may name 1,000 grants.
const PAGE: usize = 64;
/// How long after something that failed, and between two checkpoints.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the event log cannot be signed for.
#[derive(Debug, thiserror::Error)]
pub enum ChronicleError {
    /// The key.
    #[error("{0}{AWAY}")]
    Key(#[from] KeyError),
    /// The folder.
    #[error("the folder of the event log's checkpoints cannot be used")]
    Folder(#[from] FileError),
    /// A file in it.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The last checkpoint is not ours.
    #[error("the checkpoint `{}` is refused: {source}{AWAY}", path.display())]
    Checkpoint {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
}

/// What can be done.
const AWAY: &str = "; to begin anew move it away together with the `.events.tlog` folder beside the store: proxies will say that the log is signed with another key";

/// Why a log is not signed for any more.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// It cannot be read now.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It ends too early.
    #[error("it ends at revision {head}, and was signed for up to {signed}: events were removed")]
    Short { head: u64, signed: u64 },
    /// Some event is another one.
    #[error("its first {signed} events are not those that were signed for: some were changed")]
    Changed { signed: u64 },
}

/// See the head of this file.
pub(super) struct Chronicle {
    notary: Notary,
    log: Arc<dyn EventLog>,
    /// What was signed before this process, until the log was compared with it.
    before: Option<Checkpoint>,
    /// The tiles up to there are good.
    tiles: bool,
}

impl std::fmt::Debug for Chronicle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chronicle").field("notary", &self.notary).finish_non_exhaustive()
    }
}

impl Chronicle {
    /// Of `log` in the store at `store`, signed for as `issuer`.
    pub(super) fn open(
        store: &Path,
        issuer: &SpiffeId,
        log: Arc<dyn EventLog>,
    ) -> Result<Self, ChronicleError> {
        let Identity { epoch, .. } = log.identity();
        let origin = notary::event_log(issuer, epoch);
        let all = store.with_extension("events.tlog");
        keyfile::make_folder(&all)?;
        let store_of = Store::at(all.join(epoch.0.to_string()));
        keyfile::make_folder(store_of.folder())?;
        let path = store_of.checkpoint_path();
        let note =
            store_of.checkpoint().map_err(|source| ChronicleError::Read { path: path.clone(), source })?;
        // One key for all epochs: who has seen one of them needs it.
        let signer = notary::signer(&store.with_extension("events.key"), &origin, note.is_some())?;
        store_of.write_key(&signer.verifier().to_string())?;
        let before = note.as_deref().map(|note| Checkpoint::open(note, signer.verifier())).transpose();
        let before = before.map_err(|source| ChronicleError::Checkpoint { path, source })?;
        let tiles = before.as_ref().is_some_and(|before| {
            Tree::read(before.size, &store_of).is_ok_and(|tree| tree.root() == before.root)
        });
        let note = note.zip(before.as_ref().map(|before| before.size));
        let notary = Notary::new(store_of, signer, Tree::default(), note);
        Ok(Self { notary, log, before, tiles })
    }

    /// The checkpoints that will come of it.
    pub(super) fn latest(&self) -> Arc<notary::Latest> {
        self.notary.latest()
    }

    /// Signs for what `plane` logs, until it stops.
    pub(super) async fn run(mut self, plane: Plane, stop: CancellationToken) {
        let mut head = plane.head();
        loop {
            let target = *head.borrow_and_update();
            match self.advance(target).await {
                Ok(()) => {}
                Err(Broken::Log(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the event log cannot be read to be signed for"
                    );
                }
                Err(broken @ (Broken::Short { .. } | Broken::Changed { .. })) => {
                    tracing::error!(error = %broken, "the event log is not the one that was signed for, and is not signed for any more: see docs/audit-proof.md");
                    plane.log_is_disputed(broken.to_string());
                    return;
                }
            }
            self = match tokio::task::spawn_blocking(move || self.sign()).await {
                Ok(signed) => signed,
                // The runtime ends.
                Err(error) if error.is_cancelled() => return,
                Err(error) => {
                    tracing::error!(%error, "the event log is not signed for any more: restart the control plane");
                    return;
                }
            };
            // No more than one checkpoint in this time, however much is logged.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            if self.notary.tree().size() < target.0 || !self.notary.is_current() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = head.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    /// Takes up the events up to `head`, or as many as may wait to be written, and compares what was signed before.
    async fn advance(&mut self, head: Revision) -> Result<(), Broken> {
        if let Some(before) = &self.before
            && head.0 < before.size
        {
            return Err(Broken::Short { head: head.0, signed: before.size });
        }
        while self.notary.tree().size() < head.0 && self.notary.tree().full().len() < notary::MOST_WAITING {
            let after = Revision(self.notary.tree().size());
            let leaves = self.log.leaves(after, PAGE).await?;
            if leaves.is_empty() {
                return Ok(());
            }
            for leaf in leaves {
                self.push(leaf)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, leaf: Hash) -> Result<(), Broken> {
        self.notary.push(leaf);
        let Some(before) = &self.before else { return Ok(()) };
        if self.tiles {
            self.notary.forget_full();
        }
        let tree = self.notary.tree();
        if tree.size() == before.size {
            if tree.root() != before.root {
                return Err(Broken::Changed { signed: before.size });
            }
            self.before = None;
        }
        Ok(())
    }

    /// Signs for all that was taken up. What fails is tried again.
    fn sign(mut self) -> Self {
        let written = if self.before.is_some() {
            // What was signed before stands until the log was compared with it; lost tiles of it are made anew.
            self.notary.write_full()
        } else if self.notary.tree().size() > 0 && !self.notary.is_current() {
            self.notary.sign()
        } else {
            Ok(())
        };
        if let Err(error) = written {
            let folder = self.notary.store().folder().display();
            tracing::error!(%error, %folder, "the checkpoint of the event log cannot be written; it is tried again");
        }
        self
    }
}

#[cfg(test)]
mod tests;
