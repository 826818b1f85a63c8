//! The external witnesses of the event log: asked beside everything else; nobody waits for them.

use crate::config::ControlConfig;
use crate::control::plane::Plane;
use crate::cosign::{self, Alarm, SetupError};
use crate::runtime::metrics::Metrics;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Asks those of `config` until `stop` is cancelled. That one knows another log than ours is shown with the status: as what it claims,
/// since what it answers is not signed, and apart from what was found by ourselves.
///
/// # Errors
/// [`SetupError`], when a file that the configuration names cannot be used.
pub fn start(
    config: &ControlConfig,
    plane: &Plane,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<(), SetupError> {
    let Some(latest) = plane.checkpoints() else { return Ok(()) };
    let told = plane.clone();
    let alarm: Alarm = Arc::new(move |name, why| told.witness_has_claimed(name, why));
    let askers = cosign::askers(&config.witnesses, "events", latest, metrics, &alarm)?;
    tokio::spawn(cosign::run(askers, stop.clone()));
    Ok(())
}
