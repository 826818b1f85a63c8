//! What the requests of one worker thread share.
//!
//! A worker is one thread with one current-thread runtime, its own listener (SO_REUSEPORT) and its own connections to the
//! services: a request never leaves its thread. Why: `ARCHITECTURE.md`, "Threads".

use crate::audit::sink::AuditSink;
use crate::config::{AccessUrl, Limits};
use crate::identity::{Acceptor, Trust};
use crate::proxy::mcp::Shelf;
use crate::proxy::router::Router;
use crate::proxy::upstream::Upstream;
use crate::runtime::drain::Drain;
use crate::runtime::metrics::{Metrics, ServiceMetrics};
use crate::runtime::newcomers::Newcomers;
use crate::session::{Callers, Gate};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) gate: Arc<Gate>,
    pub(crate) audit: Arc<AuditSink>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) unknown_service: Arc<ServiceMetrics>,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) access_request: Option<AccessUrl>,
    /// Who issues tokens for what is behind this gate (RFC 9728); the same for every service.
    pub(crate) authorization_servers: Box<[String]>,
    /// What is kept of MCP between requests.
    pub(crate) mcp: Arc<Shelf>,
    pub(crate) acceptor: Acceptor,
    pub(crate) trust: Arc<Trust>,
    /// Who is shaking hands.
    pub(crate) newcomers: Arc<Newcomers>,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) by_principal: dashmap::DashMap<crate::model::SpiffeId, usize>,
    /// First no new connection and no new request on old ones, then the end of what is left.
    pub(crate) drain: Drain,
}

/// One worker's share.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    /// By [`crate::proxy::router::Route::index`].
    pub(crate) upstreams: Box<[Upstream]>,
    pub(crate) callers: Arc<Callers>,
}
