//! Getting the audit trail and the event log out: as OCSF events, OTLP logs, or syslog messages, to receivers of the configuration.
//!
//! `source -> record -> encode -> deliver -> cursor`. Each export has a worker of its own, which reads what is on the disk from a
//! durable cursor, sends it in batches, and moves the cursor when the receiver has confirmed. Nothing queues in memory and nobody
//! waits for it: a receiver that is slow or dead holds up neither the proxy nor another receiver.
//!
//! Refuses to know how lines come into being. Invariants: a line is passed over only when its receiver has refused it for what it is
//! while taking another, or when its file is gone, and both are counted and logged; everything else is sent at least once, in
//! order; of a trail nothing is sent that a checkpoint does not vouch for, so that what was sent is never taken back.

mod cursor;
mod deliver;
mod file;
mod http;
pub(crate) mod ocsf;
mod otlp;
pub mod record;
mod request;
mod stream;
mod syslog;
mod trail;
mod worker;

pub use cursor::needed;
pub use deliver::{SetupError, SinkError};
pub use record::Source;
pub use trail::TrailSource;
pub use worker::Exporter;

/// Whether an export can be set up as it is configured.
///
/// # Errors
/// [`SinkError`], when a file that the configuration names cannot be used.
pub fn check(config: &crate::config::ExportConfig) -> Result<(), SinkError> {
    deliver::Sink::new(config, "", "").map(drop)
}
