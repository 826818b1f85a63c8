//! The exports and the external witnesses of the proxy's trail, as its configuration names them.

use crate::audit::sink::AuditSink;
use crate::config::{AuditTarget, ExportConfig, ProxyConfig};
use crate::cosign::{self, Alarm, Asker};
use crate::export::{Exporter, SetupError, TrailSource};
use crate::model::ProxyName;
use crate::runtime::metrics::Metrics;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What sends the trail on, each on a thread of its own: it reads files, and must not hold up anything else.
pub(super) fn of(
    config: &ProxyConfig,
    name: &ProxyName,
    audit: &AuditSink,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Vec<Exporter<TrailSource>>, SetupError> {
    let (AuditTarget::File(trail), Some(latest)) = (&config.audit.target, audit.checkpoint()) else {
        return Ok(Vec::new());
    };
    let exporter = |export: &ExportConfig| {
        let source = TrailSource::new(trail, name.as_str(), latest, stop.clone());
        let metrics = metrics.export("audit", &export.name);
        Exporter::new(export, trail, source, metrics)
    };
    config.audit.exports.iter().map(exporter).collect()
}

/// Who else vouches for the trail.
pub(super) fn witnesses(
    config: &ProxyConfig,
    audit: &AuditSink,
    metrics: &Metrics,
) -> Result<Vec<Asker>, cosign::SetupError> {
    let Some(latest) = audit.checkpoint() else { return Ok(Vec::new()) };
    // The log, the metrics and the trail's health tell: what is in force does not depend on what was written about it.
    let alarm: Alarm = Arc::new(|_, _| ());
    cosign::askers(&config.audit.witnesses, "audit", latest, metrics, &alarm)
}
