//! What is known of one request, filled in as it becomes known, and the promise that it ends in exactly one `end` line.
//!
//! Two states, each consumed by the next. A [`Draft`] exists from the first moment; [`Draft::admit`] turns it into a [`Record`] once
//! queue room and disk space for its line are set aside. Forwarding takes a `Record`: what is not audited cannot be forwarded.
//! Invariant: each `Draft` leaves one `end` line, also when it or its `Record` is only dropped (`client_gone`, or `unknown` while
//! a thread panics). The exceptions are those of product law 7, which are counted: a draft that finds no room, and refused requests
//! above the budget of refusals.

mod end;
mod facts;
mod recorded;

pub use end::End;
pub(super) use facts::Facts;

use super::line::{self, Ending};
use super::sink::{AuditSink, Claim, OnDisk, Unavailable};
use super::text::escaped_within;
use crate::model::{DenyReason, GrantId, RequestId, Revision, ServiceName, SpiffeId, TaskId};
use crate::runtime::clock::{Mono, wall};
use http::Method;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// The kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Written before the upstream saw a byte, or when a stream has lived for long.
    Admit,
    /// Closes a request; exactly one each.
    End,
    /// A refused TLS handshake.
    Handshake,
    /// Stands for many lines that were not written.
    Summary,
}

impl Kind {
    /// The value of `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::End => "end",
            Self::Handshake => "handshake",
            Self::Summary => "summary",
        }
    }
}

/// How a request spoke to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// A WebSocket, from its upgrade request on.
    WebSocket,
    /// MCP, streamable HTTP.
    Mcp,
}

impl Protocol {
    /// The value of `protocol`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "h2",
            Self::Grpc => "grpc",
            Self::WebSocket => "websocket",
            Self::Mcp => "mcp",
        }
    }
}

/// A W3C trace id (Trace Context section 3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// A refused handshake.
#[derive(Debug, Clone, Copy)]
pub struct Handshake {
    /// The peer's address.
    pub source: SocketAddr,
    /// Why it was refused: a name of the closed set of refusals.
    pub reason: &'static str,
    /// Digest of the certificate that was shown, if one was. It proves nothing: the handshake failed.
    pub certificate_sha256: Option<[u8; 32]>,
}

/// Who calls: the part of each line that is the same for a whole connection, written once.
#[derive(Debug)]
pub struct Caller {
    pub(super) fragment: Vec<u8>,
    pub(super) source: IpAddr,
}

impl Caller {
    /// For an authenticated connection.
    #[must_use]
    pub fn new(principal: &SpiffeId, certificate_sha256: &[u8; 32], source: SocketAddr) -> Arc<Self> {
        let fragment = line::caller(Some(principal.as_str()), Some(certificate_sha256), &source.to_string());
        Arc::new(Self { fragment, source: source.ip() })
    }
}

/// The human behind a request: the part of its line that says so, written once for each token.
#[derive(Debug)]
pub struct Named {
    pub(super) fragment: Vec<u8>,
}

impl Named {
    /// For a user that a verified token names: a subject and its issuer.
    #[must_use]
    pub fn new(issuer: &str, subject: &str) -> Arc<Self> {
        Arc::new(Self { fragment: line::user(issuer, subject) })
    }
}

/// A call of MCP: the part of its line that says what was called.
#[derive(Debug)]
pub struct Called {
    pub(super) fragment: Vec<u8>,
}

impl Called {
    /// A method, what it is about (a tool, a prompt, a resource), and the SHA-256 of its canonical arguments (RFC 8785). Long names are
    /// cut and marked.
    #[must_use]
    pub fn new(method: &str, name: Option<&str>, arguments_sha256: Option<&[u8; 32]>) -> Self {
        Self { fragment: line::called(method, name, arguments_sha256) }
    }

    /// It also answers questions of the service: the SHA-256 of the canonical form of these answers.
    #[must_use]
    pub fn with_inputs(mut self, inputs_sha256: &[u8; 32]) -> Self {
        line::inputs(&mut self.fragment, inputs_sha256);
        self
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Decision {
    Permit,
    Deny(DenyReason),
}

impl Decision {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny(_) => "deny",
        }
    }

    pub(super) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Permit => None,
            Self::Deny(reason) => Some(reason.as_str()),
        }
    }
}

