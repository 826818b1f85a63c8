//! What is counted for each service.

use super::{MetricsError, REQUEST_SECONDS, ServiceMetrics, counters, register};
use crate::model::DenyReason;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Registry};

/// The families with a `service` label.
pub(super) struct ByService {
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    upstream_seconds: HistogramVec,
}

impl ByService {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let seconds = |name: &str, help: &str| -> Result<HistogramVec, MetricsError> {
            let opts = HistogramOpts::new(name, help).buckets(REQUEST_SECONDS.to_vec());
            register(registry, HistogramVec::new(opts, &["service"])?)
        };
        Ok(Self {
            requests: counters(
                registry,
                "jitgate_requests_total",
                "Requests by decision, and for refused ones by reason.",
                &["service", "decision", "reason"],
            )?,
            request_seconds: seconds(
                "jitgate_request_seconds",
                "From the head of a request to the end of its response.",
            )?,
            upstream_seconds: seconds(
                "jitgate_upstream_seconds",
                "From forwarding a request to the head of the upstream's response.",
            )?,
        })
    }

    pub(super) fn resolve(&self, service: &str) -> ServiceMetrics {
        ServiceMetrics {
            permit: self.requests.with_label_values(&[service, "permit", ""]),
            deny: DenyReason::ALL
                .map(|reason| self.requests.with_label_values(&[service, "deny", reason.as_str()])),
            request_seconds: self.request_seconds.with_label_values(&[service]),
            upstream_seconds: self.upstream_seconds.with_label_values(&[service]),
        }
    }
}
