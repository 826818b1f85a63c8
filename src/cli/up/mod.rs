//! `jitgate up`: control plane and proxy in one process, with nothing to configure.
//!
//! The two halves are the same as on many machines: the proxy connects to the control plane over mutual TLS on the loopback
//! interface, and the verbs of the command line are clients of its API.

mod layout;
pub(super) mod operators;
pub(super) mod state;
mod welcome;

use super::connection::{Connection, DEFAULT_DATA};
use super::halves::{self, RunningControl, RunningProxy, stop_signal};
use super::telemetry::Telemetry;
use super::{Failure, output, sample};
use crate::config::{
    AccessUrl, AuditTarget, Config, ControlConfig, ControlLink, Endpoint, FromText, ProxyConfig,
    ServiceConfig, reachable,
};
use crate::control::plane::Plane;
use crate::control::state::Rules;
use layout::Layout;
use state::State;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use welcome::Welcome;

/// Run everything on this machine: control plane, proxy, store, development CA
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  jitgate up\n  \
jitgate up --service orders=http://127.0.0.1:8080 --service stock=h2c://127.0.0.1:50051\n  \
jitgate up --data /var/lib/jitgate --config gate.toml --listen 0.0.0.0:8443\n\n\
Without a service it puts a small sample API behind the gate. A first start makes everything that it needs in the folder\n\
of --data; a second goes on with it. Ctrl-C drains and stops.")]
pub(super) struct Up {
    /// A service to protect; repeatable
    #[arg(long, value_name = "NAME=URL[,listen=ADDR]")]
    service: Vec<ServiceConfig>,
    /// More configuration: `[proxy]`, `[[service]]`, `[control]`, `[[identities]]`, …; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where callers connect [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR", value_parser = SocketAddr::from_text)]
    listen: Option<SocketAddr>,
    /// Where the control plane listens [default: 127.0.0.1:8444]
    #[arg(long, value_name = "ADDR", value_parser = SocketAddr::from_text)]
    control_listen: Option<SocketAddr>,
    /// Where metrics and health are served [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDR", value_parser = SocketAddr::from_text)]
    admin_listen: Option<SocketAddr>,
    #[command(flatten)]
    store: halves::StoreArgs,
}

/// What is told while the first table is on its way.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How often new operators are looked for.
const LOOK: Duration = Duration::from_secs(1);

impl Up {
    pub(super) fn run(self, connection: &Connection, telemetry: &Telemetry) -> Result<(), Failure> {
        telemetry.start("warn")?;
        let layout = Layout::open(&connection.data)?;
        halves::runtime()?.block_on(async {
            let stop = stop_signal()?;
            let running = self.start(&layout).await?;
            running.ready().await;
            running.welcome(&connection.data)?;
            stop.await;
            // The terminal may be closed.
            let _ = std::io::Write::write_all(&mut std::io::stdout(), b"draining; once more stops at once\n");
            running.stop().await
        })
    }

    async fn start(self, layout: &Layout) -> Result<Running, Failure> {
        let sample = Sample::bind().await?;
        let mut base = layout.base(self.control_listen)?;
        base.proxy.listen = self.listen;
        base.proxy.admin_listen = self.admin_listen;
        base.proxy.services = self.service;
        base.proxy.sample = Some(sample.service.clone());
        let own_link = base.proxy.control.clone();
        let (mut proxy, control) = Config::with_base(self.config.as_deref(), base).map_err(Failure::usage)?;
        layout.certify_control(&control)?;
        layout.certify_proxy(&proxy)?;
        let uses_sample = proxy.services.as_ref() == [sample.service.clone()];
        let metrics = halves::metrics(&proxy)?;
        let known = operators::read(layout.folder()).map_err(Failure::usage)?;
        let mut with_operators = control.clone();
        with_operators.roles = operators::merged(&known, &control.roles);
        let control_running =
            RunningControl::start(with_operators, self.store.origin(), Arc::clone(&metrics)).await?;
        if proxy.control == own_link {
            // The port that was chosen, where 0 was asked for.
            proxy.control.endpoints = Box::new([Endpoint::from(control_running.app.address())]);
        }
        if proxy.access_request.is_none() {
            let control = Endpoint::from(reachable(control_running.app.address()));
            proxy.access_request = Some(AccessUrl::at(&control));
        }
        let config = proxy.clone();
        let proxy_running = RunningProxy::start(proxy, metrics)?;
        let stop = CancellationToken::new();
        if uses_sample {
            tokio::spawn(sample::serve(sample.listener, stop.clone()));
        }
        let state = state_of(&config, &control_running, &proxy_running, &own_link);
        state.write(layout.folder()).map_err(|source| Failure::usage(layout.refused(source)))?;
        let plane = control_running.app.plane().clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow_operators(
            layout.folder().to_owned(),
            plane,
            control,
            known,
        )));
        Ok(Running {
            folder: layout.folder().to_owned(),
            state,
            config,
            uses_sample,
            proxy: proxy_running,
            control: control_running,
            _stop: stop.drop_guard(),
        })
    }
}

