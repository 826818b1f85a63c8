//! Builds every part of a proxy in order, and returns what runs, what tells its state, and what ends it.

use crate::access::stream::CutCause;
use crate::audit::sink::{self, AuditError, AuditSink};
use crate::config::{AuditTarget, ProxyConfig};
use crate::cosign;
use crate::export;
use crate::identity::Refusal;
use crate::identity::issuer;
use crate::identity::reload::{Change, ReloadError, Reloader};
use crate::identity::tls::{ALPN_HTTP, Acceptor, TlsOptions};
use crate::model::{ProxyName, ServiceName};
use crate::notary;
use crate::proxy::exports;
use crate::proxy::listener::{self, Bound};
use crate::proxy::router::{Router, UnknownIssuer};
use crate::proxy::upstream::{Connector, TlsSetupError, Upstream};
use crate::proxy::user::Issuers;
use crate::proxy::worker::{Shared, Worker};
use crate::runtime::clock::{Mono, wall};
use crate::runtime::drain::Drain;
use crate::runtime::files::raise_open_files;
use crate::runtime::metrics::Metrics;
use crate::runtime::newcomers::Newcomers;
use crate::session::{Callers, Gate, sweep};
use crate::sync;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// So many may be shaking hands at once, and from one address: behind a translator of addresses there are many callers.
const HANDSHAKES: usize = 4_096;
const HANDSHAKES_FROM_ONE: usize = 1_024;

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates or keys cannot be used.
    #[error("the proxy's certificates cannot be used")]
    Identity(#[from] ReloadError),
    /// The audit trail cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The trail cannot be exported.
    #[error(transparent)]
    Export(#[from] export::SetupError),
    /// A witness of the trail cannot be asked.
    #[error(transparent)]
    Witness(#[from] cosign::SetupError),
    /// TLS towards a service cannot be set up.
    #[error(transparent)]
    Upstream(#[from] TlsSetupError),
    /// The issuer of users' tokens cannot be believed.
    #[error(transparent)]
    Issuer(#[from] issuer::SetupError),
    /// A service demands tokens that nobody could verify.
    #[error("service `{0}` demands tokens of an issuer that is not configured: add it to `[[issuers]]`")]
    UnknownIssuer(ServiceName),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", crate::runtime::listen::remedy(source))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The proxy's certificate names nobody, and its configuration has no `name`.
    #[error("the proxy has no name: set `proxy.name`, or give it a certificate with a SPIFFE ID")]
    Nameless,
    /// TLS towards callers or the control plane cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// A thread cannot be started.
    #[error("a thread cannot be started")]
    Thread(#[source] io::Error),
}

/// A running proxy.
pub struct ProxyHandle {
    /// Where callers connect, with the ports that were chosen.
    pub listen: Vec<SocketAddr>,
    /// Listeners of single services.
    pub service_listen: Vec<(ServiceName, SocketAddr)>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl ProxyHandle {
    /// Whether it serves: has a table, a fresh lease, a trail that can be written, and does not drain.
    ///
    /// # Errors
    /// Why not, in a few words.
    pub fn ready(&self) -> Result<(), &'static str> {
        readiness(&self.shared)
    }

    /// The same as a value of its own, for the admin listener.
    #[must_use]
    pub fn readiness(&self) -> Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || readiness(&shared))
    }

    /// The gate, to be asked what it would decide.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.shared.gate
    }

    /// Takes no new connection, lets what runs finish until `deadline`, then cuts it; flushes the audit trail. Whether that is complete.
    pub async fn drain(mut self, deadline: Duration) -> bool {
        let drained = self.shared.drain.run(deadline).await;
        tracing::info!(?drained, "drained");
        self.stop.cancel();
        let (threads, audit) = (std::mem::take(&mut self.threads), Arc::clone(&self.shared.audit));
        let closed = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread panicked");
                }
            }
            audit.close(Duration::from_secs(5))
        });
        match closed.await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::error!(%error, "the audit trail is not complete"),
            Err(error) => tracing::error!(%error, "the audit trail could not be closed"),
        }
        false
    }
}

fn readiness(shared: &Shared) -> Result<(), &'static str> {
    if shared.drain.is_draining() {
        return Err("draining");
    }
    if shared.gate.lease().check(Mono::now()).is_err() {
        return Err("stale: no fresh word from the control plane");
    }
    if !shared.audit.is_available() {
        return Err("the audit trail cannot be written");
    }
    Ok(())
}

