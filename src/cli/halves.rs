//! `jitgate proxy` and `jitgate control`: one half each, from a configuration file. `jitgate up` runs both in one process.

use super::Failure;
use super::telemetry::Telemetry;
use crate::config::{Config, ControlConfig, ProxyConfig};
use crate::control::app::{ControlApp, Parts};
use crate::control::export;
use crate::control::restore::Origin;
use crate::control::witnessed;
use crate::identity::Refusal;
use crate::identity::reload::{Change, Reloader};
use crate::model::ServiceName;
use crate::proxy::app::{self, ProxyHandle};
use crate::runtime::admin::{AdminListener, AdminServer};
use crate::runtime::clock::wall;
use crate::runtime::drain::{Drain, Drained};
use crate::runtime::metrics::Metrics;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Run a proxy: it checks every request against live grants and forwards what they permit
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  jitgate proxy --config proxy.toml\n\n\
SIGTERM drains: no new connections, what runs may finish within `proxy.drain_timeout`, then it is cut.")]
pub(super) struct Proxy {
    /// The configuration; config/proxy.toml is a commented example
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Run a control plane: it decides on grants and tells the proxies
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  jitgate control --config control.toml\n  \
jitgate control --config control.toml --restored\n\n\
SIGTERM drains: no new connections, what runs may finish within `control.drain_timeout`. Proxies go on for their lease.")]
pub(super) struct Control {
    /// The configuration; config/control.toml is a commented example
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

/// What a control plane is told of its store.
#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// The store was restored from a backup: revoke every grant in it and begin a new epoch (docs/restore.md); for one start
    #[arg(long)]
    restored: bool,
}

impl StoreArgs {
    /// Where the store comes from.
    pub(super) fn origin(&self) -> Origin {
        if self.restored { Origin::Restored } else { Origin::AsLeft }
    }
}

impl Proxy {
    pub(super) fn run(self, telemetry: &Telemetry) -> Result<(), Failure> {
        let config = Config::load(&self.config).map_err(Failure::usage)?;
        let config = config.proxy.ok_or_else(|| missing(&self.config, "[proxy]"))?;
        telemetry.start("info")?;
        runtime()?.block_on(async {
            let stop = stop_signal()?;
            let metrics = metrics(&config)?;
            let running = RunningProxy::start(config, metrics)?;
            stop.await;
            running.stop().await
        })
    }
}

impl Control {
    pub(super) fn run(self, telemetry: &Telemetry) -> Result<(), Failure> {
        let config = Config::load(&self.config).map_err(Failure::usage)?;
        let config = config.control.ok_or_else(|| missing(&self.config, "[control]"))?;
        telemetry.start("info")?;
        runtime()?.block_on(async {
            let stop = stop_signal()?;
            let metrics = Metrics::new(&[]).map_err(Failure::usage)?;
            let running = RunningControl::start(config, self.store.origin(), metrics).await?;
            stop.await;
            running.stop().await
        })
    }
}

/// A proxy with its admin listener.
pub(super) struct RunningProxy {
    /// The proxy.
    pub(super) proxy: ProxyHandle,
    /// Its metrics and health.
    pub(super) admin: AdminServer,
    drain_timeout: Duration,
}

impl RunningProxy {
    /// Starts both.
    pub(super) fn start(config: ProxyConfig, metrics: Arc<Metrics>) -> Result<Self, Failure> {
        let drain_timeout = config.drain_timeout;
        let admin = AdminListener::bind(config.admin_listen).map_err(Failure::usage)?;
        let proxy = app::start(config, Arc::clone(&metrics)).map_err(Failure::usage)?;
        let admin =
            admin.serve(Arc::new(move || metrics.render()), proxy.readiness()).map_err(Failure::failed)?;
        Ok(Self { proxy, admin, drain_timeout })
    }

    /// Drains it; a second signal ends the wait.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        tracing::info!(timeout = ?self.drain_timeout, "draining");
        let drain = self.proxy.drain(self.drain_timeout);
        match unless_signalled_again(drain).await? {
            true => Ok(()),
            false => Err(Failure::failed("the audit trail is not complete, see the log")),
        }
    }
}

/// A control plane with its certificates' reload and, where configured, its admin listener.
pub(super) struct RunningControl {
    /// The control plane.
    pub(super) app: ControlApp,
    drain: Drain,
    drain_timeout: Duration,
    _admin: Option<AdminServer>,
    _reload: DropGuard,
}