/// The sample API's port, before it is known whether it is needed.
struct Sample {
    listener: TcpListener,
    service: ServiceConfig,
}

impl Sample {
    async fn bind() -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Failure::failed)?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        let service = format!("orders=http://{address}").parse().map_err(Failure::failed)?;
        Ok(Self { listener, service })
    }
}

/// Everything that `up` runs.
struct Running {
    folder: PathBuf,
    state: State,
    config: ProxyConfig,
    uses_sample: bool,
    proxy: RunningProxy,
    control: RunningControl,
    _stop: DropGuard,
}

impl Running {
    /// Waits until the next steps would work, at most [`READY_WITHIN`].
    async fn ready(&self) {
        let ready = async {
            while self.proxy.proxy.ready().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(READY_WITHIN, ready).await.is_err() {
            tracing::warn!("the proxy has not heard from its control plane yet");
        }
    }

    fn welcome(&self, data: &Path) -> Result<(), Failure> {
        let program = std::env::args().next().unwrap_or_else(|| "jitgate".to_owned());
        let welcome = Welcome {
            program: &program,
            data,
            elsewhere: data != Path::new(DEFAULT_DATA),
            proxy: self.state.proxy.first().copied().unwrap_or(ProxyConfig::LISTEN),
            control: self.control.app.address(),
            admin: self.state.admin,
            domain: self.config.domains.first().map_or(ProxyConfig::DOMAIN, String::as_str),
            services: &self.config.services,
            sample: self.uses_sample,
        };
        output::line(&welcome.text())
    }

    /// The proxy first, while its control plane still answers.
    async fn stop(self) -> Result<(), Failure> {
        let drained = self.proxy.stop().await;
        // Until then others find it: what still runs may have to be revoked.
        State::remove(&self.folder);
        drained.and(self.control.stop().await)
    }
}

fn state_of(
    config: &ProxyConfig,
    control: &RunningControl,
    proxy: &RunningProxy,
    link: &ControlLink,
) -> State {
    State {
        control: Endpoint::from(reachable(control.app.address())),
        control_identity: link.identity.clone(),
        proxy: proxy.proxy.listen.clone(),
        admin: proxy.admin.local_addr(),
        domains: config.domains.to_vec(),
        services: config.services.iter().map(Into::into).collect(),
        audit: match &config.audit.target {
            AuditTarget::File(path) => Some(path.clone()),
            AuditTarget::Stdout => None,
        },
        recordings: config.audit.recording.as_ref().map(|recording| recording.directory.clone()),
    }
}

/// Gives operators of `certs issue` their roles while everything runs.
async fn follow_operators(folder: PathBuf, plane: Plane, config: ControlConfig, mut known: operators::Roles) {
    let mut all = config.clone();
    loop {
        tokio::time::sleep(LOOK).await;
        match operators::read(&folder) {
            Ok(roles) if roles == known => {}
            Ok(roles) => {
                all.roles = operators::merged(&roles, &config.roles);
                plane.update_rules(|rules| Rules::from_config(&all, rules.policies.clone()));
                known = roles;
            }
            Err(error) => tracing::warn!(%error, "the roles of operators stay as they were"),
        }
    }
}
