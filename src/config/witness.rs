//! Who else vouches for the audit trail and the event log: `[[proxy.audit.witness]]`, `[[control.witness]]`.

use crate::config::{ReceiverTls, WebhookUrl};
use crate::model::WitnessName;
use crate::tlog::WitnessKey;
use std::time::Duration;

/// One witness (c2sp.org/tlog-witness).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessConfig {
    /// Names its metrics, its log lines and the file with what it has vouched for.
    pub name: WitnessName,
    /// Its submission prefix, without a slash at its end; `https`, or `http` to this machine alone.
    pub url: WebhookUrl,
    /// What its cosignatures are checked with.
    pub key: WitnessKey,
    /// Whom it is verified by.
    pub tls: ReceiverTls,
    /// How long one attempt may take.
    pub timeout: Duration,
}

impl WitnessConfig {
    /// How long one attempt may take by default.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// A log has at most so many.
    pub const MOST: usize = 16;
}
