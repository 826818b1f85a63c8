//! What is counted for each external witness of a log.

use super::{MetricsError, counters, register};
use crate::model::WitnessName;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

const LABELS: &[&str] = &["log", "name"];

/// The families, by log (`audit` or `events`) and witness of the configuration.
pub(super) struct ByWitness {
    lag: IntGaugeVec,
    failures: IntCounterVec,
    disputes: IntGaugeVec,
}

/// What is counted for one witness.
#[derive(Debug)]
pub struct WitnessMetrics {
    /// `jitgate_witness_lag_lines`: lines, or events, that are signed for and that it has not vouched for.
    pub lag: IntGauge,
    /// `jitgate_witness_failures_total`: attempts that brought no cosignature.
    pub failures: IntCounter,
    /// `jitgate_witness_disputes`: how often it knew another log than ours.
    pub disputes: IntGauge,
}

impl ByWitness {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let gauge =
            |name: &str, help: &str| register(registry, IntGaugeVec::new(Opts::new(name, help), LABELS)?);
        Ok(Self {
            lag: gauge(
                "jitgate_witness_lag_lines",
                "Lines of a log that are signed for and that a witness has not vouched for.",
            )?,
            failures: counters(
                registry,
                "jitgate_witness_failures_total",
                "Checkpoints that a witness was asked for and did not vouch for.",
                LABELS,
            )?,
            disputes: gauge(
                "jitgate_witness_disputes",
                "How often a witness knew another log than ours: it was rolled back or rewritten; anything but 0 is an alarm.",
            )?,
        })
    }

    pub(super) fn of(&self, log: &'static str, witness: &WitnessName) -> WitnessMetrics {
        let labels = &[log, witness.as_str()];
        WitnessMetrics {
            lag: self.lag.with_label_values(labels),
            failures: self.failures.with_label_values(labels),
            disputes: self.disputes.with_label_values(labels),
        }
    }
}
