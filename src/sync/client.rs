//! The loop that performs what [`super::Replica`] decides, over gRPC and mTLS. (Being written: until then a proxy stays stale
//! and denies everything.)

use crate::config::ControlLink;
use crate::identity::{OwnIdentity, Trust};
use crate::model::ProxyName;
use crate::runtime::metrics::Metrics;
use crate::session::Gate;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the control channel is made of.
pub struct Link {
    /// Where the control plane is, and who it must be.
    pub config: ControlLink,
    /// The proxy's name.
    pub name: ProxyName,
    /// What the proxy shows.
    pub identity: Arc<OwnIdentity>,
    /// Whom it trusts.
    pub trust: Arc<Trust>,
}

/// Keeps `gate` in step with the control plane until `closing`.
pub async fn run(link: Link, gate: Arc<Gate>, metrics: Arc<Metrics>, closing: CancellationToken) {
    let _ = (link.config, link.name, link.identity, link.trust, gate, metrics);
    closing.cancelled().await;
}
