//! The reconciler: logs the end of grants, requests and tasks that are over by time or use, and what else is due to be logged.
//!
//! It takes no input and may run at any time, any number of times, on any replica: it compares the state with the clock and with
//! what proxies report. Nothing depends on it for safety, since proxies check the window at each decision (law 4).

use crate::control::plane::Plane;
use crate::control::state::{Command, Outcome, Refusal};
use crate::control::workflow::AccessCommand;
use crate::model::event::{Actor, TaskOutcome};
use crate::model::{EndCause, GrantId};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);

/// Reconciles every second until stopped.
pub async fn run(plane: Plane, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        match reconcile(&plane).await {
            Ok(_) => {}
            Err(Refusal::Stopping) => return,
            Err(refusal) => {
                tracing::warn!(
                    error = &refusal as &dyn std::error::Error,
                    "cannot log what has expired; trying again"
                );
            }
        }
    }
}

/// Logs all ends that are due; returns how many grants ended.
///
/// # Errors
/// [`Refusal`] if the log cannot be written; what was not logged is due the next time.
pub async fn reconcile(plane: &Plane) -> Result<usize, Refusal> {
    let mut ended = 0_usize;
    while plane.with_state(|state| state.next_expiry()).is_some_and(|next| next <= plane.control_time()) {
        ended = ended.saturating_add(end(plane, Command::Expire).await?);
    }
    while plane.is_sweep_due() {
        plane.submit(Actor::System, Command::Access(AccessCommand::Sweep)).await?;
    }
    for task in plane.idle_tasks() {
        let reason = "no traffic and no sign of life for its idle time".to_owned();
        let end = AccessCommand::EndTask { task, outcome: TaskOutcome::Idle, reason };
        // It may have ended in the meantime.
        match plane.submit(Actor::System, Command::Access(end)).await {
            Ok(_) | Err(Refusal::Access(_)) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    if plane.is_trail_due() {
        plane.submit(Actor::System, Command::RecordTrails).await?;
    }
    while let Some(uses) = plane.uses_to_log() {
        plane.submit(Actor::System, uses).await?;
    }
    let over = plane.over_by_use();
    for cause in [EndCause::Idle, EndCause::Limit] {
        let grants: Vec<GrantId> =
            over.iter().filter(|(_, why)| *why == cause).map(|(grant, _)| *grant).collect();
        if !grants.is_empty() {
            ended = ended.saturating_add(end(plane, Command::End { grants, cause }).await?);
        }
    }
    Ok(ended)
}

async fn end(plane: &Plane, command: Command) -> Result<usize, Refusal> {
    let outcome = plane.submit(Actor::System, command).await?;
    Ok(if let Outcome::Ended(grants) = outcome { grants.len() } else { 0 })
}
