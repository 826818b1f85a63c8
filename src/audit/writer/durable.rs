//! Lines that somebody waits for: on disk before the request they are about goes on (durability `durable`).
//!
//! One `fdatasync` for a whole batch, then all that wait for a line in it are told. A sync that fails tells nobody anything: everybody who
//! waits is refused, and so is everybody who comes, until what it was for has been written once more and synced (`audit::trail`).

use super::{Output, Writer};
use crate::audit::herald;
use std::io;

impl Writer {
    /// Makes the batch, which is written whole, survive a loss of power, if anybody waits for that; whether anybody did.
    pub(super) fn settle_waiting(&mut self) -> io::Result<bool> {
        if self.batch.waiting.is_empty() {
            return Ok(false);
        }
        // What was written to a file that is gone, or to a stream, is no longer ours to promise.
        if let Output::Files { trail, .. } = &mut self.output
            && self.batch.earlier == 0
        {
            trail.sync()?;
            herald::tell(self.batch.waiting.drain(..));
        }
        self.batch.waiting.clear();
        Ok(true)
    }

    /// After a sync that failed: nothing else is done before what it was for is on the disk.
    pub(super) fn sync_again(&mut self) -> io::Result<()> {
        match &mut self.output {
            Output::Files { trail, .. } if trail.is_unsure() => trail.sync(),
            Output::Files { .. } | Output::Stream(_) => Ok(()),
        }
    }

    /// The trail cannot be written: nobody is kept waiting for it.
    pub(super) fn refuse_waiting(&mut self) {
        self.batch.waiting.clear();
        self.shared.queue.lock().waiting.clear();
    }
}
