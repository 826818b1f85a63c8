//! A proxy process of the world: the real replica and lease; a plain set in place of the table, a list in place of the streams.

use crate::control::SERVED;
use crate::network::{Due, Link};
use crate::world::{DRIFT, LEASE, MS, SECOND, World};
use jitgate::access::Lease;
use jitgate::model::{Change, Delta, Digest, Grant, GrantId, Revision, Time};
use jitgate::runtime::clock::Mono;
use jitgate::sync::{CutTicket, Effect, Input, LeaseRule, Replica, Settings, Snapshot};
use jitgate::wire::generated as raw;
use jitgate::wire::message::{Ack, Down, GrantUsage, Up};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

pub(crate) struct Proxy<R: LeaseRule> {
    pub(crate) name: usize,
    pub(crate) alive: bool,
    /// Another process of its name has been started since.
    pub(crate) superseded: bool,
    pub(crate) paused_until: u64,
    pub(crate) replica: Replica<R>,
    pub(crate) lease: Lease,
    pub(crate) table: BTreeMap<GrantId, Arc<Grant>>,
    pub(crate) revision: Revision,
    pub(crate) streams: Vec<Stream>,
    cuts: Vec<Option<Cut>>,
    link: Option<usize>,
    attempt: usize,
    mono_base: u64,
    /// Nanoseconds that its clock gains in each second; may be negative.
    gain: i64,
}

/// Something that was admitted and is not gone yet.
pub(crate) struct Stream {
    pub(crate) grant: GrantId,
    pub(crate) expires_at: Time,
    pub(crate) cut: Option<usize>,
}

struct Cut {
    ticket: CutTicket,
    streams: u64,
}

impl<R: LeaseRule> Proxy<R> {
    /// What its clock shows at a true time.
    pub(crate) fn mono(&self, now: u64) -> Mono {
        let gained = (i128::from(now) * i128::from(self.gain) / i128::from(SECOND)) as i64;
        Mono::from_nanos((self.mono_base + now).saturating_add_signed(gained))
    }

    /// The first true time at which its clock shows at least this.
    fn when(&self, mono: Mono, now: u64) -> u64 {
        let wait = mono.since(self.mono(now)).as_nanos() as u64;
        now + wait + wait / 100 + 1
    }

    /// Whether it would let a request through under a grant now.
    pub(crate) fn admits(&self, grant: &Grant, now: u64) -> bool {
        self.lease.now(self.mono(now)).is_ok_and(|time| grant.covers(time))
    }

    /// Whether a frame of a stream would be handed on now.
    pub(crate) fn passes(&self, stream: &Stream, now: u64) -> bool {
        stream.cut.is_none() && self.lease.now(self.mono(now)).is_ok_and(|time| time < stream.expires_at)
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.table.values().for_each(|grant| digest.add(grant.id, grant.revision));
        digest
    }

    pub(crate) fn is_running(&self, now: u64) -> bool {
        self.alive && self.paused_until <= now
    }
}

impl<R: LeaseRule> World<R> {
    pub(crate) fn start_proxy(&mut self, name: usize) {
        let index = self.proxies.len();
        let instance = self.random.next();
        for proxy in self.proxies.iter_mut().filter(|proxy| proxy.name == name) {
            proxy.superseded = true;
        }
        let half_drift_in_a_lease = DRIFT.as_nanos() as i64 / 2;
        let most = half_drift_in_a_lease / LEASE.as_secs() as i64;
        let gain = self.random.range(0, 2 * most as u64) as i64 - most;
        self.proxies.push(Proxy {
            name,
            alive: true,
            superseded: false,
            paused_until: 0,
            replica: Replica::new(Settings {
                endpoints: NonZeroUsize::new(2).unwrap(),
                version: "simulated".into(),
                max_grants: 10_000,
                instance,
            }),
            lease: Lease::default(),
            table: BTreeMap::new(),
            revision: Revision::default(),
            streams: Vec::new(),
            cuts: Vec::new(),
            link: None,
            attempt: 0,
            mono_base: self.random.range(SECOND, 1_000_000 * SECOND),
            gain,
        });
        self.note(|| format!("proxy {index} starts as name {name}"));
        self.at(self.now, Due::Tick(index));
    }

    pub(crate) fn proxy_crashes(&mut self, index: usize) {
        let proxy = &mut self.proxies[index];
        if !proxy.alive {
            return;
        }
        proxy.alive = false;
        proxy.streams.clear();
        if let Some(link) = proxy.link.take() {
            self.links[link].proxy_side = false;
            self.break_link(link);
        }
        self.note(|| format!("proxy {index} crashes"));
    }

