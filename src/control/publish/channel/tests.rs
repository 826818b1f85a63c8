//! The channel against a wire of its own: who is let in, who is replaced, who is let go.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the messages that it expects")]

use super::*;
use crate::config::Role;
use crate::control::authz::Roles;
use crate::control::clock::ControlClock;
use crate::control::log::memory::MemoryLog;
use crate::control::log::{AppendError, EventLog, Identity, LogError, Recorded};
use crate::control::plane::PlaneOptions;
use crate::control::state::{GrantSpec, Rules};
use crate::model::event::{Actor, Event, Everything, Selector};
use crate::model::{EndCause, KeptTrail, LogId, SpiffeId, TrailFault};
use crate::notary::SignedCheckpoint;
use crate::runtime::clock::wall;
use crate::tlog::{Checkpoint, Hash, NoteSigner, Tree};
use crate::wire::message::{Ack, Down, Position, Received, ReceivedChange};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tonic::Code;

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

fn rules(proxies: &[&str]) -> Rules {
    let operator = (id("spiffe://d/op"), vec![Role::Admin, Role::Security]);
    let proxies = proxies.iter().map(|name| (id(name), vec![Role::Proxy]));
    let roles = Roles::new(std::iter::once(operator).chain(proxies), []);
    Rules::new(Duration::from_secs(3600), roles)
}

async fn plane() -> Plane {
    plane_over(Arc::new(MemoryLog::new(LogId([5; 16]))), ControlClock::default()).await
}

async fn plane_over(log: Arc<dyn EventLog>, clock: ControlClock) -> Plane {
    let options = PlaneOptions {
        rules: rules(&["spiffe://d/proxy/edge"]),
        lease: Duration::from_secs(15),
        clock_drift: Duration::from_secs(1),
        clock,
    };
    Plane::start(log, options).await.unwrap()
}

/// A log that cannot be written for a while.
struct Full {
    inner: MemoryLog,
    full: AtomicBool,
    /// Held by whoever keeps its head from being known.
    head: tokio::sync::Mutex<()>,
}

impl Full {
    fn new() -> Arc<Self> {
        let inner = MemoryLog::new(LogId([5; 16]));
        Arc::new(Self { inner, full: AtomicBool::new(false), head: tokio::sync::Mutex::default() })
    }
}

impl EventLog for Full {
    fn identity(&self) -> Identity {
        self.inner.identity()
    }
    fn head(&self) -> BoxFuture<'_, Result<Revision, LogError>> {
        async {
            let _known = self.head.lock().await;
            self.inner.head().await
        }
        .boxed()
    }
    fn read(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<Recorded>, LogError>> {
        self.inner.read(after, limit)
    }
    fn entries(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<String>, LogError>> {
        self.inner.entries(after, limit)
    }
    fn append(
        &self,
        expected: Revision,
        events: Vec<Arc<Event>>,
    ) -> BoxFuture<'_, Result<Revision, AppendError>> {
        match self.full.load(Ordering::Relaxed) {
            true => async { Err(AppendError::Log(LogError::Closed)) }.boxed(),
            false => self.inner.append(expected, events),
        }
    }
    fn keep_trails(&self, trails: Vec<KeptTrail>) -> BoxFuture<'_, Result<(), LogError>> {
        self.inner.keep_trails(trails)
    }
    fn kept_trails(&self) -> BoxFuture<'_, Result<Vec<KeptTrail>, LogError>> {
        self.inner.kept_trails()
    }
}