impl RunningControl {
    /// Starts all of it.
    pub(super) async fn start(
        config: ControlConfig,
        origin: Origin,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Failure> {
        let observed = Arc::clone(&metrics);
        let reloader = Reloader::load(
            config.identity.clone(),
            config.trust.clone(),
            Arc::new(wall),
            Box::new(move |change| observe(&observed, change)),
        )
        .map_err(Failure::usage)?;
        let admin = config.admin_listen.map(AdminListener::bind).transpose().map_err(Failure::usage)?;
        let drain = Drain::new();
        let counted = Arc::clone(&metrics);
        let parts = Parts {
            own: reloader.own(),
            trust: reloader.trust(),
            drain: drain.clone(),
            handshakes: Arc::new(move |result| {
                counted.tls_handshakes(result.err().map_or("ok", Refusal::as_str)).inc()
            }),
            origin,
        };
        let app = ControlApp::start(&config, parts).await.map_err(Failure::usage)?;
        let webhooks = app.webhooks().clone();
        metrics.at_scrape(move |metrics| {
            for (name, health) in webhooks.health() {
                metrics.webhook(&name, health.waiting, health.dead.len());
            }
        });
        let stop = CancellationToken::new();
        if let Some(own) = reloader.own().current().principal() {
            export::start(&config, app.plane(), own, &metrics, &stop).map_err(Failure::usage)?;
        }
        witnessed::start(&config, app.plane(), &metrics, &stop).map_err(Failure::usage)?;
        tokio::spawn(reloader.run(stop.clone()));
        let draining = drain.clone();
        let readiness = Arc::new(move || if draining.is_draining() { Err("draining") } else { Ok(()) });
        let scrape = Arc::new(move || metrics.render_of_control());
        let admin = admin.map(|admin| admin.serve(scrape, readiness)).transpose().map_err(Failure::failed)?;
        let drain_timeout = config.drain_timeout;
        Ok(Self { app, drain, drain_timeout, _admin: admin, _reload: stop.drop_guard() })
    }

    /// Drains it; a second signal ends the wait.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        let drain = async {
            let drained = self.drain.run(self.drain_timeout).await;
            match drained {
                Drained::Clean | Drained::Cut(_) => tracing::info!(?drained, "drained"),
                Drained::Stuck(_) => tracing::warn!(?drained, "drained"),
            }
            self.app.stopped().await;
        };
        unless_signalled_again(drain).await
    }
}

/// The metrics of a process with this proxy.
pub(super) fn metrics(config: &ProxyConfig) -> Result<Arc<Metrics>, Failure> {
    let names: Vec<ServiceName> = config.services.iter().map(|service| service.name.clone()).collect();
    Metrics::new(&names).map_err(Failure::usage)
}

fn observe(metrics: &Metrics, change: &Change) {
    match change {
        Change::InUse(ends) => {
            for (name, not_after) in ends {
                metrics
                    .certificate_not_after(&format!("control:{name}"))
                    .set(not_after.as_micros() / 1_000_000);
            }
        }
        Change::Kept(_) => metrics.reload_failures.inc(),
    }
}

/// For what is not on the hot path.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::failed)
}

/// Resolves at SIGINT (Ctrl-C), SIGTERM or, unless that is ignored as `nohup` does, at SIGHUP: the terminal was closed, as files reload
/// by themselves. All are caught from the moment of the call.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let hangup = match ignores_hangup() {
        true => None,
        false => Some(signal(SignalKind::hangup()).map_err(Failure::failed)?),
    };
    let stop = told_to_stop()?;
    Ok(async move {
        let closed = async {
            match hangup {
                Some(mut hangup) => _ = hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop => {}
            () = closed => {}
        }
    })
}

fn told_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Whether whoever started us wants us to outlive the terminal (proc(5), `SigIgn`).
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Not at SIGHUP: of a terminal that is closed it comes more than once.
async fn unless_signalled_again<T>(drain: impl Future<Output = T>) -> Result<T, Failure> {
    let again = told_to_stop()?;
    tokio::select! {
        biased;
        drained = drain => Ok(drained),
        () = again => Err(Failure::failed("stopped by a second signal, before the drain was over")),
    }
}

fn missing(file: &Path, half: &str) -> Failure {
    Failure::usage(format!("`{}` has no `{half}`: add it, or name another file", file.display()))
}
