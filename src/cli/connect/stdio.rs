//! MCP on standard input and output, as clients start servers: until the input ends, a signal comes, or nobody reads any more.
//!
//! At the end of the input, calls that run are finished; what never ends by itself is stopped.

use super::bridge::Bridge;
use super::lines::{Line, Lines};
use super::messages::LIMITS;
use super::out::Out;
use super::parts::Parts;
use super::watch;
use crate::cli::Failure;
use crate::cli::client::Client;
use crate::cli::run::signals::Signals;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::BufReader;
use tokio_util::task::TaskTracker;

/// For calls that run when the input ends.
const FINISHES: Duration = Duration::from_secs(30);
/// For what was answered and is not written yet.
const FLUSHES: Duration = Duration::from_secs(2);

/// Serves one client.
pub(super) async fn serve(parts: Parts) -> Result<(), Failure> {
    let mut signals = Signals::catch().map_err(Failure::failed)?;
    let tracker = TaskTracker::new();
    let (input, output) = standard().map_err(Failure::failed)?;
    let (out, written) = Out::open(output);
    let gates = parts.gates();
    let (control, service) = (parts.control(), parts.service.clone());
    let (link, asking) = parts.links(&out, &tracker);
    let bridge = Arc::new(Bridge::new(link, asking, out, tracker.clone()));
    let watching = [
        Some(tokio::spawn(watch::certificate(gates))),
        control.map(|target| {
            tokio::spawn(watch::grants(Arc::clone(&bridge), Client::new(target), service.clone()))
        }),
    ];
    let mut lines = Lines::new(BufReader::new(input), LIMITS.body_bytes);
    let finishes = loop {
        let line = tokio::select! {
            biased;
            _ = signals.next() => break Duration::ZERO,
            () = bridge.out.closed() => break Duration::ZERO,
            line = lines.next() => line,
        };
        // A signal ends also a message that is not taken.
        let taking = async {
            match line {
                Ok(Some(Line::Whole(line))) => bridge.take(line).await,
                Ok(Some(Line::TooLong)) => bridge.too_long().await,
                Ok(None) | Err(_) => return true,
            }
            false
        };
        tokio::select! {
            biased;
            _ = signals.next() => break Duration::ZERO,
            () = bridge.out.closed() => break Duration::ZERO,
            ends = taking => if ends { break FINISHES },
        }
    };
    bridge.stop_endless();
    tracker.close();
    tokio::select! {
        biased;
        _ = signals.next() => {}
        () = bridge.out.closed() => {}
        _ = tokio::time::timeout(finishes, tracker.wait()) => {}
    }
    bridge.close().await;
    for task in watching.into_iter().flatten() {
        task.abort();
    }
    drop(bridge);
    let _ = tokio::time::timeout(FLUSHES, written).await;
    Ok(())
}

/// Standard input and output as files of our own: nothing else in this process reads or writes them meanwhile.
fn standard() -> std::io::Result<(File, File)> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let output = std::io::stdout().as_fd().try_clone_to_owned()?;
    Ok((File::from_std(input.into()), File::from_std(output.into())))
}
