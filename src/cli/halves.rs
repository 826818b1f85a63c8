//! `jitgate proxy` and `jitgate control`: one half each, from a configuration file.

use super::Failure;
use super::telemetry::Telemetry;
use crate::config::{Config, ProxyConfig};
use crate::model::ServiceName;
use crate::proxy::app::{self, ProxyHandle};
use crate::runtime::admin::{AdminListener, AdminServer};
use crate::runtime::metrics::Metrics;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Run a proxy: it checks every request against live grants and forwards what they permit
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  jitgate check proxy.toml && jitgate proxy --config proxy.toml\n\n\
SIGTERM drains: no new connections, what runs may finish within `proxy.drain_timeout`, then it is cut.")]
pub(super) struct Proxy {
    /// The configuration; config/proxy.toml is a commented example
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Run a control plane: it decides on grants and tells the proxies
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  jitgate check control.toml && jitgate control --config control.toml")]
pub(super) struct Control {
    /// The configuration; config/control.toml is a commented example
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Proxy {
    pub(super) fn run(self, telemetry: &Telemetry) -> Result<(), Failure> {
        let config = Config::load(&self.config).map_err(Failure::usage)?;
        let config = config.proxy.ok_or_else(|| missing(&self.config, "[proxy]"))?;
        telemetry.start("info")?;
        let drain_timeout = config.drain_timeout;
        let running = RunningProxy::start(config)?;
        runtime()?.block_on(async {
            let stop = stop_signal()?;
            stop.await;
            running.stop(drain_timeout).await
        })
    }
}

impl Control {
    pub(super) fn run(self, telemetry: &Telemetry) -> Result<(), Failure> {
        let config = Config::load(&self.config).map_err(Failure::usage)?;
        let _config = config.control.ok_or_else(|| missing(&self.config, "[control]"))?;
        telemetry.start("info")?;
        Err(Failure::failed("the control plane is not wired up yet"))
    }
}

/// A proxy with its admin listener.
pub(super) struct RunningProxy {
    /// The proxy.
    pub(super) proxy: ProxyHandle,
    /// Its metrics and health.
    pub(super) admin: AdminServer,
}

impl RunningProxy {
    /// Starts both; ports are bound before anything else happens.
    pub(super) fn start(config: ProxyConfig) -> Result<Self, Failure> {
        let names: Vec<ServiceName> = config.services.iter().map(|service| service.name.clone()).collect();
        let metrics = Metrics::new(&names).map_err(Failure::usage)?;
        let admin = AdminListener::bind(config.admin_listen).map_err(Failure::usage)?;
        let proxy = app::start(config, Arc::clone(&metrics)).map_err(Failure::usage)?;
        let admin = admin.serve(metrics, proxy.readiness()).map_err(Failure::failed)?;
        Ok(Self { proxy, admin })
    }

    /// Drains it; a second signal ends the wait.
    pub(super) async fn stop(self, drain_timeout: Duration) -> Result<(), Failure> {
        tracing::info!(?drain_timeout, "draining");
        let again = stop_signal()?;
        tokio::select! {
            biased;
            () = self.proxy.drain(drain_timeout) => Ok(()),
            () = again => Err(Failure::failed("stopped by a second signal, before the drain was over")),
        }
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

/// Resolves at SIGINT (Ctrl-C) or SIGTERM; both are caught from the moment of the call.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn missing(file: &std::path::Path, half: &str) -> Failure {
    Failure::usage(format!("`{}` has no `{half}`: add it, or name another file", file.display()))
}