/// Starts a proxy.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub fn start(config: ProxyConfig, metrics: Arc<Metrics>) -> Result<ProxyHandle, StartError> {
    let workers = config.workers.or_else(|| std::thread::available_parallelism().ok()).map_or(1, |n| n.get());
    let observed = Arc::clone(&metrics);
    let reloader = Reloader::load(
        config.identity.clone(),
        config.trust.clone(),
        Arc::new(wall),
        Box::new(move |change| observe_certificates(&observed, change)),
    )?;
    let name = name(&config, &reloader)?;
    // A connection of a caller, and one to the service for it; and those of whom nobody knows yet whose they are.
    let wanted = (2 * config.limits.connections + HANDSHAKES) as u64;
    if let Some(files) = raise_open_files().filter(|files| *files < wanted) {
        tracing::warn!(
            files,
            wanted,
            "fewer files may be open than `limits.connections` needs: raise the limit"
        );
    }
    // Ports before anything that leaves a trace.
    let issuers = Issuers::new(&config.issuers)?;
    let router = Router::new(&config.services, &config.domains, &issuers, &metrics)
        .map_err(|UnknownIssuer(service)| StartError::UnknownIssuer(service))?;
    let bound = bind_all(&config, &router, workers)?;
    let of_trail = sink_config(&config, name.clone(), origin(&name, &reloader));
    let audit = AuditSink::open_exported(of_trail, exports::needed(&config.audit), Arc::clone(&metrics))?;
    let stop = CancellationToken::new();
    let exporters = exports::of(&config, &name, &audit, &metrics, &stop)?;
    let witnesses = exports::witnesses(&config, &audit, &metrics)?;
    begin_counting(&metrics);
    let gate = Arc::new(Gate::new(config.ceilings.clone(), Arc::clone(&metrics)));
    let options = TlsOptions { tls12: config.tls.tls12, resumption: config.tls.resumption, alpn: ALPN_HTTP };
    let shared = Arc::new(Shared {
        gate: Arc::clone(&gate),
        audit,
        unknown_service: metrics.unknown_service(),
        router,
        limits: config.limits.clone(),
        access_request: config.access_request.clone(),
        authorization_servers: config.issuers.iter().map(|issuer| issuer.issuer.to_string()).collect(),
        mcp: Arc::default(),
        acceptor: Acceptor::new(reloader.own(), reloader.trust(), options)?,
        trust: reloader.trust(),
        newcomers: Newcomers::new(HANDSHAKES, HANDSHAKES_FROM_ONE),
        connections: Arc::new(AtomicUsize::new(0)),
        by_principal: dashmap::DashMap::new(),
        drain: Drain::new(),
        metrics: Arc::clone(&metrics),
    });
    let connectors: Vec<Connector> = config.services.iter().map(Connector::of).collect::<Result<_, _>>()?;
    let mut handle = ProxyHandle {
        listen: bound.listen,
        service_listen: bound.service_listen,
        shared: Arc::clone(&shared),
        stop: stop.clone(),
        threads: Vec::new(),
    };
    for (number, listeners) in bound.by_worker.into_iter().enumerate() {
        let upstreams = config
            .services
            .iter()
            .zip(&connectors)
            .map(|(service, connector)| Upstream::new(service, connector, workers))
            .collect();
        let callers = Arc::<Callers>::default();
        let worker = Arc::new(Worker { shared: Arc::clone(&shared), upstreams, callers });
        let stop = stop.clone();
        let thread = spawn(&format!("worker-{number}"), move || listener::run(worker, listeners, stop))?;
        handle.threads.push(thread);
    }
    let link = sync::client::Link {
        audit: Arc::clone(&shared.audit),
        config: config.control.clone(),
        name,
        identity: reloader.own(),
        trust: reloader.trust(),
    };
    for exporter in exporters {
        let stop = stop.clone();
        let work = move || async move {
            exporter.run(stop).await;
            Ok(())
        };
        handle.threads.push(spawn("export", work)?);
    }
    if !witnesses.is_empty() {
        let stop = stop.clone();
        let work = move || async move {
            cosign::run(witnesses, stop).await;
            Ok(())
        };
        handle.threads.push(spawn("witness", work)?);
    }
    let thread = spawn("sync", move || keep_up(link, gate, metrics, (reloader, issuers), stop))?;
    handle.threads.push(thread);
    Ok(handle)
}

/// Every series of a closed set exists from the start: one that appears with its first event hides that event from a rate.
fn begin_counting(metrics: &Metrics) {
    for cause in CutCause::ALL {
        metrics.streams_cut(cause.as_str()).inc_by(0);
    }
    for result in Refusal::ALL.into_iter().map(Refusal::as_str).chain(["ok"]) {
        metrics.tls_handshakes(result).inc_by(0);
    }
}