async fn grant(plane: &Plane) -> GrantId {
    let scope = r#"[{"type":"http","locations":["orders"],"actions":["GET"],"paths":["/**"]}]"#;
    let spec = GrantSpec {
        principal: id("spiffe://d/agent"),
        task: "T".parse().unwrap(),
        scope: serde_json::from_str(scope).unwrap(),
        ttl: "5m".parse().unwrap(),
        not_before: None,
        conditions: Default::default(),
        limits: serde_json::from_str(r#"{"max_uses":5}"#).unwrap(),
        recording: Default::default(),
        reason: "test".into(),
    };
    let operator = Actor::Identity(id("spiffe://d/op"));
    let outcome = plane.submit(operator, Command::Grant([spec].into())).await;
    let Ok(Outcome::Granted(issued)) = outcome else { panic!("{outcome:?}") };
    issued[0].grant.id
}

async fn revoke_all(plane: &Plane) -> crate::model::RevocationId {
    let command = Command::Revoke { selector: Selector::All(Everything), reason: "test".into() };
    let outcome = plane.submit(Actor::Identity(id("spiffe://d/op")), command).await;
    let Ok(Outcome::Revoked { revocation, .. }) = outcome else { panic!("{outcome:?}") };
    revocation
}

/// The proxy's end of a channel.
struct Proxy {
    up: mpsc::Sender<Result<raw::Up, Status>>,
    down: mpsc::Receiver<Result<raw::Down, Status>>,
}

impl Proxy {
    fn connect(plane: &Plane, followers: &Followers) -> Self {
        let (up, mut sent) = mpsc::channel(16);
        // As little room as there can be: what comes last must wait like all else.
        let (to_proxy, down) = mpsc::channel(1);
        let caller = Caller { identity: id("spiffe://d/proxy/edge"), proxy: "edge".parse().unwrap() };
        let stream = futures_util::stream::poll_fn(move |context| sent.poll_recv(context));
        let wire = Wire { up: stream, down: to_proxy };
        tokio::spawn(serve(plane.clone(), followers.clone(), caller, wire));
        Self { up, down }
    }

    async fn send(&self, message: Up) {
        self.up.send(Ok(message.into())).await.unwrap();
    }

    async fn hello(&self, position: Option<Position>, instance: u64) {
        self.send(Up::Hello(Hello { position, version: "test".into(), instance })).await;
    }

    async fn any(&mut self) -> Down {
        self.down.recv().await.unwrap().unwrap().try_into().unwrap()
    }

    /// What comes next beside what is kept of the trail.
    async fn next(&mut self) -> Down {
        loop {
            match self.any().await {
                Down::TrailKept(_) | Down::LogCheckpoint(_) => {}
                other @ (Down::Welcome { .. }
                | Down::Snapshot(_)
                | Down::Delta(_)
                | Down::Pong(_)
                | Down::TokenKeys(_)
                | Down::UsesReserved { .. }) => return other,
            }
        }
    }

    async fn kept(&mut self) -> u64 {
        loop {
            if let Down::TrailKept(size) = self.any().await {
                return size;
            }
        }
    }

    /// The status with which the stream ends, after whatever comes before.
    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.down.recv().await.unwrap() {
                return status;
            }
        }
    }
}

async fn following(plane: &Plane, followers: &Followers) -> (Proxy, Revision) {
    let mut proxy = Proxy::connect(plane, followers);
    proxy.hello(None, 1).await;
    assert!(matches!(proxy.next().await, Down::Welcome { .. }));
    let Down::Snapshot(part) = proxy.next().await else { panic!("no snapshot") };
    assert!(part.last);
    (proxy, part.revision)
}

#[tokio::test]
async fn a_proxy_gets_the_table_then_what_changes_and_is_believed() {
    let plane = plane().await;
    let before = grant(&plane).await;
    let mut proxy = Proxy::connect(&plane, &Followers::default());
    proxy.hello(None, 1).await;
    let Down::Welcome { log, epoch } = proxy.next().await else { panic!("no welcome") };
    assert_eq!((log, epoch), (plane.log_id(), plane.epoch()));
    let Down::Snapshot(snapshot) = proxy.next().await else { panic!("no snapshot") };
    let [Received::Readable(held)] = &snapshot.grants[..] else { panic!("{snapshot:?}") };
    assert_eq!(held.id, before);

    let revocation = revoke_all(&plane).await;
    let Down::Delta(delta) = proxy.next().await else { panic!("no delta") };
    assert_eq!(delta.after, snapshot.revision);
    let [ReceivedChange::Ended { grant, cause: EndCause::Revoked, .. }] = &delta.changes[..] else {
        panic!("{delta:?}")
    };
    assert_eq!(*grant, before);

    proxy.send(Up::Ack(Ack { revision: delta.revision, streams_cut: 3 })).await;
    proxy.send(Up::Ping { n: 1, audit: None, witness_disputes: 0 }).await;
    // The acknowledgement is an event of its own: it comes down before the pong, which says that it was logged.
    let Down::Delta(logged) = proxy.next().await else { panic!("no delta") };
    let Down::Pong(pong) = proxy.next().await else { panic!("no pong") };
    assert_eq!((pong.n, pong.head, pong.digest_revision), (1, logged.revision, logged.revision));
    assert_eq!(pong.digest, plane.with_state(|state| state.digest()));
    let confirmed =
        plane.with_state(|state| state.revocation(revocation).unwrap().confirmed.values().next().copied());
    assert_eq!(confirmed.unwrap().streams_cut, 3);
    let seen = plane.presence().of(&"edge".parse().unwrap());
    assert_eq!((seen.connections, seen.applied), (1, delta.revision));
    assert!(seen.lease_until.unwrap() > plane.mono());
}

