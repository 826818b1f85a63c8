//! Builds every part of a control plane in order, and returns what tests and the command line drive.

use crate::config::{ControlConfig, Endpoint, Store, reachable};
use crate::control::api::{Api, Site};
use crate::control::chronicle::{Chronicle, ChronicleError};
use crate::control::clock::ControlClock;
use crate::control::expire;
use crate::control::issuers::{self, Issuers};
use crate::control::listener::{Handshakes, Server, Shares};
use crate::control::log::LogError;
use crate::control::log::sqlite::SqliteLog;
use crate::control::notify::sqlite::SqliteWebhooks;
use crate::control::notify::store::WebhookStore;
use crate::control::notify::{self, Notifier};
use crate::control::plane::{self, Plane, PlaneOptions};
use crate::control::policies::{LoadError, Policies};
use crate::control::policy::{PolicyErrors, PolicySet};
use crate::control::publish::SyncService;
use crate::control::receipt::{Signer, SignerError};
use crate::control::restore::{self, Origin, RestoreError};
use crate::control::state::{Rules, State};
use crate::control::tickets::{self, Tickets};
use crate::control::token::{self, RingError, Tokens};
use crate::identity::own::OwnIdentity;
use crate::identity::tls::{ALPN_HTTP, Acceptor, TlsOptions};
use crate::identity::trust::Trust;
use crate::runtime::drain::Drain;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a control plane is given beside its configuration.
pub struct Parts {
    /// Its certificate.
    pub own: Arc<OwnIdentity>,
    /// Whom it trusts.
    pub trust: Arc<Trust>,
    /// How it is stopped.
    pub drain: Drain,
    /// Hears of handshakes.
    pub handshakes: Handshakes,
    /// Where its store comes from.
    pub origin: Origin,
}

/// Why a control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot listen.
    #[error("cannot listen on {address}: {source}{}", crate::runtime::listen::remedy(source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] LogError),
    /// The store was restored, and no new epoch can begin.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The policies cannot be used.
    #[error(transparent)]
    Policies(#[from] PolicyErrors),
    /// What other policies than before no longer allow cannot be worked out, or not be revoked.
    #[error(transparent)]
    Settle(#[from] LoadError),
    /// The log cannot be replayed.
    #[error(transparent)]
    Plane(#[from] plane::StartError),
    /// The key for receipts cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The event log cannot be signed for.
    #[error(transparent)]
    Chronicle(#[from] ChronicleError),
    /// The keys for tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] RingError),
    /// Webhooks cannot be told.
    #[error(transparent)]
    Webhooks(#[from] notify::StartError),
    /// Tickets cannot be asked about.
    #[error(transparent)]
    Tickets(#[from] tickets::SetupError),
    /// Outside issuers cannot be believed.
    #[error(transparent)]
    Issuers(#[from] issuers::SetupError),
    /// The system gives no randomness.
    #[error("no randomness can be had from the system: {0}")]
    Random(#[from] getrandom::Error),
    /// Its certificate names nobody.
    #[error("the control plane's certificate has no SPIFFE ID")]
    Nameless,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlApp {
    plane: Plane,
    notifier: Notifier,
    address: SocketAddr,
    server: JoinHandle<()>,
    _background: DropGuard,
}

impl ControlApp {
    /// Starts it: the port is bound first, then the log is opened and replayed.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: &ControlConfig, parts: Parts) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        for undeclared in config.undeclared() {
            tracing::warn!("people: {undeclared}");
        }
        let Store::Sqlite(path) = &config.store;
        let rules =
            || Ok::<_, StartError>(Rules::from_config(config, PolicySet::from_config(&config.policy)?));
        let (lease, clock_drift) = (config.lease, config.clock_drift);
        let options = |rules| PlaneOptions { rules, lease, clock_drift, clock: ControlClock::default() };
        match parts.origin {
            Origin::AsLeft => {}
            Origin::Restored => restore::begin_epoch(path, options(rules()?)).await?,
        }
        let log = Arc::new(SqliteLog::open(path).await?);
        let issuer = parts.own.current().principal().cloned().ok_or(StartError::Nameless)?;
        let signer = Arc::new(Signer::open(&path.with_extension("receipts.key.pem"), issuer.as_str())?);
        let webhooks: Arc<dyn WebhookStore> = Arc::new(SqliteWebhooks::beside(&log));
        let tickets = config.tickets.clone().map(Tickets::new).transpose()?.map(Arc::new);
        let issuers = Issuers::new(&config.issuers, &config.people)?;
        let chronicle = Chronicle::open(path, &issuer, Arc::clone(&log) as _)?;
        let plane = Plane::start(log, options(rules()?)).await?;
        plane.sign_with(chronicle.latest());
        let tokens = open_tokens(config, &path.with_extension("tokens.keys.json"), issuer.as_str(), &plane)?;
        let stop = CancellationToken::new();
        let notifier = Notifier::start(&config.webhooks, &plane, webhooks, &stop).await?;
        Policies::settle(&plane).await?;
        let here = config.public_url.clone().unwrap_or_else(|| Endpoint::from(reachable(address)));
        let site = Site::new(here, Arc::clone(&parts.own))?;
        let tls = TlsOptions { tls12: false, resumption: false, alpn: ALPN_HTTP };
        let server = Server {
            plane: plane.clone(),
            acceptor: Acceptor::new(Arc::clone(&parts.own), Arc::clone(&parts.trust), tls)?,
            trust: parts.trust,
            api: Api::new(plane.clone(), signer, tokens.clone(), (config.policy.clone(), site))
                .with_webhooks(notifier.clone())
                .with_tickets(tickets)
                .with_issuers(issuers.clone())
                .router(),
            channel: SyncService::new(plane.clone()).router(),
            drain: parts.drain,
            handshakes: parts.handshakes,
            shares: Shares::default(),
        };
        tokio::spawn(chronicle.run(plane.clone(), stop.clone()));
        tokio::spawn(expire::run(plane.clone(), stop.clone()));
        tokio::spawn(token::run(tokens, stop.clone()));
        tokio::spawn(issuers.run(stop.clone()));
        let server = tokio::spawn(server.run(listener));
        Ok(Self { plane, notifier, address, server, _background: stop.drop_guard() })
    }

    /// Its plane.
    #[must_use]
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// Its webhooks.
    #[must_use]
    pub fn webhooks(&self) -> &Notifier {
        &self.notifier
    }

    /// Where it listens, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves once it no longer accepts, and what it wrote is on disk.
    pub async fn stopped(self) {
        let _joined = self.server.await;
    }
}

fn open_tokens(
    config: &ControlConfig,
    path: &Path,
    own_id: &str,
    plane: &Plane,
) -> Result<Tokens, RingError> {
    let rules = &config.tokens;
    let issuer = rules.issuer.clone().unwrap_or_else(|| own_id.to_owned());
    let settings = token::Settings {
        rotate_every: rules.rotate_every,
        // Keys come before each lease: whoever has not heard of one by then has none.
        lead: plane.with_state(State::longest_lease).saturating_add(config.clock_drift),
        longest: config.max_ttl.get(),
    };
    Tokens::open(path, (issuer, rules.audience.clone()), settings, plane.clone())
}
