//! Checkpoints of audit trails as they come up a control channel: verified before anything is asked of the log.

use crate::model::{SpiffeId, TrailHead};
use crate::tlog::{Checkpoint, NoteError, VerifierKey};
use crate::wire::message::TrailCheckpoint;

/// The name of the log that is a proxy's audit trail.
pub(super) fn origin(identity: &SpiffeId) -> String {
    format!("{}/audit", identity.as_str().trim_start_matches("spiffe://"))
}

/// What a checkpoint says, if it is signed by the key that is given with it, for the trail of `identity`.
pub(super) fn verified(checkpoint: &TrailCheckpoint, identity: &SpiffeId) -> Result<TrailHead, String> {
    let key: VerifierKey = checkpoint.key.parse().map_err(|error: NoteError| format!("its key: {error}"))?;
    let (name, origin) = (key.name(), origin(identity));
    if name != origin {
        return Err(format!("its key is of `{name}`, not of `{origin}`"));
    }
    let Checkpoint { origin: _, size, root } =
        Checkpoint::open(&checkpoint.note, &key).map_err(|error| error.to_string())?;
    Ok(TrailHead { key: checkpoint.key.clone(), size, root: root.to_string(), note: checkpoint.note.clone() })
}
