//! What this proxy remembers of the control plane's event log: checkpoints, so that the control plane cannot rewrite its log unseen.
//!
//! One that contradicts the one before is remembered as well, with what is wrong: nothing ends by it here, since grants are in force
//! whatever was written about them, but it is told in the log, by a metric, and in the file for good. Files are written aside; what
//! is lost of them is offered anew.

use crate::identity::keyfile::{self, Existing, Secrecy};
use crate::model::{Epoch, LogId, SpiffeId, Time, TrailFault};
use crate::notary::{self, Judged, Kept, SignedCheckpoint, judge};
use crate::runtime::metrics::Metrics;
use crate::tlog::Checkpoint;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Logs that were followed before, of which the last checkpoint is kept.
const EARLIER: usize = 16;
/// Contradictions that are kept; later ones are counted.
const DISPUTES: usize = 64;

/// The last that was said of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    log: String,
    epoch: u64,
    /// C2SP signed-note.
    key: String,
    /// C2SP tlog-checkpoint.
    checkpoint: String,
}

/// What was wrong with what was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Disputed {
    fault: TrailFault,
    at: Time,
    /// What contradicted what came then.
    before: Said,
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    now: Option<Said>,
    #[serde(default)]
    disputed: Vec<Disputed>,
    /// How many there were, with those that are not kept.
    #[serde(default)]
    disputes: u64,
    #[serde(default)]
    earlier: Vec<Said>,
}

/// Why a checkpoint is not taken for one: the control plane breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a checkpoint of the event log cannot be verified: {0}")]
pub(super) struct Unverified(String);

/// See the module's comment.
pub(super) struct Witness {
    memory: Memory,
    /// The log that is followed now, and who signs for it.
    following: Option<(LogId, Epoch)>,
    control: SpiffeId,
    file: Option<watch::Sender<Memory>>,
    metrics: Arc<Metrics>,
}

impl Witness {
    /// Goes on with what is in `file`; without one it is forgotten with the process.
    pub(super) fn new(file: Option<PathBuf>, control: SpiffeId, metrics: Arc<Metrics>) -> Self {
        let memory = file.as_deref().map(read).unwrap_or_default();
        let file = file.map(|file| {
            let (tell, told) = watch::channel(memory.clone());
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(keep(file, told));
            }
            tell
        });
        let witness = Self { memory, following: None, control, file, metrics };
        witness.count();
        witness
    }

    /// This log is followed from now on. The size of what is remembered of it.
    pub(super) fn welcomed(&mut self, log: LogId, epoch: Epoch) -> u64 {
        self.following = Some((log, epoch));
        let (log, epoch) = (log.to_string(), epoch.0);
        let other = |said: &Said| (said.log.as_str(), said.epoch) != (log.as_str(), epoch);
        if let Some(said) = self.memory.now.take_if(|said| other(said)) {
            tracing::warn!(
                log,
                epoch,
                before = said.epoch,
                "another event log is followed than before: what was said of that one is kept, and this one is watched from here on"
            );
            self.memory.earlier.push(said);
            let over = self.memory.earlier.len().saturating_sub(EARLIER);
            self.memory.earlier.drain(..over);
        }
        self.size()
    }

    /// Remembers a checkpoint. The size of what is remembered, if the next has to be proved from there.
    pub(super) fn heard(&mut self, said: &SignedCheckpoint, now: Time) -> Result<Option<u64>, Unverified> {
        let Some((log, epoch)) = self.following else { return Err(Unverified("no log is followed".into())) };
        let head = said.opened(&notary::event_log(&self.control, epoch)).map_err(Unverified)?;
        let judged = match self.before() {
            None => Judged::GoesOn,
            Some((key, before)) => judge(
                Kept { key: &key, size: before.size, root: &before.root },
                Kept { key: &said.key, size: head.size, root: &head.root },
                said.since,
                &said.proof,
            ),
        };
        match judged {
            Judged::Same => return Ok(None),
            Judged::Unproved => return Ok(Some(self.size())),
            Judged::GoesOn => {}
            Judged::Contradicts(fault) => {
                tracing::error!(
                    size = head.size,
                    fault = fault.as_str(),
                    "the event log of the control plane is not the one that it had signed for: it was rewritten; see docs/audit-proof.md"
                );
                let before = self.memory.now.take();
                self.memory.disputes = self.memory.disputes.saturating_add(1);
                // The first ones tell: a control plane that goes on contradicting itself must not fill the disk.
                if self.memory.disputed.len() < DISPUTES {
                    self.memory.disputed.extend(before.map(|before| Disputed { fault, at: now, before }));
                }
            }
        }
        let (key, checkpoint) = (said.key.clone(), said.note.clone());
        self.memory.now = Some(Said { log: log.to_string(), epoch: epoch.0, key, checkpoint });
        self.count();
        if let Some(file) = &self.file {
            file.send_replace(self.memory.clone());
        }
        Ok(None)
    }

    fn before(&self) -> Option<(String, Checkpoint)> {
        let said = self.memory.now.as_ref()?;
        Some((said.key.clone(), Checkpoint::unverified(&said.checkpoint).ok()?))
    }

    fn size(&self) -> u64 {
        self.before().map_or(0, |(_, before)| before.size)
    }

    fn count(&self) {
        let disputes = i64::try_from(self.memory.disputes).unwrap_or(i64::MAX);
        self.metrics.control_log_disputes.set(disputes);
    }
}

fn read(path: &Path) -> Memory {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Memory::default(),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "what was remembered of the event log cannot be read");
            return Memory::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::error!(path = %path.display(), %error, "what was remembered of the event log is damaged, and begun anew");
        Memory::default()
    })
}

