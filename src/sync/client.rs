//! The loop that performs what [`Replica`] decides, over gRPC and mTLS. It decides nothing itself.
//!
//! One task: messages, timers, cuts that are over, and wishes for uses come in one at a time; the effects of each are performed
//! in order before the next. The control plane must prove the one configured identity.

use crate::audit::sink::AuditSink;
use crate::config::{ControlLink, Endpoint};
use crate::identity::tls::{ServerRule, client_config};
use crate::identity::{OwnIdentity, Trust};
use crate::model::{ProxyName, Time};
use crate::notary::{HandOver, SignedCheckpoint};
use crate::runtime::clock::{Mono, wall};
use crate::runtime::metrics::Metrics;
use crate::session::{Cutting, Gate, Snapshot, UsesRequest};
use crate::sync::outbox::CutTicket;
use crate::sync::replica::{Effect, Input, Replica, Settings};
use crate::sync::witness::Witness;
use crate::wire::chunk::MAX_MESSAGE_BYTES;
use crate::wire::generated as raw;
use crate::wire::generated::sync_client::SyncClient;
use crate::wire::message::{Down, GrantUsage, Up};
use futures_util::stream::{FuturesUnordered, StreamExt, poll_fn};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

/// Messages that may wait to be sent; more than that, and the connection is given up.
const QUEUE: usize = 1_024;
/// Bytes that may be on their way. A pong comes behind them: what it offers must not be old by the time that they are taken in.
const STREAM_WINDOW: u32 = 1 << 20;
/// Grants that one snapshot may bring: about 4 GB of table.
const MAX_GRANTS: usize = 10_000_000;
/// CLOCK_MONOTONIC, by which we sleep, stands still while the machine is suspended; so no sleep is long.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

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
    /// Its audit trail: how that is, is told with each ping.
    pub audit: Arc<AuditSink>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Doing<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Connecting = Doing<Result<Open, BoxError>>;

/// A connection to one control plane.
struct Open {
    up: mpsc::Sender<raw::Up>,
    down: Streaming<raw::Down>,
}

/// Keeps `gate` in step with the control plane until `closing`.
pub async fn run(link: Link, gate: Arc<Gate>, metrics: Arc<Metrics>, closing: CancellationToken) {
    let rule = ServerRule::Identity(link.config.identity.clone());
    let tls = match client_config(link.identity, link.trust, rule, &[b"h2"]) {
        Ok(tls) => tls,
        Err(error) => {
            tracing::error!(%error, "the control channel cannot be set up");
            return;
        }
    };
    let Some(uses) = gate.take_uses_requests() else {
        tracing::error!("a second control channel for one gate");
        return;
    };
    tracing::info!(proxy = %link.name, control = %link.config.identity, "following the control plane");
    let client = Client::new(&link.config, tls, (gate, link.audit), metrics);
    tokio::select! {
        () = closing.cancelled() => {}
        () = client.run(uses) => {}
    }
}

struct Client {
    replica: Replica,
    endpoints: Box<[Endpoint]>,
    tls: Arc<ClientConfig>,
    gate: Arc<Gate>,
    audit: Arc<AuditSink>,
    metrics: Arc<Metrics>,
    connecting: Option<Connecting>,
    open: Option<Open>,
    cuts: FuturesUnordered<Doing<(CutTicket, u64)>>,
    wishes: HashMap<u64, oneshot::Sender<u64>>,
    trail: HandOver,
    witness: Witness,
    next_wish: u64,
}

impl Client {
    fn new(
        ControlLink { endpoints, identity, .. }: &ControlLink,
        tls: Arc<ClientConfig>,
        (gate, audit): (Arc<Gate>, Arc<AuditSink>),
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut instance = [0; 8];
        if getrandom::fill(&mut instance).is_err() {
            instance = Mono::now().as_nanos().to_ne_bytes();
        }
        let memory =
            audit.checkpoint().map(|latest| latest.store().folder().with_extension("control-log.json"));
        let witness = Witness::new(memory, identity.clone(), Arc::clone(&metrics));
        let settings = Settings {
            endpoints: NonZeroUsize::new(endpoints.len()).unwrap_or(NonZeroUsize::MIN),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            max_grants: MAX_GRANTS,
            instance: u64::from_ne_bytes(instance),
        };
        Self {
            replica: Replica::new(settings),
            endpoints: endpoints.clone(),
            tls,
            gate,
            trail: HandOver::new(audit.checkpoint()),
            witness,
            audit,
            metrics,
            connecting: None,
            open: None,
            cuts: FuturesUnordered::new(),
            wishes: HashMap::new(),
            next_wish: 0,
        }
    }

