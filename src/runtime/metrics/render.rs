//! What is answered to a scrape.

use super::Metrics;
use prometheus::TextEncoder;

impl Metrics {
    /// The Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_but(|_| false)
    }

    /// The same of a control plane that runs without a proxy: what only a proxy has would tell of one that is never connected.
    #[must_use]
    pub fn render_of_control(&self) -> String {
        self.render_but(is_of_proxy)
    }

    fn render_but(&self, hides: impl Fn(&str) -> bool) -> String {
        for hook in self.hooks.lock().iter() {
            hook(self);
        }
        let mut families = self.registry.gather();
        families.retain(|family| !hides(family.name()));
        // Encoding only fails for metric families without metrics, which `gather` leaves out.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

/// Whether only a proxy has this metric.
fn is_of_proxy(name: &str) -> bool {
    let name = name.strip_prefix("jitgate_").unwrap_or(name);
    let groups = ["audit_", "streams_", "request", "control_"];
    let single =
        ["decision_seconds", "upstream_seconds", "grants", "revocation_apply_seconds", "connections"];
    groups.iter().any(|group| name.starts_with(group)) || single.contains(&name)
}
