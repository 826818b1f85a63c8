//! The proxy's copy of the log, as a pure state machine: an input and the time go in, effects come out, in the order in which they
//! are to be performed. It refuses to know sockets, clocks, tables and streams.
//!
//! What it keeps true is listed in [`crate::sync`]. Whoever performs the effects owes it:
//! - effects are performed in order and before the next input is given;
//! - `Apply` and `Replace` are answered by one [`Input::Cut`] when nothing runs any more under what they ended, or, if the table
//!   refuses, by [`Input::TableRefused`] at once, and then the effects after it are dropped;
//! - after `Disconnect` or [`Input::Disconnected`], nothing of that connection is given any more.

mod io;
#[cfg(test)]
mod tests;
use crate::model::{Change, Digest, Epoch, GrantId, Interner, LogId, Revision};
use crate::runtime::clock::Mono;
use crate::sync::lease::{Leases, ping_every};
use crate::sync::link::Dialer;
use crate::sync::outbox::Outbox;
use crate::sync::parts::{Parts, Unreadable, WholeDelta, WholeSnapshot};
use crate::sync::{Fault, FromAsking, LeaseRule};
use crate::wire::message::{Down, Hello, LeaseLength, Pong, Position, Up};
pub use io::{Effect, Input, Settings, Snapshot};
use std::collections::HashMap;
use std::time::Duration;

/// Most reservations that may wait for an answer.
const MAX_RESERVATIONS: usize = 1_024;
/// Shortest time that a control plane has to answer before it counts as gone.
const PATIENCE: Duration = Duration::from_secs(1);

enum Link<R> {
    Waiting { until: Mono },
    Connecting { give_up: Mono },
    Open(Box<Session<R>>),
}

struct Session<R> {
    /// The log and epoch that it was welcomed to; nothing else may come before.
    follows: Option<(LogId, Epoch)>,
    heard: Mono,
    next_ping: Mono,
    leases: Leases<R>,
    parts: Parts,
    /// Nothing but a snapshot helps: until then no delta is applied and no lease counts.
    needs_snapshot: bool,
    next_nonce: u64,
    reservations: HashMap<u64, u64>,
}

/// The proxy's copy of the log.
pub struct Replica<R = FromAsking> {
    settings: Settings,
    position: Option<Position>,
    unreadable: Unreadable,
    interner: Interner,
    resync: bool,
    lease: LeaseLength,
    dialer: Dialer,
    outbox: Outbox,
    link: Link<R>,
}