    pub(crate) fn input(&mut self, index: usize, input: Input) {
        let now = self.now;
        let proxy = &mut self.proxies[index];
        if !proxy.alive {
            return;
        }
        let mut effects = Vec::new();
        proxy.replica.handle(input, proxy.mono(now), &mut effects);
        let mut refused = None;
        for effect in effects {
            // After a refusal, what came after it is dropped.
            if refused.is_none() {
                refused = self.effect(index, effect);
            }
        }
        let proxy = &self.proxies[index];
        let wake = proxy.when(proxy.replica.next_wake(), now);
        self.at(wake, Due::Tick(index));
        if let Some(ticket) = refused {
            self.input(index, Input::TableRefused(ticket));
        }
    }

    fn effect(&mut self, index: usize, effect: Effect) -> Option<CutTicket> {
        match effect {
            Effect::Connect { endpoint } => self.connect(index, endpoint),
            Effect::Disconnect(fault) => {
                self.note(|| format!("proxy {index} hangs up: {fault}"));
                self.tally.faults += 1;
                if let Some(link) = self.proxies[index].link.take() {
                    // What it sent is still on its way.
                    self.links[link].proxy_side = false;
                    let at = (self.now + self.random.delay()).max(self.links[link].last_up);
                    self.at(at, Due::ControlNotices(link));
                }
                self.proxies[index].attempt += 1;
            }
            Effect::Send(message) => {
                if let Up::Ack(ack) = &message {
                    self.check_ack(index, *ack);
                }
                if let Some(link) = self.proxies[index].link {
                    self.send_up(link, raw::Up::from(message));
                }
            }
            Effect::Apply(delta, ticket) => return self.apply(index, delta, ticket),
            Effect::Replace(snapshot, ticket) => return self.replace(index, snapshot, ticket),
            Effect::SetLease { control_time, asked, until } => {
                self.note(|| format!("proxy {index} has a lease until {until:?}"));
                self.proxies[index].lease.set(control_time, asked, until);
                // The end of a lease is a moment to look at.
                let proxy = &self.proxies[index];
                let at = proxy.when(until, self.now);
                self.at(at, Due::Look);
            }
            Effect::SetTokenKeys(_) | Effect::TrailKept(_) | Effect::Follows(..) | Effect::LogSaid(_) => {}
            Effect::CollectUsage => {
                let used = self.proxies[index].streams.iter().map(|stream| GrantUsage {
                    grant: stream.grant,
                    requests: 1,
                    bytes: 1,
                    running: 1,
                });
                let used = used.collect();
                self.input(index, Input::Used(used));
            }
            Effect::Uses { ticket: _, granted } => self.tally.uses += granted.unwrap_or(0),
        }
        None
    }

    fn connect(&mut self, index: usize, endpoint: usize) {
        let link = self.links.len();
        let attempt = self.proxies[index].attempt;
        let delay = self.random.delay();
        // One endpoint of the two leads nowhere now and then.
        let reachable = self.control.is_up()
            && self.now >= self.unreachable_until
            && (self.healing || endpoint == 0 || self.random.percent(80));
        if reachable {
            self.links.push(Link {
                proxy: index,
                control_run: self.control.run,
                proxy_side: true,
                control_side: true,
                cut: false,
                last_up: 0,
                last_down: 0,
                stall_down: 0,
                stall_up: 0,
            });
            self.at(self.now + delay, Due::Connected(index, link));
        } else if self.random.percent(70) {
            self.at(self.now + delay, Due::Refused(index, attempt));
        }
    }

    pub(crate) fn connected(&mut self, index: usize, link: usize) {
        let run = self.control.run;
        let wire = &mut self.links[link];
        let alive = wire.control_run == run && !wire.cut && wire.control_side && self.control.is_up();
        if !alive {
            wire.proxy_side = false;
            self.input(index, Input::Disconnected);
            return;
        }
        if self.proxies[index].link.is_some() {
            // It has given this attempt up and made another.
            wire.proxy_side = false;
            self.break_link(link);
            return;
        }
        self.control_accepts(link);
        self.proxies[index].link = Some(link);
        self.note(|| format!("proxy {index} is connected by link {link}"));
        self.input(index, Input::Connected);
    }

    pub(crate) fn refused(&mut self, index: usize, attempt: usize) {
        if self.proxies[index].attempt == attempt && self.proxies[index].link.is_none() {
            self.input(index, Input::Disconnected);
        }
    }

