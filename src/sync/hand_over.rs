//! Hands checkpoints of the audit trail to the control plane, each with the proof that it goes on from the one before.
//!
//! One at a time: while one is being proved, later ones only replace each other. The first after a welcome is handed over whatever
//! the control plane has kept: if it is the same, it says the same.

use crate::audit::proof::Latest;
use crate::tlog::Checkpoint;
use crate::wire::message::TrailCheckpoint;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;

type Proving = Pin<Box<dyn Future<Output = Option<(u64, TrailCheckpoint)>> + Send>>;

/// See the module's comment.
pub(super) struct HandOver {
    /// None where the trail has no tree.
    trail: Option<(Arc<Latest>, watch::Receiver<Arc<str>>)>,
    /// What the control plane is known, or hoped, to have kept; `None` before it has said so.
    since: Option<u64>,
    proving: Option<Proving>,
}

impl HandOver {
    pub(super) fn new(latest: Option<&Arc<Latest>>) -> Self {
        let trail = latest.map(|latest| (Arc::clone(latest), latest.notes()));
        Self { trail, since: None, proving: None }
    }

    /// The control plane says so.
    pub(super) fn kept(&mut self, size: u64) {
        self.since = Some(size);
        self.proving = None;
        if let Some((_, notes)) = &mut self.trail {
            notes.mark_changed();
        }
    }

    /// Another connection begins: it will say what is kept.
    pub(super) fn disconnected(&mut self) {
        self.since = None;
        self.proving = None;
    }

    /// The next to be handed over. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> TrailCheckpoint {
        loop {
            if let Some(proving) = &mut self.proving {
                let proved = proving.await;
                self.proving = None;
                if let Some((size, checkpoint)) = proved {
                    self.since = Some(size);
                    return checkpoint;
                }
            }
            let (Some(since), Some((latest, notes))) = (self.since, &mut self.trail) else {
                return pending().await;
            };
            if notes.changed().await.is_err() {
                // The writer has stopped.
                return pending().await;
            }
            let note = Arc::clone(&notes.borrow_and_update());
            self.proving = Some(prove(Arc::clone(latest), note, since));
        }
    }
}

fn prove(latest: Arc<Latest>, note: Arc<str>, since: u64) -> Proving {
    Box::pin(async move {
        let size = Checkpoint::unverified(&note).ok()?.size;
        let key = latest.key().to_string();
        // Reads a few small files.
        let proof = tokio::task::spawn_blocking(move || latest.consistency(since, size)).await;
        match proof.map_err(std::io::Error::other).and_then(|proof| proof) {
            Ok(proof) => Some((size, TrailCheckpoint { note: note.to_string(), key, since, proof })),
            Err(error) => {
                tracing::error!(%error, since, size, "a checkpoint of the audit trail cannot be proved");
                None
            }
        }
    })
}