impl<R: LeaseRule> Replica<R> {
    /// A replica that has nothing yet; its first [`Input::Tick`] is due at once.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            position: None,
            unreadable: Unreadable::default(),
            interner: Interner::default(),
            resync: false,
            lease: LeaseLength::DEFAULT,
            dialer: Dialer::new(settings.endpoints, settings.instance | 1),
            outbox: Outbox::default(),
            link: Link::Waiting { until: Mono::default() },
            settings,
        }
    }

    /// Where the table stands; `None` before the first snapshot.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Whether a control plane of the right log has welcomed this proxy on the present connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(&self.link, Link::Open(session) if session.follows.is_some())
    }

    /// When the next [`Input::Tick`] is due.
    #[must_use]
    pub fn next_wake(&self) -> Mono {
        match &self.link {
            Link::Waiting { until } => *until,
            Link::Connecting { give_up } => *give_up,
            Link::Open(session) => session.next_ping.min(session.heard.plus(self.patience())),
        }
    }

    /// Takes an input in; appends what is to be done to `effects`.
    pub fn handle(&mut self, input: Input, now: Mono, effects: &mut Vec<Effect>) {
        let handled = match input {
            Input::Tick => self.tick(now, effects),
            Input::Connected => {
                self.connected(now, effects);
                Ok(())
            }
            Input::Disconnected => {
                self.hang_up(now, effects);
                Ok(())
            }
            Input::Received(message, digest) => self.received(message, digest, now, effects),
            Input::Unreadable(fault) => Err(fault),
            Input::TableRefused(ticket) => {
                self.outbox.refused(ticket);
                Err(Fault::TableRefused)
            }
            Input::Cut { ticket, streams_cut } => {
                self.outbox.done(ticket, streams_cut);
                self.send_acks(effects);
                Ok(())
            }
            Input::Used(usage) => {
                self.outbox.used(usage);
                Ok(())
            }
            Input::WantUses { ticket, grant, want } => {
                self.want_uses((ticket, grant, want), effects);
                Ok(())
            }
        };
        if let Err(fault) = handled {
            self.give_up(fault, now, effects);
        }
    }

    fn give_up(&mut self, fault: Fault, now: Mono, effects: &mut Vec<Effect>) {
        self.resync |= fault.needs_snapshot();
        if !matches!(self.link, Link::Waiting { .. }) {
            effects.push(Effect::Disconnect(fault));
        }
        self.hang_up(now, effects);
    }

    fn hang_up(&mut self, now: Mono, effects: &mut Vec<Effect>) {
        if matches!(self.link, Link::Waiting { .. }) {
            return;
        }
        let until = self.dialer.failed(now);
        if let Link::Open(session) = std::mem::replace(&mut self.link, Link::Waiting { until }) {
            let unanswered = session.reservations.into_values();
            effects.extend(unanswered.map(|ticket| Effect::Uses { ticket, granted: None }));
        }
        self.outbox.disconnected();
    }

    fn tick(&mut self, now: Mono, effects: &mut Vec<Effect>) -> Result<(), Fault> {
        let patience = self.patience();
        match &self.link {
            Link::Waiting { until } if now >= *until => {
                effects.push(Effect::Connect { endpoint: self.dialer.endpoint() });
                self.link = Link::Connecting { give_up: now.plus(patience) };
            }
            Link::Connecting { give_up } if now >= *give_up => return Err(Fault::ConnectTimeout),
            Link::Open(session) if now >= session.heard.plus(patience) => return Err(Fault::Silent),
            Link::Open(session) if session.is_starved(now, self.lease) => return Err(Fault::Silent),
            Link::Open(session) if now >= session.next_ping => self.ping(now, effects),
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Open(_) => {}
        }
        Ok(())
    }

    /// How long a control plane may say nothing: pings are due more often than that.
    fn patience(&self) -> Duration {
        (ping_every(self.lease) * 2).max(PATIENCE)
    }

    fn connected(&mut self, now: Mono, effects: &mut Vec<Effect>) {
        if !matches!(self.link, Link::Connecting { .. }) {
            return;
        }
        let position = self.position.filter(|_| !self.resync);
        self.link = Link::Open(Box::new(Session::new(now, position.is_none())));
        let version = self.settings.version.clone();
        let instance = self.settings.instance;
        effects.push(Effect::Send(Up::Hello(Hello { position, version, instance })));
        self.ping(now, effects);
    }

    fn ping(&mut self, now: Mono, effects: &mut Vec<Effect>) {
        let Link::Open(session) = &mut self.link else { return };
        session.next_ping = now.plus(ping_every(self.lease));
        let n = session.leases.ask(now);
        if session.follows.is_some() {
            effects.extend(self.outbox.before_ping(n).into_iter().map(Effect::Send));
        }
        effects.push(Effect::Send(Up::Ping { n, audit: None, witness_disputes: 0 }));
        effects.push(Effect::CollectUsage);
    }

    /// Acknowledgements name revisions of one log and epoch, so they wait until the control plane has named its own.
    fn send_acks(&mut self, effects: &mut Vec<Effect>) {
        if self.is_connected() {
            effects.extend(self.outbox.unsent().map(Effect::Send));
        }
    }

    fn want_uses(&mut self, (ticket, grant, want): (u64, GrantId, u64), effects: &mut Vec<Effect>) {
        match &mut self.link {
            Link::Open(session)
                if session.follows.is_some() && session.reservations.len() < MAX_RESERVATIONS =>
            {
                session.next_nonce = session.next_nonce.saturating_add(1);
                session.reservations.insert(session.next_nonce, ticket);
                let nonce = session.next_nonce;
                effects.push(Effect::Send(Up::ReserveUses { grant, want, nonce }));
            }
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Open(_) => {
                effects.push(Effect::Uses { ticket, granted: None });
            }
        }
    }

    fn received(
        &mut self,
        message: Down,
        digest: Digest,
        now: Mono,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Fault> {
        let Link::Open(session) = &mut self.link else { return Ok(()) };
        session.heard = now;
        let welcome = matches!(message, Down::Welcome { .. });
        if welcome == session.follows.is_some() {
            return Err(Fault::Protocol("a connection begins with one welcome"));
        }
        match message {
            Down::Welcome { log, epoch } => self.welcomed(log, epoch, effects)?,
            Down::Snapshot(part) => {
                if let Some(whole) =
                    session.parts.snapshot(part, self.settings.max_grants, &mut self.interner)?
                {
                    self.replace(whole, effects)?;
                }
            }
            Down::Delta(part) => {
                if let Some(whole) =
                    session.parts.delta(part, self.settings.max_grants, &mut self.interner)?
                {
                    self.apply(whole, effects)?;
                }
            }
            Down::Pong(pong) => self.pong(pong, digest, now)?,
            Down::TokenKeys(keys) => effects.push(Effect::SetTokenKeys(keys)),
            Down::TrailKept(size) => effects.push(Effect::TrailKept(size)),
            Down::LogCheckpoint(said) => effects.push(Effect::LogSaid(said)),
            Down::UsesReserved { nonce, granted } => {
                if let Some(ticket) = session.reservations.remove(&nonce) {
                    effects.push(Effect::Uses { ticket, granted });
                }
            }
        }
        self.renew(effects);
        Ok(())
    }

    fn welcomed(&mut self, log: LogId, epoch: Epoch, effects: &mut Vec<Effect>) -> Result<(), Fault> {
        if let Some(held) = self.position {
            if held.log != log {
                return Err(Fault::OtherLog { held: held.log, offered: log });
            }
            if epoch < held.epoch {
                return Err(Fault::OldEpoch { held: held.epoch, offered: epoch });
            }
            if epoch > held.epoch {
                self.begin_epoch(log, epoch, effects);
            }
        }
        if let Link::Open(session) = &mut self.link {
            session.follows = Some((log, epoch));
        }
        self.send_acks(effects);
        effects.push(Effect::Follows(log, epoch));
        Ok(())
    }

    /// A backup was restored: what was granted before has ended, whatever the snapshot will say.
    fn begin_epoch(&mut self, log: LogId, epoch: Epoch, effects: &mut Vec<Effect>) {
        self.outbox.new_epoch();
        self.unreadable = Unreadable::default();
        self.resync = true;
        if let Link::Open(session) = &mut self.link {
            session.needs_snapshot = true;
        }
        self.swap(Snapshot { log, epoch, revision: Revision::default(), grants: Vec::new() }, effects);
    }

    fn replace(&mut self, whole: WholeSnapshot, effects: &mut Vec<Effect>) -> Result<(), Fault> {
        let Link::Open(session) = &mut self.link else { return Ok(()) };
        let Some((log, epoch)) = session.follows else { return Ok(()) };
        if let Some(held) = self.position
            && whole.revision < held.revision
        {
            return Err(Fault::Behind { held: held.revision, offered: whole.revision });
        }
        let grants = self.unreadable.sift(whole.grants)?;
        session.needs_snapshot = false;
        self.resync = false;
        self.swap(Snapshot { log, epoch, revision: whole.revision, grants }, effects);
        Ok(())
    }

    fn swap(&mut self, snapshot: Snapshot, effects: &mut Vec<Effect>) {
        let Snapshot { log, epoch, revision, .. } = snapshot;
        self.position = Some(Position { log, epoch, revision });
        let ticket = self.outbox.begin(revision, true);
        effects.push(Effect::Replace(snapshot, ticket));
    }

    fn apply(&mut self, whole: WholeDelta, effects: &mut Vec<Effect>) -> Result<(), Fault> {
        let Link::Open(session) = &self.link else { return Ok(()) };
        let held = self.position.map_or(Revision::default(), |position| position.revision);
        if session.needs_snapshot || held != whole.after {
            return Err(Fault::Gap { held, after: whole.after });
        }
        let delta = self.unreadable.sift_delta(whole)?;
        if let Some(position) = &mut self.position {
            position.revision = delta.revision;
        }
        let ends = delta.changes.iter().any(|change| matches!(change, Change::Ended { .. }));
        let ticket = self.outbox.begin(delta.revision, ends);
        effects.push(Effect::Apply(delta, ticket));
        Ok(())
    }

    fn pong(&mut self, pong: Pong, digest: Digest, now: Mono) -> Result<(), Fault> {
        let Link::Open(session) = &mut self.link else { return Ok(()) };
        if let Some(held) = self.position {
            if pong.head < held.revision {
                return Err(Fault::Behind { held: held.revision, offered: pong.head });
            }
            let comparable = pong.digest_revision == held.revision && !session.needs_snapshot;
            if comparable && digest.and(self.unreadable.digest()) != pong.digest {
                return Err(Fault::Diverged(held.revision));
            }
        }
        self.lease = pong.lease;
        session.next_ping = session.next_ping.min(now.plus(ping_every(pong.lease)));
        session.leases.answer(&pong, now);
        self.outbox.confirmed(pong.n);
        Ok(())
    }

    /// Takes up the lease that the table's revision is entitled to now.
    fn renew(&mut self, effects: &mut Vec<Effect>) {
        let Link::Open(session) = &mut self.link else { return };
        let Some(position) = self.position.filter(|_| !session.needs_snapshot) else { return };
        if let Some(granted) = session.leases.take(position.revision) {
            self.dialer.succeeded();
            let (control_time, asked, until) = (granted.control_time, granted.asked, granted.until);
            effects.push(Effect::SetLease { control_time, asked, until });
        }
    }
}

impl<R: LeaseRule> Session<R> {
    fn new(now: Mono, needs_snapshot: bool) -> Self {
        Self {
            follows: None,
            heard: now,
            next_ping: now,
            leases: Leases::new(),
            parts: Parts::None,
            needs_snapshot,
            next_nonce: 0,
            reservations: HashMap::new(),
        }
    }

    /// Talked to, but never answered: somewhere between us and the log something hangs. A long snapshot is no such thing.
    fn is_starved(&self, now: Mono, lease: LeaseLength) -> bool {
        self.parts.is_none() && self.leases.oldest().is_some_and(|asked| now >= asked.plus(lease.get()))
    }
}