/// Writes each memory, or the newest of several, until the witness is gone.
async fn keep(path: PathBuf, mut memories: watch::Receiver<Memory>) {
    while memories.changed().await.is_ok() {
        let (path, memory) = (path.clone(), memories.borrow_and_update().clone());
        let write = move || {
            let text = serde_json::to_vec_pretty(&memory).map_err(std::io::Error::from)?;
            keyfile::write(&path, &text, Secrecy::Public, Existing::Replace).map_err(std::io::Error::other)
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::error!(%error, "what is remembered of the event log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{Hash, NoteSigner, Tree};

    const CONTROL: &str = "spiffe://d/control/local";

    struct Log {
        signer: NoteSigner,
        events: Vec<&'static str>,
    }

    impl Log {
        fn new(epoch: u64) -> Self {
            let name = format!("d/control/local/events/{epoch}");
            let signer = NoteSigner::from_pkcs8(&name, &NoteSigner::generate().unwrap()).unwrap();
            Self { signer, events: Vec::new() }
        }

        /// Of the first `size` events, proved from `since`, which is 0, 1 or `size`.
        fn checkpoint(&self, size: usize, since: usize) -> SignedCheckpoint {
            let mut tree = Tree::default();
            self.events[..size].iter().for_each(|event| tree.push(Hash::leaf(event.as_bytes())));
            let origin = self.signer.verifier().name().to_owned();
            let note = Checkpoint { origin, size: size as u64, root: tree.root() }.sign(&self.signer);
            let proof = match (since, size) {
                (1, 2) => vec![Hash::leaf(self.events[1].as_bytes())],
                _ => Vec::new(),
            };
            SignedCheckpoint { note, key: self.signer.verifier().to_string(), since: since as u64, proof }
        }
    }

    fn witness(file: Option<PathBuf>) -> Witness {
        Witness::new(file, CONTROL.parse().unwrap(), Metrics::new(&[]).unwrap())
    }

    fn disputes(witness: &Witness) -> Vec<TrailFault> {
        witness.memory.disputed.iter().map(|disputed| disputed.fault).collect()
    }

    const AT: Time = Time::from_micros(1_795_341_600_000_000);

    #[test]
    fn a_log_that_goes_on_is_followed_and_one_that_was_rewritten_is_disputed() {
        let (mut log, mut witness) = (Log::new(0), witness(None));
        log.events = vec!["a", "b"];
        assert!(witness.heard(&log.checkpoint(1, 0), AT).is_err(), "before a welcome");
        assert_eq!(witness.welcomed(LogId([1; 16]), Epoch(0)), 0);
        assert_eq!(witness.heard(&log.checkpoint(1, 0), AT), Ok(None));
        assert_eq!(witness.heard(&log.checkpoint(2, 0), AT), Ok(Some(1)), "to be proved from one");
        assert_eq!(witness.heard(&log.checkpoint(2, 1), AT), Ok(None));
        assert_eq!(witness.heard(&log.checkpoint(2, 2), AT), Ok(None), "the same");
        assert!(disputes(&witness).is_empty());
        log.events = vec!["a", "c"];
        assert_eq!(witness.heard(&log.checkpoint(2, 1), AT), Ok(None));
        assert_eq!(witness.heard(&log.checkpoint(1, 0), AT), Ok(None));
        let mut other = Log::new(0);
        other.events = vec!["a"];
        assert_eq!(witness.heard(&other.checkpoint(1, 0), AT), Ok(None));
        assert_eq!(disputes(&witness), [TrailFault::Forked, TrailFault::RolledBack, TrailFault::Key]);
        assert_eq!(witness.metrics.control_log_disputes.get(), 3);
    }

    #[test]
    fn a_control_plane_that_never_stops_contradicting_itself_fills_nothing() {
        let (mut log, mut witness) = (Log::new(0), witness(None));
        log.events = vec!["a", "b"];
        witness.welcomed(LogId([1; 16]), Epoch(0));
        witness.heard(&log.checkpoint(2, 0), AT).unwrap();
        for number in 0..500 {
            log.events = if number % 2 == 0 { vec!["a", "c"] } else { vec!["a", "b"] };
            assert_eq!(witness.heard(&log.checkpoint(2, 2), AT), Ok(None));
        }
        assert_eq!(witness.memory.disputed.len(), DISPUTES);
        assert_eq!(witness.metrics.control_log_disputes.get(), 500);
    }

    #[test]
    fn what_is_not_signed_for_this_log_is_refused() {
        let (mut log, mut witness) = (Log::new(0), witness(None));
        log.events = vec!["a"];
        witness.welcomed(LogId([1; 16]), Epoch(0));
        let mut forged = log.checkpoint(1, 0);
        forged.key = Log::new(0).signer.verifier().to_string();
        assert!(witness.heard(&forged, AT).is_err());
        let mut later = Log::new(1);
        later.events = vec!["a"];
        assert!(witness.heard(&later.checkpoint(1, 0), AT).is_err(), "of another epoch");
        assert_eq!(witness.size(), 0);
    }

    #[tokio::test]
    async fn it_is_remembered_over_a_restart_and_a_restored_log_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("control-log.json");
        let mut log = Log::new(0);
        log.events = vec!["a", "b"];
        let mut first = witness(Some(file.clone()));
        first.welcomed(LogId([1; 16]), Epoch(0));
        first.heard(&log.checkpoint(2, 0), AT).unwrap();
        let expected = first.memory.clone();
        while read(&file) != expected {
            tokio::task::yield_now().await;
        }
        let mut second = witness(Some(file));
        assert_eq!(second.welcomed(LogId([1; 16]), Epoch(0)), 2);
        assert_eq!(second.welcomed(LogId([1; 16]), Epoch(1)), 0);
        assert_eq!(second.memory.earlier, Vec::from_iter(expected.now));
        assert!(disputes(&second).is_empty());
    }
}
