//! A store that came back from a backup: what it holds as granted may have been revoked since, and what it holds as the last revision
//! proxies may be past.
//!
//! Owns the beginning of a new epoch. The order matters: first every grant is revoked, durably, then the epoch is raised. If this
//! breaks off in between, proxies that know more refuse the old epoch, and the others find nothing live: closed either way, and it
//! can be done again. Nothing is served meanwhile.

use crate::control::log::LogError;
use crate::control::log::sqlite::SqliteLog;
use crate::control::plane::{self, Plane, PlaneOptions};
use crate::control::state::{Command, Refusal};
use crate::model::event::{Actor, Everything, Selector};
use std::path::Path;
use std::sync::Arc;

/// Where a store comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// It is as the last control plane left it.
    #[default]
    AsLeft,
    /// It was restored from a backup: what happened since is missing.
    Restored,
}

/// Why a restored store cannot be taken up. Whatever was done can be done again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It cannot be opened, or the new epoch cannot be written.
    #[error("a new epoch cannot be begun in the restored store: start again with --restored")]
    Log(#[from] LogError),
    /// It cannot be read.
    #[error(transparent)]
    Plane(#[from] plane::StartError),
    /// Its grants cannot be ended.
    #[error("the grants of the restored store cannot be revoked: start again with --restored")]
    Revoke(#[source] Refusal),
}

/// Ends every grant of a restored store and begins a new epoch in it.
///
/// # Errors
/// [`RestoreError`].
pub(super) async fn begin_epoch(path: &Path, options: PlaneOptions) -> Result<(), RestoreError> {
    let log = Arc::new(SqliteLog::open(path).await?);
    let plane = Plane::start(Arc::clone(&log) as _, options).await?;
    let everything = Selector::All(Everything);
    let ended = plane.with_state(|state| state.select(&everything, plane.control_time()).len());
    plane.submit(Actor::System, Command::BeginEpoch).await.map_err(RestoreError::Revoke)?;
    let epoch = log.begin_epoch().await?;
    log.close().await;
    tracing::warn!(epoch = epoch.0, grants_ended = ended, "the store was restored: a new epoch begins");
    Ok(())
}
