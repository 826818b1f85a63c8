//! Hands checkpoints of a log to somebody who remembers them, each with the proof that it goes on from the one before.
//!
//! One at a time: while one is being proved, later ones only replace each other. The first is handed over whatever the other end has
//! kept: if it is the same, it says the same.

use super::Latest;
use crate::tlog::{Checkpoint, Hash, NoteError, VerifierKey};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;

/// A checkpoint as it is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// A signed note (C2SP tlog-checkpoint).
    pub note: String,
    /// By which it is verified (C2SP signed-note).
    pub key: String,
    /// The size of an earlier one that was handed over; 0: none.
    pub since: u64,
    /// That it goes on from there (RFC 6962 section 2.1.2).
    pub proof: Vec<Hash>,
}

impl SignedCheckpoint {
    /// What it says, if it is signed by the key that is given with it, for the log `origin`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn opened(&self, origin: &str) -> Result<Checkpoint, String> {
        let key: VerifierKey = self.key.parse().map_err(|error: NoteError| format!("its key: {error}"))?;
        if key.name() != origin {
            return Err(format!("its key is of `{}`, not of `{origin}`", key.name()));
        }
        Checkpoint::open(&self.note, &key).map_err(|error| error.to_string())
    }
}

type Proving = Pin<Box<dyn Future<Output = Option<(u64, SignedCheckpoint)>> + Send + Sync>>;

/// See the module's comment.
pub struct HandOver {
    /// None where there is no tree.
    log: Option<(Arc<Latest>, watch::Receiver<Arc<str>>)>,
    /// What the other end is known, or hoped, to have kept; `None` before it has said so.
    since: Option<u64>,
    proving: Option<Proving>,
}

impl std::fmt::Debug for HandOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandOver").field("since", &self.since).finish_non_exhaustive()
    }
}

impl HandOver {
    /// Of this log, if there is one.
    #[must_use]
    pub fn new(latest: Option<&Arc<Latest>>) -> Self {
        let log = latest.map(|latest| (Arc::clone(latest), latest.notes()));
        Self { log, since: None, proving: None }
    }

    /// The other end says so; 0: nothing. Another is handed over now, unless it keeps what was handed over last.
    pub fn kept(&mut self, size: u64) {
        if self.since == Some(size) {
            return;
        }
        self.since = Some(size);
        self.proving = None;
        if let Some((_, notes)) = &mut self.log {
            notes.mark_changed();
        }
    }

    /// Another connection begins: it will say what is kept.
    pub fn disconnected(&mut self) {
        self.since = None;
        self.proving = None;
    }

    /// The next to be handed over. May be dropped while it waits.
    pub async fn next(&mut self) -> SignedCheckpoint {
        loop {
            if let Some(proving) = &mut self.proving {
                let proved = proving.await;
                self.proving = None;
                if let Some((size, checkpoint)) = proved {
                    self.since = Some(size);
                    return checkpoint;
                }
            }
            let (Some(since), Some((latest, notes))) = (self.since, &mut self.log) else {
                return pending().await;
            };
            if notes.changed().await.is_err() {
                // The writer has stopped.
                return pending().await;
            }
            let note = Arc::clone(&notes.borrow_and_update());
            if note.is_empty() {
                continue;
            }
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
            Ok(proof) => Some((size, SignedCheckpoint { note: note.to_string(), key, since, proof })),
            Err(error) => {
                tracing::error!(%error, since, size, "a checkpoint cannot be proved");
                None
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Notary, Store};
    use super::*;
    use crate::tlog::{NoteSigner, Tree};
    use std::time::Duration;
    use tokio::time::timeout;

    fn notary(folder: &std::path::Path) -> Notary {
        let signer = NoteSigner::from_pkcs8("origin", &NoteSigner::generate().unwrap()).unwrap();
        let store = Store::of(&folder.join("audit.jsonl"));
        std::fs::create_dir(store.folder()).unwrap();
        Notary::new(store, signer, Tree::default(), None)
    }

    /// What is handed over when nothing else can happen any more.
    async fn next(hand_over: &mut HandOver) -> Option<(u64, u64)> {
        let handed = timeout(Duration::from_secs(1), hand_over.next()).await.ok()?;
        Some((handed.since, Checkpoint::unverified(&handed.note).unwrap().size))
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_other_end_keeps_is_not_handed_over_again_not_even_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut notary = notary(folder.path());
        notary.sign().unwrap();
        let mut hand_over = HandOver::new(Some(&notary.latest()));
        assert_eq!(next(&mut hand_over).await, None, "the other end has said nothing yet");
        hand_over.kept(0);
        assert_eq!(next(&mut hand_over).await, Some((0, 0)));
        hand_over.kept(0);
        assert_eq!(next(&mut hand_over).await, None, "an empty log is handed over once");
        for size in 1..=3 {
            notary.push(Hash::leaf(b"line"));
            notary.sign().unwrap();
            assert_eq!(next(&mut hand_over).await, Some((size - 1, size)));
            hand_over.kept(size);
            assert_eq!(next(&mut hand_over).await, None);
        }
        hand_over.kept(1);
        assert_eq!(next(&mut hand_over).await, Some((1, 3)), "the last did not get there");
        hand_over.disconnected();
        hand_over.kept(3);
        assert_eq!(next(&mut hand_over).await, Some((3, 3)), "the first of a connection always is");
    }
}