#[tokio::test]
async fn an_acknowledgement_that_cannot_be_logged_now_ends_no_channel_and_is_logged_later() {
    let log = Full::new();
    let plane = plane_over(log.clone(), ControlClock::default()).await;
    grant(&plane).await;
    let (mut proxy, _) = following(&plane, &Followers::default()).await;
    let revocation = revoke_all(&plane).await;
    let Down::Delta(delta) = proxy.next().await else { panic!("no delta") };
    let confirmed = || plane.with_state(|state| state.revocation(revocation).unwrap().confirmed.len());
    let ping = |n| Up::Ping { n, audit: None, witness_disputes: 0 };

    log.full.store(true, Ordering::Relaxed);
    proxy.send(Up::Ack(Ack { revision: delta.revision, streams_cut: 3 })).await;
    proxy.send(ping(1)).await;
    let Down::Pong(pong) = proxy.next().await else { panic!("no pong") };
    assert_eq!((pong.n, confirmed()), (1, 0), "it has its lease");
    log.full.store(false, Ordering::Relaxed);
    proxy.send(ping(2)).await;
    loop {
        match proxy.next().await {
            Down::Delta(logged) => break assert!(logged.revision > delta.revision),
            Down::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(confirmed(), 1);
}

#[tokio::test]
async fn a_lease_is_noted_before_the_revision_is_confirmed_that_it_is_given_for() {
    let log = Full::new();
    let plane = plane_over(log.clone(), ControlClock::default()).await;
    let (mut proxy, _) = following(&plane, &Followers::default()).await;
    let until = || plane.presence().of(&"edge".parse().unwrap()).lease_until;
    assert_eq!(until(), None);
    let unknown = log.head.lock().await;
    proxy.send(Up::Ping { n: 1, audit: None, witness_disputes: 0 }).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    // What is revoked now is not in the revision that the pong will name: so its receipt has to wait for that lease.
    assert!(until().is_some_and(|until| until > plane.mono()));
    drop(unknown);
    assert!(matches!(proxy.next().await, Down::Pong(_)));
}

#[tokio::test]
async fn uses_are_set_aside_before_they_are_answered() {
    let plane = plane().await;
    let grant = grant(&plane).await;
    let (mut proxy, _) = following(&plane, &Followers::default()).await;
    for (want, expected) in [(3, 3), (9, 2), (1, 0)] {
        proxy.send(Up::ReserveUses { grant, want, nonce: want }).await;
        let answer = loop {
            match proxy.next().await {
                Down::UsesReserved { nonce, granted } => break (nonce, granted),
                Down::Welcome { .. }
                | Down::Snapshot(_)
                | Down::Delta(_)
                | Down::Pong(_)
                | Down::TokenKeys(_)
                | Down::TrailKept(_)
                | Down::LogCheckpoint(_) => {}
            }
        };
        assert_eq!(answer, (want, Some(expected)));
    }
    assert_eq!(plane.with_state(|state| state.live().next().unwrap().uses_reserved), 5);
}

#[tokio::test]
async fn a_newer_stream_replaces_the_older_and_another_process_retires_it() {
    let (plane, followers) = (plane().await, Followers::default());
    let (mut first, revision) = following(&plane, &followers).await;
    let (log, epoch) = (plane.log_id(), plane.epoch());
    let mut again = Proxy::connect(&plane, &followers);
    again.hello(Some(Position { log, epoch, revision }), 1).await;
    assert!(matches!(again.next().await, Down::Welcome { .. }));
    assert_eq!(first.end().await.code(), Code::Aborted);

    let other = Proxy::connect(&plane, &followers);
    other.hello(None, 2).await;
    assert_eq!(again.end().await.code(), Code::Aborted);
    let mut back = Proxy::connect(&plane, &followers);
    back.hello(None, 1).await;
    assert_eq!(back.end().await.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn a_proxy_of_another_history_is_told_and_let_go() {
    let plane = plane().await;
    let (log, epoch, revision) = (plane.log_id(), plane.epoch(), Revision(1));
    for position in [
        Position { log: LogId([6; 16]), epoch, revision },
        Position { log, epoch: crate::model::Epoch(epoch.0 + 1), revision },
        Position { log, epoch, revision: Revision(1_000) },
    ] {
        let mut proxy = Proxy::connect(&plane, &Followers::default());
        proxy.hello(Some(position), 1).await;
        assert!(matches!(proxy.next().await, Down::Welcome { .. }));
        assert_eq!(proxy.end().await.code(), Code::FailedPrecondition);
    }
}

#[tokio::test]
async fn broken_manners_end_the_stream() {
    let plane = plane().await;
    let mut proxy = Proxy::connect(&plane, &Followers::default());
    proxy.send(Up::Ping { n: 1, audit: None, witness_disputes: 0 }).await;
    assert_eq!(proxy.end().await.code(), Code::InvalidArgument, "no hello");

    let (mut proxy, _) = following(&plane, &Followers::default()).await;
    proxy.hello(None, 1).await;
    assert_eq!(proxy.end().await.code(), Code::InvalidArgument, "two hellos");

    let (mut proxy, _) = following(&plane, &Followers::default()).await;
    proxy.up.send(Ok(raw::Up { body: None })).await.unwrap();
    assert_eq!(proxy.end().await.code(), Code::InvalidArgument, "an unknown message");

    let (mut proxy, _) = following(&plane, &Followers::default()).await;
    proxy.send(Up::Ack(Ack { revision: Revision(1_000), streams_cut: 0 })).await;
    assert_eq!(proxy.end().await.code(), Code::PermissionDenied, "it confirms what has not happened");
}

#[tokio::test]
async fn who_loses_the_role_gets_no_lease_any_more() {
    let plane = plane().await;
    let (mut proxy, _) = following(&plane, &Followers::default()).await;
    plane.set_rules(rules(&[]));
    proxy.send(Up::Ping { n: 1, audit: None, witness_disputes: 0 }).await;
    assert_eq!(proxy.end().await.code(), Code::PermissionDenied);
    let mut again = Proxy::connect(&plane, &Followers::default());
    again.hello(None, 1).await;
    assert_eq!(again.end().await.code(), Code::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_does_not_read_is_let_go() {
    let plane = plane().await;
    let (proxy, _) = following(&plane, &Followers::default()).await;
    for n in 1..10 {
        let _ = proxy.up.try_send(Ok(Up::Ping { n, audit: None, witness_disputes: 0 }.into()));
    }
    // Nothing is read; the other end gives up and drops its half.
    tokio::time::timeout(PATIENCE * 3, proxy.up.closed()).await.unwrap();
    assert_eq!(plane.presence().of(&"edge".parse().unwrap()).connections, 0);
}

/// A checkpoint of a trail of so many equal lines, with the root of the lines before them.
fn checkpoint(signer: &NoteSigner, size: u64, since: u64, line: &str) -> SignedCheckpoint {
    let tree = |size| {
        let mut tree = Tree::default();
        (0..size).for_each(|_| tree.push(Hash::leaf(line.as_bytes())));
        tree.root()
    };
    let origin = signer.verifier().name().to_owned();
    let note = Checkpoint { origin, size, root: tree(size) }.sign(signer);
    // From one line to two: the second's hash.
    let proof = if (since, size) == (1, 2) { vec![Hash::leaf(line.as_bytes())] } else { Vec::new() };
    SignedCheckpoint { note, key: signer.verifier().to_string(), since, proof }
}

fn signer(name: &str) -> NoteSigner {
    NoteSigner::from_pkcs8(name, &NoteSigner::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn checkpoints_of_a_trail_are_kept_and_contradictions_found() {
    let ahead = Arc::new(AtomicU64::new(0));
    let clock = {
        let (ahead, start) = (Arc::clone(&ahead), wall());
        ControlClock::new(Arc::new(move || {
            let ahead = Duration::from_secs(ahead.load(Ordering::Relaxed));
            (start.plus(ahead), Mono::default().plus(ahead))
        }))
    };
    let plane = plane_over(Arc::new(MemoryLog::new(LogId([5; 16]))), clock).await;
    let (edge, other, line) = (signer("d/proxy/edge/audit"), signer("d/proxy/edge/audit"), "a line");
    let trail = || {
        plane.with_state(|state| {
            let trail = state.proxies().values().next().unwrap().trail.as_deref();
            trail.map_or((0, None), |trail| (trail.head.size, trail.disputed.map(|(fault, _)| fault)))
        })
    };
    let followers = Followers::default();
    let mut proxy = Proxy::connect(&plane, &followers);
    proxy.hello(None, 1).await;
    assert_eq!(proxy.kept().await, 0);
    for (later, message, expected, events) in [
        (1, checkpoint(&edge, 1, 0, line), (1, None), 1),
        // It goes on from there: that is kept beside the log.
        (1, checkpoint(&edge, 2, 1, line), (2, None), 0),
        // The trail is another one from here.
        (1, checkpoint(&edge, 2, 2, "rewritten"), (2, Some(TrailFault::Forked)), 1),
        // Another one only after some minutes.
        (299, checkpoint(&edge, 1, 2, "rewritten"), (2, Some(TrailFault::Forked)), 0),
        (1, checkpoint(&edge, 1, 2, "rewritten"), (1, Some(TrailFault::RolledBack)), 1),
        (300, checkpoint(&other, 1, 1, "rewritten"), (1, Some(TrailFault::Key)), 1),
    ] {
        let before = plane.with_state(|state| state.revision());
        ahead.fetch_add(later, Ordering::Relaxed);
        proxy.send(Up::Checkpoint(message)).await;
        assert_eq!((proxy.kept().await, trail()), (expected.0, expected));
        assert_eq!(plane.with_state(|state| state.revision()).0 - before.0, events);
    }
    // A proof against another checkpoint than the one that is kept: the proxy is told which that is.
    let mut again = Proxy::connect(&plane, &followers);
    again.hello(None, 1).await;
    assert_eq!(again.kept().await, 1);
    ahead.fetch_add(1, Ordering::Relaxed);
    again.send(Up::Checkpoint(checkpoint(&other, 2, 0, line))).await;
    assert_eq!(again.kept().await, 1);
}

/// A proxy of whose trail nothing is kept, and what signs for it.
async fn signing() -> (Plane, NoteSigner, Proxy) {
    let (plane, edge) = (plane().await, signer("d/proxy/edge/audit"));
    let mut proxy = Proxy::connect(&plane, &Followers::default());
    proxy.hello(None, 1).await;
    assert_eq!(proxy.kept().await, 0);
    (plane, edge, proxy)
}

#[tokio::test]
async fn a_proxy_that_signs_faster_than_the_log_takes_is_asked_again_later() {
    let (plane, edge, mut proxy) = signing().await;
    let mut head = plane.head();
    let before = *head.borrow_and_update();
    proxy.send(Up::Checkpoint(checkpoint(&edge, 1, 0, "a line"))).await;
    head.wait_for(|head| *head > before).await.unwrap();
    let after = plane.with_state(|state| state.revision());
    for _ in 0..10 {
        proxy.send(Up::Checkpoint(checkpoint(&edge, 2, 1, "a line"))).await;
    }
    assert_eq!(proxy.kept().await, 1);
    assert_eq!(plane.with_state(|state| state.revision()), after, "nothing was logged for them");
}

#[tokio::test]
async fn one_that_is_proved_from_what_is_not_kept_does_not_keep_the_next_from_being_taken() {
    let (plane, edge, mut proxy) = signing().await;
    proxy.send(Up::Checkpoint(checkpoint(&edge, 1, 0, "a line"))).await;
    assert_eq!(proxy.kept().await, 1);
    // The first comes in the pause, the second after it.
    for _ in 0..2 {
        proxy.send(Up::Checkpoint(checkpoint(&edge, 2, 7, "a line"))).await;
        assert_eq!(proxy.kept().await, 1, "asked for from there");
    }
    proxy.send(Up::Checkpoint(checkpoint(&edge, 2, 1, "a line"))).await;
    assert_eq!(proxy.kept().await, 2, "it was not dropped");
    // Another key is never stale.
    proxy.send(Up::Checkpoint(checkpoint(&signer("d/proxy/edge/audit"), 9, 7, "a line"))).await;
    assert_eq!(proxy.kept().await, 2, "after the pause");
    proxy.send(Up::Checkpoint(checkpoint(&signer("d/proxy/edge/audit"), 9, 7, "a line"))).await;
    assert_eq!(proxy.kept().await, 9);
    let fault = plane.with_state(|state| {
        let trail = state.proxies().values().next().unwrap().trail.as_deref().unwrap();
        trail.disputed.map(|(fault, _)| fault)
    });
    assert_eq!(fault, Some(TrailFault::Key));
    // Nor is what nobody signed, although it comes in the pause.
    let forged = SignedCheckpoint {
        note: checkpoint(&edge, 9, 7, "a line").note,
        ..checkpoint(&signer("d/proxy/edge/audit"), 9, 7, "a line")
    };
    proxy.send(Up::Checkpoint(forged)).await;
    assert_eq!(proxy.end().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_checkpoint_of_another_log_or_with_a_signature_that_does_not_hold_ends_the_channel() {
    let edge = signer("d/proxy/edge/audit");
    let mut forged = checkpoint(&edge, 1, 0, "a line");
    forged.key = signer("d/proxy/edge/audit").verifier().to_string();
    for message in [forged, checkpoint(&signer("d/proxy/other/audit"), 1, 0, "a line")] {
        let plane = plane().await;
        let mut proxy = Proxy::connect(&plane, &Followers::default());
        proxy.hello(None, 1).await;
        proxy.send(Up::Checkpoint(message)).await;
        assert_eq!(proxy.end().await.code(), Code::InvalidArgument);
    }
}
