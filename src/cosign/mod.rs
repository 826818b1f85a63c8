//! External witnesses of a log (c2sp.org/tlog-witness): each new checkpoint is shown to them, with the proof that it goes on from the
//! last that they have seen, and what they sign is kept beside the tiles. So whoever holds a witness's key can tell which lines were
//! there at which time, without trust in this host, its control plane, or us.
//!
//! `worker -> ask -> answer -> notes`. Refuses to know what a leaf means. Invariants: nobody waits for a witness; each is asked for one
//! checkpoint at a time, the newest, at most once a second; a cosignature is kept only if it is by the configured key over exactly the
//! text that the log signed; that a witness knows another log than ours is an alarm, and never an error that is just tried again.

mod answer;
mod ask;
mod notes;
mod worker;
#[cfg(test)]
mod tests;

pub use ask::SetupError;
pub use worker::{Alarm, Asker};

use crate::config::WitnessConfig;
use crate::notary::Latest;
use crate::runtime::metrics::Metrics;
use notes::Notes;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The witnesses of one log; `log` is `audit` or `events`.
///
/// # Errors
/// [`SetupError`], when a file that the configuration names cannot be used.
pub fn askers(
    witnesses: &[WitnessConfig],
    log: &'static str,
    latest: &Arc<Latest>,
    metrics: &Metrics,
    alarm: &Alarm,
) -> Result<Vec<Asker>, SetupError> {
    let notes = Arc::new(Notes::new(latest.store().clone()));
    let asker = |witness: &WitnessConfig| {
        let counted = metrics.witness(log, &witness.name);
        let gauge = counted.lag.clone();
        let asker = Asker::new(witness, Arc::clone(latest), Arc::clone(&notes), counted, Arc::clone(alarm))?;
        let lag = asker.lag();
        metrics.at_scrape(move |_| gauge.set(i64::try_from(lag()).unwrap_or(i64::MAX)));
        Ok(asker)
    };
    witnesses.iter().map(asker).collect()
}

/// Asks all of them, side by side, until `stop` is cancelled.
pub async fn run(askers: Vec<Asker>, stop: CancellationToken) {
    futures_util::future::join_all(askers.into_iter().map(|asker| asker.run(stop.clone()))).await;
}
