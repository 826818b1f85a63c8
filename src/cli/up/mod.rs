//! `jitgate up`: control plane and proxy in one process, with nothing to configure.
//!
//! The two halves are the same as on many machines: the proxy connects to the control plane over mutual TLS on the loopback
//! interface, and the verbs of the command line are clients of its API.

mod layout;
pub(super) mod operators;
pub(super) mod state;
mod welcome;

use super::connection::{Connection, DEFAULT_DATA};
use super::telemetry::Telemetry;
use super::{Failure, halves, sample};
use crate::config::{Config, ServiceConfig};
use layout::Layout;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

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
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where the control plane listens [default: 127.0.0.1:8444]
    #[arg(long, value_name = "ADDR")]
    control_listen: Option<SocketAddr>,
    /// Where metrics and health are served [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
}

impl Up {
    pub(super) fn run(self, connection: &Connection, telemetry: &Telemetry) -> Result<(), Failure> {
        telemetry.start("warn")?;
        let layout = Layout::open(&connection.data)?;
        let control = self.control_listen.unwrap_or(crate::config::ControlConfig::LISTEN);
        let mut base = layout.base(control)?;
        base.proxy.listen = self.listen;
        base.proxy.admin_listen = self.admin_listen;
        base.proxy.services = self.service;
        let (proxy, _control) = Config::with_base(self.config.as_deref(), base).map_err(Failure::usage)?;
        layout.certify_proxy(&proxy)?;
        let _ = (DEFAULT_DATA, Ipv4Addr::LOCALHOST, sample::serve, halves::runtime()?, layout.folder());
        Err(Failure::failed("the control plane is not wired up yet"))
    }
}