/// Where the `end` line is to go.
enum Fate {
    /// Not admitted: the line goes through the budget of refusals.
    Drafted,
    /// Admitted: its place is set aside.
    Admitted(Claim),
    /// Nothing is left to do: the line is written, or the refusal was counted.
    Settled,
}

/// The facts and the duty to write them. Only this type has a `Drop`, so that states can be taken apart. Boxed in both: a record goes
/// through many hands.
struct Unfinished {
    sink: Arc<AuditSink>,
    facts: Facts,
    fate: Fate,
}

impl Unfinished {
    fn settle(&mut self, end: End, at: Mono) {
        let fate = std::mem::replace(&mut self.fate, Fate::Settled);
        if matches!(fate, Fate::Drafted) {
            // Nothing was handed on.
            self.facts.reel = None;
        }
        let now = wall();
        let ending = Ending { end, took: at.since(self.facts.started) };
        let (sink, facts) = (&self.sink, &self.facts);
        let write = |out: &mut Vec<u8>| line::request(out, sink.proxy(), facts, Some(&ending), now);
        match fate {
            Fate::Admitted(claim) if facts.reel.is_some() => self.leave_to_recorder(ending, claim),
            Fate::Admitted(claim) => sink.close_request(&claim, facts.admit, write),
            Fate::Drafted => {
                let reason = facts.decision.and_then(Decision::reason).unwrap_or(end.as_str());
                let bound = line::bound(sink.proxy(), facts);
                sink.refusal(Kind::End, facts.caller.source, reason, now, bound, write);
            }
            Fate::Settled => {}
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // hyper drops a request's future and body when its client is gone; a panic says nothing about the client.
        self.settle(if std::thread::panicking() { End::Unknown } else { End::ClientGone }, Mono::now());
    }
}

/// A request that was not admitted yet. Dropping it writes its line with what is known.
#[must_use = "dropping a draft writes that its client is gone"]
pub struct Draft(Box<Unfinished>);

impl Draft {
    /// As early as there is a request; `started` is when its head had arrived.
    pub fn begin(sink: &Arc<AuditSink>, caller: &Arc<Caller>, id: RequestId, started: Mono) -> Self {
        let facts = Facts::new(Arc::clone(caller), id, started);
        Self(Box::new(Unfinished { sink: Arc::clone(sink), facts, fate: Fate::Drafted }))
    }

    /// The trace that the request belongs to.
    pub fn trace(&mut self, trace: TraceId) {
        self.0.facts.trace = Some(trace);
    }

    /// What was asked. `path` is without the query, as it was received; over 8 KiB it is cut and marked.
    pub fn head(&mut self, method: &Method, path: &str, protocol: Protocol) {
        let facts = &mut self.0.facts;
        facts.method = Some(method.clone());
        facts.protocol = Some(protocol);
        facts.path.clear();
        facts.path.reserve_exact(path.len().min(line::PATH_LIMIT));
        escaped_within(&mut facts.path, path.as_bytes(), line::PATH_LIMIT, line::TRUNCATED);
    }

    /// The human behind it.
    pub fn user(&mut self, user: &Arc<Named>) {
        self.0.facts.user = Some(Arc::clone(user));
    }

    /// It is a call of MCP.
    pub fn called(&mut self, called: Called) {
        self.0.facts.protocol = Some(Protocol::Mcp);
        self.0.facts.called = Some(Box::new(called));
    }

    /// Answered by the gate itself: what it answers is the same for everybody, so that nothing was decided.
    pub fn answered(mut self, status: u16, bytes_out: u64) {
        let facts = &mut self.0.facts;
        facts.status = Some(status);
        facts.bytes_out = bytes_out;
        self.0.settle(End::Complete, Mono::now());
    }

    /// The configured service that it is for. An invented name stays out of the trail's `service`.
    pub fn service(&mut self, service: &ServiceName) {
        self.0.facts.service = Some(service.clone());
    }