    async fn run(mut self, mut uses: mpsc::Receiver<UsesRequest>) {
        loop {
            let input = self.next(&mut uses).await;
            self.take(input);
            self.metrics.control_connected.set(i64::from(self.replica.is_connected()));
            let revision = self.gate.table().revision();
            self.metrics.control_revision.set(i64::try_from(revision.0).unwrap_or(i64::MAX));
        }
    }

    /// What happens next.
    async fn next(&mut self, uses: &mut mpsc::Receiver<UsesRequest>) -> Input {
        let wait = self.replica.next_wake().since(Mono::now());
        if wait.is_zero() {
            // Before all else: a flood of messages must not keep a ping from being sent.
            return Input::Tick;
        }
        tokio::select! {
            biased;
            Some((ticket, streams_cut)) = self.cuts.next(), if !self.cuts.is_empty() => {
                Input::Cut { ticket, streams_cut }
            }
            opened = async { Some(self.connecting.as_mut()?.await) }, if self.connecting.is_some() => {
                self.opened(opened)
            }
            message = async { self.open.as_mut()?.down.message().await.transpose() }, if self.open.is_some() => {
                self.received(message)
            }
            Some(wish) = uses.recv() => self.wish(wish),
            checkpoint = self.trail.next(), if self.open.is_some() => self.hand_over(checkpoint),
            () = tokio::time::sleep(wait.min(LONGEST_SLEEP)) => Input::Tick,
        }
    }

    fn opened(&mut self, opened: Option<Result<Open, BoxError>>) -> Input {
        self.connecting = None;
        match opened {
            Some(Ok(open)) => {
                self.open = Some(open);
                Input::Connected
            }
            Some(Err(error)) => {
                tracing::warn!(error = &*error as &dyn std::error::Error, "cannot reach the control plane");
                Input::Disconnected
            }
            None => Input::Disconnected,
        }
    }

    fn received(&mut self, message: Option<Result<raw::Down, tonic::Status>>) -> Input {
        match message {
            Some(Ok(message)) => match Down::try_from(message) {
                Ok(message) => Input::Received(message, self.gate.table().digest()),
                Err(error) => Input::Unreadable(error.into()),
            },
            Some(Err(status)) => {
                tracing::warn!(code = %status.code(), message = status.message(), "the control channel broke");
                self.open = None;
                Input::Disconnected
            }
            None => {
                tracing::info!("the control plane ended the control channel");
                self.open = None;
                Input::Disconnected
            }
        }
    }

    /// What is lost here is made up for by the next one.
    fn hand_over(&mut self, checkpoint: SignedCheckpoint) -> Input {
        if self.send(Up::Checkpoint(checkpoint)) { Input::Tick } else { Input::Disconnected }
    }

    fn wish(&mut self, wish: UsesRequest) -> Input {
        self.next_wish = self.next_wish.wrapping_add(1);
        self.wishes.insert(self.next_wish, wish.reply);
        Input::WantUses { ticket: self.next_wish, grant: wish.grant, want: wish.want }
    }

    /// Gives an input to the replica and performs its effects, and those of the inputs that come of them.
    fn take(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut effects = Vec::new();
        while let Some(input) = inputs.pop_front() {
            self.replica.handle(input, Mono::now(), &mut effects);
            for effect in effects.drain(..) {
                // After a refusal the rest of the effects no longer makes sense.
                if !self.perform(effect, &mut inputs) {
                    break;
                }
            }
            effects.clear();
        }
    }

