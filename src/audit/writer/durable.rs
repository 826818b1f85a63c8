//! Lines that somebody waits for: on disk before the request they are about goes on (durability `durable`).
//!
//! One `fdatasync` for a whole batch, then all that wait for a line in it are told. A sync that fails tells nobody anything: the kernel
//! may have dropped what it could not write, so everybody who waits is refused and the batch is written once more.

use super::{Output, Writer};
use crate::audit::herald;
use crate::audit::room::signed;
use std::io;

impl Writer {
    /// Makes the batch, which is written whole, survive a loss of power, if anybody waits for that.
    pub(super) fn settle_waiting(&mut self) -> io::Result<()> {
        if self.batch.waiting.is_empty() {
            return Ok(());
        }
        // What was written to a file that is gone, or to a stream, is no longer ours to promise.
        if let Output::Files { trail, .. } = &mut self.output
            && self.batch.earlier == 0
        {
            if let Err(error) = trail.sync() {
                self.write_again();
                return Err(error);
            }
            herald::tell(self.batch.waiting.drain(..));
        }
        self.batch.waiting.clear();
        Ok(())
    }

    /// Takes back what was written of the batch.
    fn write_again(&mut self) {
        self.withdraw();
        if let Output::Files { trail, .. } = &mut self.output {
            trail.take_back(u64::try_from(self.batch.done).unwrap_or(0));
            self.shared.room.change(-signed(self.batch.done));
            self.batch.done = 0;
        }
    }

    /// The trail cannot be written: nobody is kept waiting for it.
    pub(super) fn refuse_waiting(&mut self) {
        self.batch.waiting.clear();
        self.shared.queue.lock().waiting.clear();
    }
}