/// What runs beside the workers, on a thread of its own: the control channel, expiry, reload, keys of issuers.
async fn keep_up(
    link: sync::client::Link,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    (reloader, issuers): (Reloader, Issuers),
    stop: CancellationToken,
) -> io::Result<()> {
    let expiring = async {
        loop {
            tokio::time::sleep(sweep::EVERY).await;
            let now = Mono::now();
            // Nobody waits for the end of what expired: the control plane sees the clock too.
            let _cutting = gate.expire(now);
            let left = gate.lease().until().since(now);
            metrics.control_lease_remaining_seconds.set(left.as_secs_f64());
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = expiring => {}
        () = sync::client::run(link, Arc::clone(&gate), Arc::clone(&metrics), stop.clone()) => {}
        () = reloader.run(stop.clone()) => {}
        () = issuers.keep() => {}
    }
    Ok(())
}

fn spawn<F>(name: &str, future: impl FnOnce() -> F + Send + 'static) -> Result<JoinHandle<()>, StartError>
where
    F: Future<Output = io::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(crate::audit::thread_rests)
        .build()
        .map_err(StartError::Thread)?;
    std::thread::Builder::new()
        .name(format!("jitgate-{name}"))
        .spawn(move || {
            if let Err(error) = runtime.block_on(future()) {
                tracing::error!(%error, "a thread ended");
            }
            // Connections that are left are dropped here, each with its audit line.
            drop(runtime);
        })
        .map_err(StartError::Thread)
}

struct BoundAll {
    listen: Vec<SocketAddr>,
    service_listen: Vec<(ServiceName, SocketAddr)>,
    by_worker: Vec<Vec<Bound>>,
}

fn bind_all(config: &ProxyConfig, router: &Router, workers: usize) -> Result<BoundAll, StartError> {
    let mut all = BoundAll {
        listen: Vec::new(),
        service_listen: Vec::new(),
        by_worker: (0..workers).map(|_| Vec::new()).collect(),
    };
    let shared = config.listen.iter().map(|address| (*address, None));
    let own = router.routes().iter().filter_map(|route| Some((route.service.listen?, Some(route))));
    for (address, route) in shared.chain(own) {
        let failed = |source| StartError::Listen { address, source };
        let listeners = listener::bind(address, workers).map_err(failed)?;
        let actual = listeners.first().and_then(|listener| listener.local_addr().ok()).unwrap_or(address);
        match route {
            None => all.listen.push(actual),
            Some(route) => all.service_listen.push((route.name().clone(), actual)),
        }
        for (of_worker, listener) in all.by_worker.iter_mut().zip(listeners) {
            of_worker.push((listener, route.cloned()));
        }
    }
    Ok(all)
}

fn name(config: &ProxyConfig, reloader: &Reloader) -> Result<ProxyName, StartError> {
    if let Some(name) = &config.name {
        return Ok(name.clone());
    }
    let own = reloader.own().current();
    let principal = own.principal().ok_or(StartError::Nameless)?;
    let last = principal.path().rsplit('/').next().unwrap_or_default();
    last.to_ascii_lowercase().parse().map_err(|_| StartError::Nameless)
}

/// The name of the log of audit lines.
fn origin(name: &ProxyName, reloader: &Reloader) -> String {
    let own = reloader.own().current();
    own.principal().map_or_else(|| format!("{name}/audit"), notary::audit_trail)
}

fn sink_config(config: &ProxyConfig, proxy: ProxyName, origin: String) -> sink::AuditConfig {
    let target = match &config.audit.target {
        AuditTarget::File(path) => sink::Target::File(path.clone()),
        AuditTarget::Stdout => sink::Target::Stdout,
    };
    let denials = &config.audit.denials;
    sink::AuditConfig {
        rotate_bytes: config.audit.rotate_bytes,
        rotate_every: Some(config.audit.rotate_every),
        compress: config.audit.compress,
        queue_lines: u32::try_from(config.audit.queue_lines).unwrap_or(u32::MAX),
        recording: config.audit.recording.clone(),
        origin: Some(origin),
        retention: config.audit.retention,
        followed: true,
        denials: sink::DenialBudget { per_second: denials.lines_per_second, burst: denials.burst },
        ..sink::AuditConfig::new(proxy, target)
    }
}

fn observe_certificates(metrics: &Metrics, change: &Change) {
    match change {
        Change::InUse(ends) => {
            for (name, not_after) in ends {
                metrics.certificate_not_after(name).set(not_after.as_micros() / 1_000_000);
            }
        }
        Change::Kept(_) => metrics.reload_failures.inc(),
    }
}
