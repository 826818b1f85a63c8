//! Checkpoints of audit trails as they come up a control channel: verified before anything is asked of the log.

use super::caller::{Caller, submit};
use crate::control::plane::Plane;
use crate::control::state::{Command, Trail};
use crate::model::{ProxyName, SpiffeId, TrailHead};
use crate::notary::{self, SignedCheckpoint};
use crate::runtime::clock::Mono;
use crate::tlog::Checkpoint;
use std::future::pending;
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

/// Checkpoints of one proxy are judged and logged at most so often, whatever it sends: an honest one signs one in this time.
const PAUSE: Duration = Duration::from_millis(900);

/// The size of the proxy's last checkpoint that is kept.
pub(super) fn kept(plane: &Plane, proxy: &ProxyName) -> u64 {
    plane.with_state(|state| {
        let trail = state.proxies().get(proxy).and_then(|known| known.trail.as_deref());
        trail.map_or(0, |trail| trail.head.size)
    })
}

/// Checkpoints of one proxy on their way into the log, beside everything else: the log may be busy, and no pong waits for it. One at a
/// time, and not too often; what comes meanwhile is asked for anew.
pub(super) struct Keeper {
    plane: Plane,
    caller: Caller,
    /// Ends with whether it could be asked for.
    keeping: Option<JoinHandle<Result<bool, Status>>>,
    /// When the last one was taken that was judged.
    taken: Option<Mono>,
    missed: bool,
}

impl Keeper {
    pub(super) fn new(plane: &Plane, caller: &Caller) -> Self {
        Self { plane: plane.clone(), caller: caller.clone(), keeping: None, taken: None, missed: false }
    }

    /// What cannot be verified is the proxy's fault, and told to people, whenever it comes.
    pub(super) fn take(&mut self, checkpoint: &SignedCheckpoint) -> Result<(), Status> {
        let proxy = self.caller.proxy.clone();
        let head = verified(checkpoint, &self.caller.identity).map_err(|why| {
            tracing::error!(%proxy, why, "a checkpoint of an audit trail cannot be verified");
            Status::invalid_argument(why)
        })?;
        // One that is proved from something else than what is kept is not judged, and spends no pause: where the answer takes long to
        // get there, the next one would come within the pause, and so on.
        if self.keeping.is_some() || self.is_stale(&head, checkpoint.since) || !self.pause().is_zero() {
            self.missed = true;
            return Ok(());
        }
        self.taken = Some(self.plane.mono());
        let (plane, caller) = (self.plane.clone(), self.caller.clone());
        let (since, proof) = (checkpoint.since, checkpoint.proof.as_slice().into());
        let keep = Command::KeepCheckpoint { proxy, head, since, proof };
        let keeping = async move {
            match submit(&plane, &caller, keep).await {
                Ok(_) => Ok(true),
                // The next one is proved against what is kept then.
                Err(status) if status.code() == Code::Unavailable => Ok(false),
                Err(status) => Err(status),
            }
        };
        self.keeping = Some(tokio::spawn(keeping));
        Ok(())
    }

    /// Waits for the one under way. What is kept now, for the proxy: that is what it may rely on, and where it has to prove another one
    /// from, if that is not what it handed over last. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Option<u64>, Status> {
        let Some(keeping) = &mut self.keeping else {
            if !self.missed {
                return pending().await;
            }
            tokio::time::sleep(self.pause()).await;
            self.missed = false;
            return Ok(Some(kept(&self.plane, &self.caller.proxy)));
        };
        let asked = keeping.await;
        self.keeping = None;
        // A task that is gone ends with the control plane.
        if !asked.unwrap_or(Ok(false))? {
            // After the pause.
            self.missed = true;
            return Ok(None);
        }
        Ok(Some(kept(&self.plane, &self.caller.proxy)))
    }

    /// Whether it is proved from another one than what is kept, which was handed over after it. One with another key is judged: the
    /// trail is another one.
    fn is_stale(&self, head: &TrailHead, since: u64) -> bool {
        self.plane.with_state(|state| {
            let trail = state.proxies().get(&self.caller.proxy).and_then(|known| known.trail.as_deref());
            trail.is_some_and(|Trail { head: kept, .. }| {
                kept.key == head.key && head.size > kept.size && since != kept.size
            })
        })
    }

    /// How long we and the log are still spared another one.
    fn pause(&self) -> Duration {
        let ours = self.taken.map_or(Duration::ZERO, |taken| taken.plus(PAUSE).since(self.plane.mono()));
        let last = self.plane.with_state(|state| {
            let known = state.proxies().get(&self.caller.proxy)?;
            known.trail.as_deref().map(|trail| trail.at)
        });
        ours.max(last.map_or(Duration::ZERO, |at| at.plus(PAUSE).since(self.plane.control_time())))
    }
}

fn verified(checkpoint: &SignedCheckpoint, identity: &SpiffeId) -> Result<TrailHead, String> {
    let Checkpoint { origin: _, size, root } = checkpoint.opened(&notary::audit_trail(identity))?;
    Ok(TrailHead { key: checkpoint.key.clone(), size, root: root.to_string(), note: checkpoint.note.clone() })
}
