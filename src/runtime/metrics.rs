//! Every metric of the contract, each named once, in one registry of its own (no global state, so that tests run side by side).
//!
//! Owns names, help texts, units and labels. Refuses to know what is measured where.
//! Invariant: no label takes a value that a caller can choose. Labels are either service names that were registered from the
//! configuration (anything else is counted as `unknown`) or `&'static str`, which no request can make.

mod export;
mod render;
mod service;
mod witness;

pub use export::ExportMetrics;
pub use witness::WitnessMetrics;

use crate::model::{DenyReason, ExportName, ServiceName, WebhookName, WitnessName};
use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::collections::HashMap;
use std::sync::Arc;

/// The `service` label of requests that name no configured service.
pub const UNKNOWN_SERVICE: &str = "unknown";

/// The registry refused a metric: our own naming mistake, or two services of one name.
#[derive(Debug, thiserror::Error)]
#[error("the metrics registry refused a metric")]
pub struct MetricsError(#[from] prometheus::Error);

/// Decisions take from tens of nanoseconds; what is above a millisecond is an accident.
const DECISION_SECONDS: &[f64] =
    &[5e-8, 1e-7, 1.5e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 1e-4, 1e-3, 1e-2];
const REQUEST_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];
const REVOCATION_SECONDS: &[f64] =
    &[1e-5, 2.5e-5, 1e-4, 2.5e-4, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

type ScrapeHook = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All metrics of a process. Fields are handles that cost one atomic operation; look up what has labels once and keep it.
pub struct Metrics {
    registry: Registry,
    hooks: Mutex<Vec<ScrapeHook>>,
    services: HashMap<ServiceName, Arc<ServiceMetrics>>,
    unknown: Arc<ServiceMetrics>,
    streams_cut: IntCounterVec,
    tls_handshakes: IntCounterVec,
    certificate_not_after: IntGaugeVec,
    webhook_waiting: IntGaugeVec,
    webhook_dead_letters: IntGaugeVec,
    exports: export::ByExport,
    witnesses: witness::ByWitness,
    /// `jitgate_decision_seconds`: time taken by `access::decide`.
    pub decision_seconds: Histogram,
    /// `jitgate_streams_in_flight`: requests admitted and not ended.
    pub streams_in_flight: IntGauge,
    /// `jitgate_grants`: grants in the proxy's table.
    pub grants: IntGauge,
    /// `jitgate_revocation_apply_seconds`: from receiving a change to the last stream cut for it.
    pub revocation_apply_seconds: Histogram,
    /// `jitgate_control_connected`: 1 while the control channel is up.
    pub control_connected: IntGauge,
    /// `jitgate_control_lease_remaining_seconds`: set at each scrape by a hook ([`Metrics::at_scrape`]).
    pub control_lease_remaining_seconds: Gauge,
    /// `jitgate_control_revision`: revision of the table.
    pub control_revision: IntGauge,
    /// `jitgate_control_log_disputes`: how often the control plane's log was not the one that it had signed for.
    pub control_log_disputes: IntGauge,
    /// `jitgate_audit_lines_total` by kind.
    pub audit_lines: AuditLines,
    /// `jitgate_audit_queue_length`: lines that wait for the writer.
    pub audit_queue_length: IntGauge,
    /// `jitgate_audit_disk_bytes`: what the trail takes, with what is set aside for it; without a bound: what its file system has in use.
    pub audit_disk_bytes: IntGauge,
    /// `jitgate_audit_disk_limit_bytes`: what it may take; without a bound: the size of its file system.
    pub audit_disk_limit_bytes: IntGauge,
    /// `jitgate_audit_disk_low`: 1 from four fifths on, until it is below three quarters.
    pub audit_disk_low: IntGauge,
    /// `jitgate_audit_removal_blocked`: 1 while old files may go and cannot be removed.
    pub audit_removal_blocked: IntGauge,
    /// `jitgate_audit_recordings_total`: recordings written.
    pub audit_recordings: IntCounter,
    /// `jitgate_audit_recording_bytes`: what the recordings take on the disk.
    pub audit_recording_bytes: IntGauge,
    /// `jitgate_audit_failures_total`: requests refused because the trail could not be written.
    pub audit_failures: IntCounter,
    /// `jitgate_connections`: open client connections.
    pub connections: IntGauge,
    /// `jitgate_reload_failures_total`.
    pub reload_failures: IntCounter,
}

/// What is counted for one service. Take it when a connection or route is set up, not per request.
pub struct ServiceMetrics {
    /// `jitgate_requests_total{decision="permit",reason=""}`.
    pub permit: IntCounter,
    deny: [IntCounter; DenyReason::ALL.len()],
    /// `jitgate_request_seconds`: from the request's head to the end of the response.
    pub request_seconds: Histogram,
    /// `jitgate_upstream_seconds`: from forwarding to the head of the upstream's response.
    pub upstream_seconds: Histogram,
}

impl ServiceMetrics {
    /// `jitgate_requests_total{decision="deny"}` for this reason.
    #[must_use]
    #[allow(
        clippy::indexing_slicing,
        reason = "one counter per variant in the order of discriminants, which model::deny tests"
    )]
    pub fn deny(&self, reason: DenyReason) -> &IntCounter {
        &self.deny[reason as usize]
    }
}