    pub(crate) fn tick(&mut self, index: usize) {
        let proxy = &self.proxies[index];
        if proxy.alive && proxy.mono(self.now) >= proxy.replica.next_wake() {
            self.input(index, Input::Tick);
        }
    }

    pub(crate) fn proxy_notices(&mut self, link: usize) {
        let index = self.links[link].proxy;
        self.links[link].proxy_side = false;
        if self.proxies[index].link == Some(link) {
            self.proxies[index].link = None;
            self.input(index, Input::Disconnected);
        }
    }

    pub(crate) fn proxy_receives(&mut self, link: usize, message: raw::Down) {
        let index = self.links[link].proxy;
        if self.proxies[index].link != Some(link) || !self.links[link].proxy_side {
            return;
        }
        let message = Down::try_from(message).unwrap();
        self.note(|| format!("down {link}: {}", brief(&message)));
        let digest = self.proxies[index].digest();
        self.input(index, Input::Received(message, digest));
    }

    fn apply(&mut self, index: usize, delta: Delta, ticket: CutTicket) -> Option<CutTicket> {
        let proxy = &mut self.proxies[index];
        if delta.revision < proxy.revision {
            return Some(ticket);
        }
        proxy.revision = delta.revision;
        let mut ended = Vec::new();
        for change in delta.changes {
            match change {
                Change::Issued(grant) => {
                    proxy.table.insert(grant.id, grant);
                }
                Change::Ended { grant, .. } => {
                    proxy.table.remove(&grant);
                    ended.push(grant);
                }
            }
        }
        self.cut(index, ticket, |grant| ended.contains(&grant));
        None
    }

    fn replace(&mut self, index: usize, snapshot: Snapshot, ticket: CutTicket) -> Option<CutTicket> {
        assert_eq!((snapshot.log, snapshot.epoch), (SERVED.log, SERVED.epoch));
        let proxy = &mut self.proxies[index];
        if snapshot.revision < proxy.revision {
            return Some(ticket);
        }
        proxy.revision = snapshot.revision;
        proxy.table = snapshot.grants.into_iter().map(|grant| (grant.id, grant)).collect();
        let kept: Vec<GrantId> = proxy.table.keys().copied().collect();
        self.cut(index, ticket, |grant| !kept.contains(&grant));
        None
    }

    /// Cuts streams; they are gone a little later.
    fn cut(&mut self, index: usize, ticket: CutTicket, ends: impl Fn(GrantId) -> bool) {
        let proxy = &mut self.proxies[index];
        let number = proxy.cuts.len();
        let mut streams = 0;
        for stream in proxy.streams.iter_mut().filter(|stream| stream.cut.is_none() && ends(stream.grant)) {
            stream.cut = Some(number);
            streams += 1;
        }
        proxy.cuts.push(Some(Cut { ticket, streams }));
        self.tally.streams_cut += streams;
        let takes = if streams == 0 { 0 } else { self.random.range(0, 250 * MS) };
        self.at(self.now + takes, Due::CutDone(index, number));
    }

    pub(crate) fn cut_done(&mut self, index: usize, number: usize) {
        let proxy = &mut self.proxies[index];
        proxy.streams.retain(|stream| stream.cut != Some(number));
        if let Some(Cut { ticket, streams }) = proxy.cuts[number].take() {
            self.input(index, Input::Cut { ticket, streams_cut: streams });
        }
    }

    /// What a proxy says is gone must be gone at that moment.
    fn check_ack(&mut self, index: usize, ack: Ack) {
        let lingering =
            self.revoked.iter().filter(|revoked| revoked.revision <= ack.revision).find(|revoked| {
                let proxy = &self.proxies[index];
                revoked.grants.iter().any(|grant| {
                    proxy.table.contains_key(grant)
                        || proxy.streams.iter().any(|stream| stream.grant == *grant)
                })
            });
        if let Some(revoked) = lingering {
            let (id, revision) = (revoked.id, ack.revision);
            self.broke(format!("proxy {index} acknowledges {revision} while something of {id} is left"));
        }
    }
}

fn brief(message: &Down) -> String {
    match message {
        Down::Snapshot(part) => format!("snapshot at {} of {}", part.revision, part.grants.len()),
        Down::Delta(part) => format!("delta {}..={} of {}", part.after, part.revision, part.changes.len()),
        Down::Welcome { .. }
        | Down::Pong(_)
        | Down::TokenKeys(_)
        | Down::TrailKept(_)
        | Down::LogCheckpoint(_)
        | Down::UsesReserved { .. } => {
            format!("{message:?}")
        }
    }
}
