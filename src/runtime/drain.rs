//! Stopping in two stages: first no new work and polite ends (*draining*), then, at a deadline, whatever is left is cut (*closing*).
//!
//! Owns the two signals and the count of what is still held. Refuses to know what a connection is. Signals work across runtimes.

use std::time::Duration;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// After the cut, what is left has this long to write its last audit line.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// How a program stops. Clones are the same drain.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    draining: CancellationToken,
    closing: CancellationToken,
    held: TaskTracker,
}

/// Work that a drain waits for, while this lives.
#[derive(Debug)]
#[must_use = "dropping it says that the work is done"]
pub struct Hold {
    _token: TaskTrackerToken,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything ended by itself.
    Clean,
    /// At the deadline this many were cut, and ended.
    Cut(usize),
    /// This many did not even end when they were cut.
    Stuck(usize),
}

impl Drain {
    /// Not draining yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes part: the drain waits for the returned value to be dropped.
    pub fn hold(&self) -> Hold {
        Hold { _token: self.held.token() }
    }

    /// Resolves when no new work is to be begun.
    pub fn draining(&self) -> WaitForCancellationFuture<'_> {
        self.draining.cancelled()
    }

    /// Whether no new work is to be begun; `/readyz` says so too.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Resolves when everything is to end now.
    pub fn closing(&self) -> WaitForCancellationFuture<'_> {
        self.closing.cancelled()
    }

    /// Whether everything is to end now.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// First stage, without waiting; [`Drain::run`] begins with it too.
    pub fn begin(&self) {
        self.draining.cancel();
        self.held.close();
    }

    /// Both stages: signals, waits until nothing is held or `deadline` has passed, then cuts.
    pub async fn run(&self, deadline: Duration) -> Drained {
        self.begin();
        if tokio::time::timeout(deadline, self.held.wait()).await.is_ok() {
            self.closing.cancel();
            return Drained::Clean;
        }
        let left = self.held.len();
        self.closing.cancel();
        match tokio::time::timeout(AFTER_CUT, self.held.wait()).await {
            Ok(()) => Drained::Cut(left),
            Err(_) => Drained::Stuck(self.held.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn waits_for_what_ends_by_itself() {
        let drain = Drain::new();
        let hold = drain.hold();
        let worker = tokio::spawn({
            let drain = drain.clone();
            async move {
                drain.draining().await;
                assert!(!drain.is_closing());
                drop(hold);
            }
        });
        assert_eq!(drain.run(LONG).await, Drained::Clean);
        worker.await.unwrap();
        assert!(drain.is_draining() && drain.is_closing());
    }

    #[tokio::test]
    async fn cuts_what_does_not_end_by_itself() {
        let drain = Drain::new();
        let hold = drain.hold();
        let worker = tokio::spawn({
            let drain = drain.clone();
            async move {
                drain.closing().await;
                drop(hold);
            }
        });
        assert_eq!(drain.run(Duration::from_millis(1)).await, Drained::Cut(1));
        worker.await.unwrap();
    }

    #[tokio::test]
    async fn tells_of_what_is_stuck() {
        let drain = Drain::new();
        let _hold = drain.hold();
        assert_eq!(drain.run(Duration::ZERO).await, Drained::Stuck(1));
    }
}
