//! What the writer of a trail has in its hands: whole lines in order, and how far they are written.

use super::herald::Waiting;
use super::queue::Lines;

/// Lines taken from the queue, of which some bytes are written.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) done: usize,
    /// How much of that went to a file that is gone.
    pub(super) earlier: usize,
    pub(super) lines: Lines,
    pub(super) waiting: Vec<Waiting>,
    /// The number of the last line before it.
    pub(super) before: u64,
    /// No request that was admitted before this line is open once it is written.
    pub(super) floor: u64,
    /// The number of its last line.
    pub(super) last: u64,
}

impl Batch {
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.done..).unwrap_or_default()
    }

    /// The bytes written of a line that is not written whole, and the number of the last that is.
    pub(super) fn partial(&self) -> (usize, u64) {
        let written = self.bytes.get(..self.done).unwrap_or_default();
        let whole = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = written.iter().filter(|byte| **byte == b'\n').count();
        (self.done - whole, self.before + u64::try_from(lines).unwrap_or(0))
    }
}
