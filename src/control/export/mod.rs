//! Exports of the event log: each grant's life, each request for access and each decision, to receivers of the configuration.
//!
//! The same machinery as for a proxy's trail ([`crate::export`]); here entries of the log are read, and each is handed on byte for
//! byte. Nothing here holds up the control plane.

mod event;

use crate::config::{ControlConfig, Store};
use crate::control::plane::Plane;
use crate::export::record::{Batch, Form, Head, MOST_BYTES};
use crate::export::{Exporter, SetupError, SinkError, Source};
use crate::model::{Revision, SpiffeId};
use crate::notary;
use crate::runtime::metrics::Metrics;
use std::io;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Events that are read at once; some are about a thousand grants.
const PAGE: usize = 16;

/// Starts a thread for each export of `config`, from where it was left, until `stop` is cancelled; `own` is the control plane's identity.
///
/// # Errors
/// [`SetupError`], when a file that the configuration names cannot be used.
pub fn start(
    config: &ControlConfig,
    plane: &Plane,
    own: &SpiffeId,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<(), SetupError> {
    let Store::Sqlite(store) = &config.store;
    let exporter = |export: &crate::config::ExportConfig| {
        Exporter::new(export, store, EventSource::new(plane, own), metrics.export("events", &export.name))
    };
    let exporters: Vec<_> = config.exports.iter().map(exporter).collect::<Result<_, _>>()?;
    for exporter in exporters {
        run_aside(exporter, stop.clone())?;
    }
    Ok(())
}

/// On a thread of its own: a disk that hangs, or an event about a thousand grants, holds up nobody else.
fn run_aside(exporter: Exporter<EventSource>, stop: CancellationToken) -> Result<(), SetupError> {
    let failed = |source| SetupError { name: "control".to_owned(), source: SinkError::Thread(source) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let work = move || runtime.block_on(exporter.run(stop));
    std::thread::Builder::new().name("jitgate-export".into()).spawn(work).map_err(failed)?;
    Ok(())
}

/// The event log as something that is exported.
struct EventSource {
    plane: Plane,
    origin: String,
    host: String,
}

impl EventSource {
    fn new(plane: &Plane, own: &SpiffeId) -> Self {
        let host = own.path().rsplit('/').next().unwrap_or_default().to_owned();
        Self { plane: plane.clone(), origin: notary::event_log(own, plane.epoch()), host }
    }
}

impl Source for EventSource {
    async fn read(&mut self, after: u64, form: Form) -> io::Result<Batch> {
        let head = self.plane.head().borrow().0;
        let limit = usize::try_from(head.saturating_sub(after)).unwrap_or(PAGE).min(PAGE);
        // As the log holds them: what is made of an event anew need not be the same bytes.
        let page = self.plane.entries(Revision(after), limit).await.map_err(io::Error::other)?;
        let (mut batch, mut bytes) = (Batch { to: after, ..Batch::default() }, 0);
        for text in page {
            let revision = Revision(batch.to).next();
            let record = event::record(revision, text, form, &self.origin).map_err(io::Error::other)?;
            batch.to = revision.0;
            bytes += record.text.len();
            batch.records.push(record);
            if bytes > MOST_BYTES {
                break;
            }
        }
        Ok(batch)
    }

    fn head(&self) -> Head {
        let head = self.plane.head();
        Arc::new(move || head.borrow().0)
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn generation(&self) -> String {
        format!("{}/{}", self.plane.log_id(), self.plane.epoch().0)
    }
}

#[cfg(test)]
mod tests;