/// `jitgate_audit_lines_total`, one counter for each kind of line.
pub struct AuditLines {
    /// Lines written before the upstream saw a byte.
    pub admit: IntCounter,
    /// Lines that close a request.
    pub end: IntCounter,
    /// Refused handshakes.
    pub handshake: IntCounter,
    /// Lines that stand for many.
    pub summary: IntCounter,
}

impl Metrics {
    /// Registers everything. `services` are the configured ones: only they become label values.
    ///
    /// # Errors
    /// [`MetricsError`] when a service is listed twice.
    pub fn new(services: &[ServiceName]) -> Result<Arc<Self>, MetricsError> {
        let r = Registry::new();
        let by_service = service::ByService::new(&r)?;
        let mut known = HashMap::with_capacity(services.len());
        for name in services {
            known.insert(name.clone(), Arc::new(by_service.resolve(name.as_str())));
        }
        let build = IntGaugeVec::new(
            Opts::new("jitgate_build_info", "Always 1; the label says which version runs."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        register(&r, build)?;
        Ok(Arc::new(Self {
            hooks: Mutex::new(Vec::new()),
            services: known,
            unknown: Arc::new(by_service.resolve(UNKNOWN_SERVICE)),
            streams_cut: counters(
                &r,
                "jitgate_streams_cut_total",
                "Requests and streams cut in flight, by cause.",
                &["cause"],
            )?,
            tls_handshakes: counters(
                &r,
                "jitgate_tls_handshakes_total",
                "TLS handshakes by result: `ok` or why refused.",
                &["result"],
            )?,
            certificate_not_after: register(
                &r,
                IntGaugeVec::new(
                    Opts::new(
                        "jitgate_certificate_not_after_seconds",
                        "Unix time at which our certificate expires.",
                    ),
                    &["name"],
                )?,
            )?,
            webhook_waiting: webhooks(
                &r,
                "jitgate_webhook_waiting",
                "Messages that wait to be delivered to a webhook's receiver.",
            )?,
            webhook_dead_letters: webhooks(
                &r,
                "jitgate_webhook_dead_letters",
                "Messages that were given up and wait for somebody to send them again.",
            )?,
            exports: export::ByExport::new(&r)?,
            witnesses: witness::ByWitness::new(&r)?,
            decision_seconds: histogram(
                &r,
                "jitgate_decision_seconds",
                "Time taken to decide on one request.",
                DECISION_SECONDS,
            )?,
            streams_in_flight: gauge(
                &r,
                "jitgate_streams_in_flight",
                "Requests and streams admitted and not ended.",
            )?,
            grants: gauge(&r, "jitgate_grants", "Grants in the proxy's table.")?,
            revocation_apply_seconds: histogram(
                &r,
                "jitgate_revocation_apply_seconds",
                "From receiving the end of grants to the last stream cut for it.",
                REVOCATION_SECONDS,
            )?,
            control_connected: gauge(
                &r,
                "jitgate_control_connected",
                "1 while the control channel is established.",
            )?,
            control_lease_remaining_seconds: register(
                &r,
                Gauge::new(
                    "jitgate_control_lease_remaining_seconds",
                    "Time for which the table may still be enforced without an answer; 0 means stale.",
                )?,
            )?,
            control_revision: gauge(
                &r,
                "jitgate_control_revision",
                "Revision of the control plane's log that the table has.",
            )?,
            control_log_disputes: gauge(
                &r,
                "jitgate_control_log_disputes",
                "How often the control plane's log was not the one that it had signed for; anything but 0 is an alarm.",
            )?,
            audit_lines: AuditLines::new(&r)?,
            audit_queue_length: gauge(
                &r,
                "jitgate_audit_queue_length",
                "Audit lines that wait to be written.",
            )?,
            audit_disk_bytes: gauge(
                &r,
                "jitgate_audit_disk_bytes",
                "What the audit trail takes on its disk, with what is set aside; without max_total_bytes: what its file system has in use.",
            )?,
            audit_disk_limit_bytes: gauge(
                &r,
                "jitgate_audit_disk_limit_bytes",
                "What the audit trail may take (max_total_bytes); without it: the size of its file system.",
            )?,
            audit_disk_low: gauge(
                &r,
                "jitgate_audit_disk_low",
                "1 when four fifths of that are taken by what may not be removed, or the file system is as full; when nothing is left, requests are refused.",
            )?,
            audit_removal_blocked: gauge(
                &r,
                "jitgate_audit_removal_blocked",
                "1 while old files of the audit trail are to be removed and are not: one is not as it was logged, a loss is not accounted for, a witness disputes the trail, or the disk refuses; the log says which.",
            )?,
            audit_recordings: register(
                &r,
                IntCounter::new(
                    "jitgate_audit_recordings_total",
                    "Recordings of requests that were written.",
                )?,
            )?,
            audit_recording_bytes: gauge(
                &r,
                "jitgate_audit_recording_bytes",
                "What the recordings of requests take on the disk.",
            )?,
            audit_failures: register(
                &r,
                IntCounter::new(
                    "jitgate_audit_failures_total",
                    "Requests refused because the audit trail could not take their line.",
                )?,
            )?,
            connections: gauge(&r, "jitgate_connections", "Open client connections.")?,
            reload_failures: register(
                &r,
                IntCounter::new(
                    "jitgate_reload_failures_total",
                    "Changed certificate, key, bundle or CRL files that could not be used.",
                )?,
            )?,
            registry: r,
        }))
    }

    /// The metrics of a configured service; those of `unknown` for any other name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Arc<ServiceMetrics> {
        Arc::clone(self.services.get(name).unwrap_or(&self.unknown))
    }

    /// The metrics of requests that name no configured service.
    #[must_use]
    pub fn unknown_service(&self) -> Arc<ServiceMetrics> {
        Arc::clone(&self.unknown)
    }

    /// `jitgate_streams_cut_total` for a cause of a closed set.
    #[must_use]
    pub fn streams_cut(&self, cause: &'static str) -> IntCounter {
        self.streams_cut.with_label_values(&[cause])
    }

    /// `jitgate_tls_handshakes_total` for a result of a closed set (`ok` or a refusal's name).
    #[must_use]
    pub fn tls_handshakes(&self, result: &'static str) -> IntCounter {
        self.tls_handshakes.with_label_values(&[result])
    }

    /// `jitgate_certificate_not_after_seconds` for one of our own certificates, in Unix seconds.
    #[must_use]
    pub fn certificate_not_after(&self, name: &str) -> IntGauge {
        self.certificate_not_after.with_label_values(&[name])
    }

    /// `jitgate_webhook_waiting` and `jitgate_webhook_dead_letters` of a webhook of the configuration.
    pub fn webhook(&self, name: &WebhookName, waiting: usize, dead_letters: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.webhook_waiting.with_label_values(&[name.as_str()]).set(number(waiting));
        self.webhook_dead_letters.with_label_values(&[name.as_str()]).set(number(dead_letters));
    }

    /// What is counted for an export of the configuration; `log` is `audit` or `events`.
    #[must_use]
    pub fn export(&self, log: &'static str, export: &ExportName) -> ExportMetrics {
        self.exports.of(log, export)
    }

    /// What is counted for a witness of the configuration; `log` is `audit` or `events`.
    #[must_use]
    pub fn witness(&self, log: &'static str, witness: &WitnessName) -> WitnessMetrics {
        self.witnesses.of(log, witness)
    }

    /// Calls `hook` before each scrape, for gauges whose value runs by itself.
    pub fn at_scrape(&self, hook: impl Fn(&Self) + Send + Sync + 'static) {
        self.hooks.lock().push(Box::new(hook));
    }
}

impl AuditLines {
    fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let lines =
            counters(registry, "jitgate_audit_lines_total", "Audit lines written, by kind.", &["kind"])?;
        let kind = |kind: &'static str| lines.with_label_values(&[kind]);
        Ok(Self {
            admit: kind("admit"),
            end: kind("end"),
            handshake: kind("handshake"),
            summary: kind("summary"),
        })
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, MetricsError> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
    register(registry, IntGauge::new(name, help)?)
}

fn webhooks(registry: &Registry, name: &str, help: &str) -> Result<IntGaugeVec, MetricsError> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), &["webhook"])?)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, MetricsError> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, MetricsError> {
    register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Every name of the contract.
    const CONTRACT: [&str; 34] = [
        "jitgate_requests_total",
        "jitgate_decision_seconds",
        "jitgate_request_seconds",
        "jitgate_upstream_seconds",
        "jitgate_streams_in_flight",
        "jitgate_streams_cut_total",
        "jitgate_grants",
        "jitgate_revocation_apply_seconds",
        "jitgate_control_connected",
        "jitgate_control_lease_remaining_seconds",
        "jitgate_control_revision",
        "jitgate_control_log_disputes",
        "jitgate_audit_lines_total",
        "jitgate_audit_queue_length",
        "jitgate_audit_failures_total",
        "jitgate_tls_handshakes_total",
        "jitgate_certificate_not_after_seconds",
        "jitgate_connections",
        // Beyond the contract: how far `max_total_bytes` is.
        "jitgate_audit_disk_bytes",
        "jitgate_audit_disk_limit_bytes",
        "jitgate_audit_disk_low",
        "jitgate_audit_removal_blocked",
        "jitgate_audit_recordings_total",
        "jitgate_audit_recording_bytes",
        // Beyond the contract: the alarm of a bad reload.
        "jitgate_reload_failures_total",
        "jitgate_build_info",
        // Beyond the contract: what receivers of webhooks have not got.
        "jitgate_webhook_waiting",
        "jitgate_webhook_dead_letters",
        // Beyond the contract: what receivers of exports have not got.
        "jitgate_export_lines_total",
        "jitgate_export_failures_total",
        "jitgate_export_refused_lines_total",
        "jitgate_export_lost_lines_total",
        "jitgate_export_lag_lines",
        "jitgate_export_lag_seconds",
    ];

    fn filled() -> Arc<Metrics> {
        let metrics = Metrics::new(&["orders".parse().unwrap()]).unwrap();
        metrics.streams_cut("revoked").inc();
        metrics.tls_handshakes("ok").inc();
        metrics.certificate_not_after("proxy").set(1);
        metrics.webhook(&"siem".parse().unwrap(), 2, 1);
        metrics.export("audit", &"siem".parse().unwrap()).lines.inc();
        metrics
    }

    #[test]
    fn every_metric_of_the_contract_is_there_and_no_other() {
        let text = filled().render();
        let mut named: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP "))
            .filter_map(|rest| rest.split(' ').next())
            .collect();
        let mut wanted = CONTRACT.to_vec();
        named.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(named, wanted);
    }

    #[test]
    fn an_unconfigured_service_is_no_label() {
        let metrics = filled();
        metrics.service(&"invented".parse().unwrap()).deny(DenyReason::NoGrant).inc();
        metrics.service(&"orders".parse().unwrap()).deny(DenyReason::UpstreamUnavailable).inc_by(3);
        let text = metrics.render();
        assert!(!text.contains("invented"));
        for line in [
            "jitgate_requests_total{decision=\"deny\",reason=\"no_grant\",service=\"unknown\"} 1",
            "jitgate_requests_total{decision=\"deny\",reason=\"upstream_unavailable\",service=\"orders\"} 3",
            "jitgate_requests_total{decision=\"permit\",reason=\"\",service=\"orders\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn hooks_run_before_each_scrape() {
        let metrics = filled();
        metrics.at_scrape(|metrics| metrics.control_lease_remaining_seconds.set(7.5));
        assert!(metrics.render().contains("jitgate_control_lease_remaining_seconds 7.5"));
        let of_control = metrics.render_of_control();
        let names = of_control.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let names: Vec<&str> = names.collect();
        assert!(
            names.contains(&"jitgate_build_info") && names.contains(&"jitgate_reload_failures_total"),
            "{names:?}"
        );
        for of_proxy in
            ["control_connected", "grants", "requests_total", "request_seconds", "audit_disk_bytes"]
        {
            assert!(!names.contains(&&*format!("jitgate_{of_proxy}")), "{names:?}");
        }
    }

    #[test]
    fn promtool_finds_nothing() {
        let mut child = match Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
        {
            Ok(child) => child,
            Err(error) if std::env::var_os("CI").is_none() => {
                eprintln!("SKIPPED: promtool is not installed ({error})");
                return;
            }
            Err(error) => panic!("promtool must be installed in CI: {error}"),
        };
        child.stdin.take().unwrap().write_all(filled().render().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}