    /// The revision of the table that decided, and how long deciding took.
    pub fn decided(&mut self, revision: Revision, took: Duration) {
        self.0.facts.revision = Some(revision);
        self.0.facts.decision_ns = Some(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The grant that the decision is about: the one that permits, or for instance the one that has expired.
    pub fn grant(&mut self, grant: GrantId, task: &TaskId) {
        self.0.facts.grant = Some(grant);
        self.0.facts.task = Some(task.clone());
    }

    /// The request is refused, answered with `status` and a body of `bytes_out` bytes.
    pub fn deny(mut self, reason: DenyReason, status: u16, bytes_out: u64) {
        let facts = &mut self.0.facts;
        facts.decision = Some(Decision::Deny(reason));
        facts.status = Some(status);
        facts.bytes_out = bytes_out;
        self.0.settle(End::Complete, Mono::now());
    }

    /// The request is permitted and gets its place in the trail.
    ///
    /// # Errors
    /// [`Unavailable`]: it must be refused with `audit_unavailable`, and has been counted for the summary line.
    pub fn admit(mut self) -> Result<Record, Unavailable> {
        let bound = line::bound(self.0.sink.proxy(), &self.0.facts);
        match self.0.sink.claim(bound) {
            Ok(claim) => {
                self.0.facts.decision = Some(Decision::Permit);
                self.0.fate = Fate::Admitted(claim);
                Ok(Record(self.0))
            }
            Err(unavailable) => {
                self.0.fate = Fate::Settled;
                Err(unavailable)
            }
        }
    }
}

/// An admitted request: proof that its line has a place. Dropping it writes the line with what is known.
#[must_use = "dropping a record writes that its client is gone"]
pub struct Record(Box<Unfinished>);

impl Record {
    /// Writes the `admit` line, in a place of its own.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none for it; the `end` line keeps its place.
    pub fn write_admit(&mut self) -> Result<(), Unavailable> {
        let Unfinished { sink, facts, .. } = &mut *self.0;
        if facts.admit.is_some() {
            return Ok(());
        }
        let claim = sink.claim(line::bound(sink.proxy(), facts))?;
        let write = |out: &mut Vec<u8>| line::request(out, sink.proxy(), facts, None, wall());
        facts.admit = Some(sink.write(&claim, Kind::Admit, write));
        Ok(())
    }

    /// The same for a request that goes on only when that line is on disk: it is ready then, and fails when it will not be.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no place for it.
    pub fn admit_on_disk(&mut self) -> Result<OnDisk, Unavailable> {
        let Unfinished { sink, facts, .. } = &mut *self.0;
        let claim = sink.claim(line::bound(sink.proxy(), facts))?;
        let write = |out: &mut Vec<u8>| line::request(out, sink.proxy(), facts, None, wall());
        let (seq, on_disk) = sink.write_awaited(&claim, Kind::Admit, write);
        facts.admit = Some(seq);
        Ok(on_disk)
    }

    /// The protocol turned out to be another, for instance after an upgrade.
    pub fn protocol(&mut self, protocol: Protocol) {
        self.0.facts.protocol = Some(protocol);
    }

    /// The status that the client is sent.
    pub fn status(&mut self, status: u16) {
        self.0.facts.status = Some(status);
    }

    /// Bytes of the request's body that were handed on.
    pub fn add_bytes_in(&mut self, bytes: u64) {
        self.0.facts.bytes_in = self.0.facts.bytes_in.saturating_add(bytes);
    }

    /// A counter of such bytes that another task adds to; read when a line is written.
    pub fn count_bytes_in(&mut self, bytes: Arc<AtomicU64>) {
        self.0.facts.bytes_in_shared = Some(bytes);
    }

    /// Bytes of the response's body that were handed on.
    pub fn add_bytes_out(&mut self, bytes: u64) {
        self.0.facts.bytes_out = self.0.facts.bytes_out.saturating_add(bytes);
    }

    /// Admitted, but refused after all before anything was forwarded.
    pub fn deny(mut self, reason: DenyReason, status: u16, bytes_out: u64) {
        let facts = &mut self.0.facts;
        facts.decision = Some(Decision::Deny(reason));
        facts.status = Some(status);
        facts.bytes_out = bytes_out;
        self.0.settle(End::Complete, Mono::now());
    }

    /// The request is over.
    pub fn finish(self, end: End) {
        self.finish_at(end, Mono::now());
    }

    /// The request was over `at` that point in time, which was just read.
    pub fn finish_at(mut self, end: End, at: Mono) {
        self.0.settle(end, at);
    }
}