    fn perform(&mut self, effect: Effect, inputs: &mut VecDeque<Input>) -> bool {
        match effect {
            Effect::Connect { endpoint } => {
                self.open = None;
                self.trail.disconnected();
                self.connecting = self.endpoints.get(endpoint).map(|endpoint| connect(endpoint, &self.tls));
            }
            Effect::Disconnect(fault) => {
                tracing::warn!(error = &fault as &dyn std::error::Error, "leaving the control plane");
                (self.open, self.connecting) = (None, None);
            }
            Effect::Send(mut message) => {
                if let Up::Ping { audit, witness_disputes, .. } = &mut message {
                    *audit = Some(self.audit.health());
                    *witness_disputes = self.audit.witness_disputes();
                }
                self.say(message, inputs);
            }
            Effect::Apply(delta, ticket) => match self.gate.apply(&delta, self.now()) {
                Ok(cutting) => self.cutting(ticket, cutting),
                Err(error) => return self.refused(ticket, &error, inputs),
            },
            Effect::Replace(snapshot, ticket) => {
                let crate::sync::Snapshot { log, epoch, revision, grants } = snapshot;
                match self.gate.replace(Snapshot { log, epoch, revision, grants }, self.now()) {
                    Ok(cutting) => self.cutting(ticket, cutting),
                    Err(error) => return self.refused(ticket, &error, inputs),
                }
            }
            Effect::SetLease { control_time, asked, until } => {
                self.gate.lease().set(control_time, asked, until);
                self.audit.control_time(control_time, asked);
            }
            Effect::SetTokenKeys(keys) => self.gate.set_token_keys(&keys),
            Effect::TrailKept(size) => {
                self.audit.acknowledged(size);
                self.trail.kept(size);
            }
            Effect::Follows(log, epoch) => {
                let kept = self.witness.welcomed(log, epoch);
                self.say(Up::LogKept(kept), inputs);
            }
            Effect::LogSaid(said) => match self.witness.heard(&said, self.now()) {
                Ok(None) => {}
                Ok(Some(kept)) => self.say(Up::LogKept(kept), inputs),
                Err(error) => {
                    tracing::error!(%error, "the control plane signs for something else than its event log")
                }
            },
            Effect::CollectUsage => {
                let usage: Vec<_> = self.gate.usage_report().into_iter().map(grant_usage).collect();
                if !usage.is_empty() {
                    inputs.push_back(Input::Used(usage));
                }
            }
            Effect::Uses { ticket, granted } => {
                if let (Some(reply), Some(granted)) = (self.wishes.remove(&ticket), granted) {
                    // Whoever asked may be gone; what was set aside counts as spent.
                    let _ = reply.send(granted);
                }
            }
        }
        true
    }

    fn say(&mut self, message: Up, inputs: &mut VecDeque<Input>) {
        if !self.send(message) {
            inputs.push_back(Input::Disconnected);
        }
    }

    /// Whether the connection goes on. One that the control plane has ended is read to its end: there it says why.
    fn send(&mut self, message: Up) -> bool {
        let sent = self.open.as_ref().map(|open| open.up.try_send(message.into()));
        let full = matches!(sent, Some(Err(TrySendError::Full(_))));
        if full {
            self.open = None;
        }
        !full
    }

    fn cutting(&self, ticket: CutTicket, cutting: Cutting) {
        self.cuts.push(Box::pin(async move { (ticket, cutting.done().await) }));
    }

    fn refused(
        &self,
        ticket: CutTicket,
        error: &(dyn std::error::Error + 'static),
        inputs: &mut VecDeque<Input>,
    ) -> bool {
        tracing::error!(error, "the table refused what the control plane sent");
        inputs.push_back(Input::TableRefused(ticket));
        false
    }

    /// For the memory of ended grants only: how long they are remembered.
    fn now(&self) -> Time {
        // Not the wall clock, which may be years ahead: what is put off that far keeps everything after it in memory.
        self.gate.lease().reckoned(Mono::now()).unwrap_or_else(wall)
    }
}

fn grant_usage(usage: crate::session::Usage) -> GrantUsage {
    let crate::session::Usage { grant, used } = usage;
    GrantUsage { grant, requests: used.requests, bytes: used.bytes, running: used.running }
}

fn connect(endpoint: &Endpoint, tls: &Arc<ClientConfig>) -> Connecting {
    let (endpoint, tls) = (endpoint.clone(), Arc::clone(tls));
    Box::pin(async move {
        // TLS is made here, where the peer's SPIFFE ID is checked; tonic sees a plain stream.
        let address = format!("http://{}", endpoint.to_string().trim_start_matches("https://"));
        let connector = tower::service_fn(move |_: http::Uri| {
            let (endpoint, tls) = (endpoint.clone(), Arc::clone(&tls));
            async move { dial(&endpoint, tls).await.map(TokioIo::new) }
        });
        let channel = tonic::transport::Endpoint::from_shared(address)?
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(2 * STREAM_WINDOW)
            .connect_with_connector(connector)
            .await?;
        let mut client = SyncClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (up, mut messages) = mpsc::channel::<raw::Up>(QUEUE);
        let outgoing = poll_fn(move |context| messages.poll_recv(context));
        let down = client.follow(outgoing).await?.into_inner();
        Ok(Open { up, down })
    })
}

async fn dial(endpoint: &Endpoint, tls: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?;
    TlsConnector::from(tls).connect(name, tcp).await
}
