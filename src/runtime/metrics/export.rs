//! What is counted for each export of the trail and of the event log.

use super::{MetricsError, counters, register};
use crate::model::ExportName;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

const LABELS: &[&str] = &["log", "export"];

/// The families, by log (`audit` or `events`) and export of the configuration.
pub(super) struct ByExport {
    lines: IntCounterVec,
    failures: IntCounterVec,
    refused: IntCounterVec,
    lost: IntCounterVec,
    lag_lines: IntGaugeVec,
    lag_seconds: IntGaugeVec,
}

/// What is counted for one export.
#[derive(Debug)]
pub struct ExportMetrics {
    /// `jitgate_export_lines_total`: lines that the receiver has confirmed.
    pub lines: IntCounter,
    /// `jitgate_export_failures_total`: attempts that failed; what they sent is sent again.
    pub failures: IntCounter,
    /// `jitgate_export_refused_lines_total`: lines that the receiver refused for what they are, and that were passed over.
    pub refused: IntCounter,
    /// `jitgate_export_lost_lines_total`: lines that were gone or damaged before they were sent.
    pub lost: IntCounter,
    /// `jitgate_export_lag_lines`: lines that the receiver has not confirmed.
    pub lag_lines: IntGauge,
    /// `jitgate_export_lag_seconds`: how long the oldest of them has waited.
    pub lag_seconds: IntGauge,
}

impl ByExport {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let counter = |name: &str, help: &str| counters(registry, name, help, LABELS);
        let gauge =
            |name: &str, help: &str| register(registry, IntGaugeVec::new(Opts::new(name, help), LABELS)?);
        Ok(Self {
            lines: counter("jitgate_export_lines_total", "Lines that the receiver of an export confirmed.")?,
            failures: counter(
                "jitgate_export_failures_total",
                "Attempts to send to the receiver of an export that failed and are made again.",
            )?,
            refused: counter(
                "jitgate_export_refused_lines_total",
                "Lines that the receiver of an export refused for what they are, and that were passed over.",
            )?,
            lost: counter(
                "jitgate_export_lost_lines_total",
                "Lines that were gone or damaged before an export had sent them.",
            )?,
            lag_lines: gauge(
                "jitgate_export_lag_lines",
                "Lines that the receiver of an export has not confirmed.",
            )?,
            lag_seconds: gauge(
                "jitgate_export_lag_seconds",
                "How long the oldest line that an export's receiver has not confirmed has waited.",
            )?,
        })
    }

    pub(super) fn of(&self, log: &'static str, export: &ExportName) -> ExportMetrics {
        let labels = &[log, export.as_str()];
        ExportMetrics {
            lines: self.lines.with_label_values(labels),
            failures: self.failures.with_label_values(labels),
            refused: self.refused.with_label_values(labels),
            lost: self.lost.with_label_values(labels),
            lag_lines: self.lag_lines.with_label_values(labels),
            lag_seconds: self.lag_seconds.with_label_values(labels),
        }
    }
}
