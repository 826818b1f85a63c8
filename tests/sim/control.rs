//! The control plane of the world: the real state machine, clock, feed and followers over a log in memory that survives crashes.
//! What `publish::channel` does with I/O is done here step by step.

use crate::network::Due;
use crate::random::Random;
use crate::world::{DRIFT, LEASE, MS, NAMES, SECOND, World};
use jitgate::config::Role;
use jitgate::control::authz::Roles;
use jitgate::control::clock::ControlClock;
use jitgate::control::log::{Identity, Recorded};
use jitgate::control::presence::{Connected, Presence};
use jitgate::control::publish::{Feed, Followers, Follows, Step};
use jitgate::control::receipt::{Leases, Standing, assess};
use jitgate::control::state::{Command, Context, Outcome, Refusal, Rules, State, decide};
use jitgate::model::event::Actor;
use jitgate::model::{Epoch, LogId, ProxyName, Revision, RevocationId, SpiffeId, Time};
use jitgate::runtime::clock::Mono;
use jitgate::sync::LeaseRule;
use jitgate::wire::message::{LeaseLength, Pong, Up};
use jitgate::wire::{chunk, convert};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const SERVED: Identity = Identity { log: LogId([7; 16]), epoch: Epoch(1) };

pub(crate) struct Control {
    log: Vec<Recorded>,
    rules: Rules,
    /// What the machine's clocks show now.
    clocks: Arc<Mutex<(Time, Mono)>>,
    pub(crate) wall_offset: i64,
    mono_base: u64,
    process: Option<Process>,
    pub(crate) run: u64,
    pub(crate) paused_until: u64,
    commands: u64,
}

/// What is lost in a crash.
struct Process {
    state: State,
    clock: ControlClock,
    followers: Followers,
    presence: Presence,
    started: (Time, Mono),
    channels: BTreeMap<usize, Channel>,
}

#[derive(Default)]
struct Channel {
    /// Until when what this control plane has read of the log lags behind the log: as with several replicas on one database.
    lags_until: u64,
    open: Option<(Follows, Feed, Connected)>,
}

pub(crate) fn operator() -> SpiffeId {
    "spiffe://d/operator".parse().unwrap()
}

fn proxy_identity(name: usize) -> SpiffeId {
    format!("spiffe://d/proxy/{}", NAMES[name]).parse().unwrap()
}

pub(crate) fn proxy_name(name: usize) -> ProxyName {
    NAMES[name].parse().unwrap()
}

impl Control {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut roles = vec![(operator(), vec![Role::Admin, Role::Security])];
        roles.extend((0..NAMES.len()).map(|name| (proxy_identity(name), vec![Role::Proxy])));
        Self {
            log: Vec::new(),
            rules: Rules::new(std::time::Duration::from_secs(3600), Roles::new(roles, [])),
            clocks: Arc::default(),
            wall_offset: 1_700_000_000_000_000,
            mono_base: random.range(0, 1_000_000 * SECOND),
            process: None,
            run: 0,
            paused_until: 0,
            commands: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn state(&self) -> Option<&State> {
        self.process.as_ref().map(|process| &process.state)
    }

    /// Whether the receipt of a revocation would say that it is effective everywhere.
    pub(crate) fn says_effective(&self, id: RevocationId) -> bool {
        let Some(process) = &self.process else { return false };
        let Some(revocation) = process.state.revocation(id) else { return false };
        let leases = Leases {
            now: process.clock.mono(),
            started: process.started.1,
            longest: process.state.longest_lease(),
            drift: DRIFT,
        };
        process.state.proxies().iter().all(|proxy| {
            match assess(revocation, proxy, process.presence.of(proxy.0), leases) {
                None | Some(Standing::Confirmed { .. } | Standing::Lapsed) => true,
                Some(Standing::Pending) => false,
            }
        })
    }

    pub(crate) fn head(&self) -> Revision {
        Revision(self.log.len() as u64)
    }

    pub(crate) fn set_clocks(&self, now: u64) {
        let wall = Time::from_micros((now / 1_000) as i64 + self.wall_offset);
        *self.clocks.lock() = (wall, Mono::from_nanos(self.mono_base + now));
    }
}

impl<R: LeaseRule> World<R> {
    pub(crate) fn control_starts(&mut self) {
        if self.control.is_up() {
            return;
        }
        let now = self.now;
        self.control.set_clocks(now);
        let source = Arc::clone(&self.control.clocks);
        let clock = ControlClock::new(Arc::new(move || *source.lock()));
        let mut state = State::default();
        for recorded in &self.control.log {
            state.apply(recorded.revision, &recorded.event).unwrap();
        }
        clock.observe(state.time());
        let started = (clock.now(), clock.mono());
        let (followers, presence, channels) = (Followers::default(), Presence::default(), BTreeMap::new());
        self.control.process = Some(Process { state, clock, followers, presence, started, channels });
        self.control.run += 1;
        self.note(|| "the control plane starts".into());
        self.submit(Actor::System, Command::RaiseLease { lease: LEASE }).unwrap();
    }

    pub(crate) fn control_crashes(&mut self) {
        if self.control.process.take().is_none() {
            return;
        }
        self.tally.control_restarts += 1;
        self.note(|| "the control plane crashes".into());
        for link in 0..self.links.len() {
            self.links[link].control_side = false;
            self.break_link(link);
        }
        let after = self.random.range(10 * MS, 20 * SECOND);
        self.at(self.now + after, Due::ControlStarts);
    }

    /// Decides, appends, applies, answers, and lets all channels know.
    pub(crate) fn submit(&mut self, actor: Actor, command: Command) -> Result<Outcome, Refusal> {
        let now = self.now;
        self.control.set_clocks(now);
        let Some(process) = &mut self.control.process else { return Err(Refusal::Stopping) };
        self.control.commands += 1;
        let seed = self.control.commands;
        let mut n = 0_u64;
        let mut random = move || {
            n += 1;
            let mut bytes = [0; 10];
            bytes[..8].copy_from_slice(&Random::new(seed * 1_000 + n).next().to_be_bytes());
            bytes
        };
        let mut context =
            Context { now: process.clock.now(), rules: &self.control.rules, random: &mut random };
        let decision = decide(&process.state, &actor, &command, &mut context)?;
        for event in decision.events {
            let revision = process.state.revision().next();
            process.state.apply(revision, &event).unwrap();
            process.clock.observe(event.time);
            self.control.log.push(Recorded { revision, event: Arc::new(event) });
        }
        self.pump_all();
        Ok(decision.outcome)
    }

    fn pump_all(&mut self) {
        let links: Vec<usize> =
            self.control.process.iter().flat_map(|process| process.channels.keys().copied()).collect();
        links.into_iter().for_each(|link| self.pump(link));
    }

    /// From now on a proxy is sent nothing for a while, although its pings are answered.
    pub(crate) fn feed_lags(&mut self, link: usize, until: u64) {
        if let Some(process) = &mut self.control.process
            && let Some(channel) = process.channels.get_mut(&link)
        {
            channel.lags_until = until;
            self.at(until, Due::Pump(link));
        }
    }

    pub(crate) fn pump(&mut self, link: usize) {
        loop {
            let head = self.control.head();
            let now = self.now;
            let Some(process) = &mut self.control.process else { return };
            let Some(channel) = process.channels.get_mut(&link) else { return };
            if channel.lags_until > now {
                return;
            }
            let Some((_, feed, _)) = &mut channel.open else { return };
            let messages: Vec<_> = match feed.step(head) {
                Step::Wait => return,
                Step::Snapshot => {
                    feed.snapshot(head);
                    self.tally.snapshots += 1;
                    chunk::snapshot(head, process.state.live().map(|live| live.grant.clone())).collect()
                }
                Step::Read { after, limit } => {
                    let from = after.0 as usize;
                    let to = (from + limit).min(self.control.log.len());
                    let deltas = feed.page(&self.control.log[from..to]).unwrap();
                    self.tally.deltas += deltas.len() as u64;
                    deltas.into_iter().flat_map(|(after, delta)| chunk::delta(after, delta)).collect()
                }
            };
            messages.into_iter().for_each(|message| self.send_down(link, message));
        }
    }

    pub(crate) fn control_accepts(&mut self, link: usize) {
        if let Some(process) = &mut self.control.process {
            process.channels.insert(link, Channel::default());
        }
    }

    pub(crate) fn control_notices(&mut self, link: usize) {
        if self.links[link].control_run == self.control.run
            && let Some(process) = &mut self.control.process
        {
            process.channels.remove(&link);
        }
        self.links[link].control_side = false;
    }

    fn control_closes(&mut self, link: usize) {
        self.note(|| format!("the control plane closes link {link}"));
        self.control_notices(link);
        let after = self.random.delay();
        let at = (self.now + after).max(self.links[link].last_down);
        self.at(at, Due::ProxyNotices(link));
    }

    pub(crate) fn control_receives(&mut self, link: usize, message: jitgate::wire::generated::Up) {
        let wire = &self.links[link];
        if !wire.control_side || wire.control_run != self.control.run || !self.control.is_up() {
            return;
        }
        self.control.set_clocks(self.now);
        let message = Up::try_from(message).unwrap();
        self.note(|| format!("up {link}: {message:?}"));
        if self.answer(link, message).is_none() {
            self.control_closes(link);
        }
        // Whoever was replaced is let go.
        let replaced: Vec<usize> = self
            .control
            .process
            .iter()
            .flat_map(|process| &process.channels)
            .filter(|(_, channel)| {
                channel.open.as_ref().is_some_and(|(follows, ..)| follows.replaced().is_cancelled())
            })
            .map(|(link, _)| *link)
            .collect();
        replaced.into_iter().for_each(|link| self.control_closes(link));
    }

    /// `None`: the stream ends.
    fn answer(&mut self, link: usize, message: Up) -> Option<()> {
        let name = self.proxies[self.links[link].proxy].name;
        let actor = Actor::Identity(proxy_identity(name));
        match message {
            Up::Hello(hello) => {
                self.submit(actor, Command::Join { proxy: proxy_name(name) }).unwrap();
                let head = self.control.head();
                let process = self.control.process.as_mut()?;
                let known = &process.state.proxies()[&proxy_name(name)];
                let unknown_until = if known.joined_at < process.started.0 {
                    process.started.1.plus(process.state.longest_lease()).plus(DRIFT)
                } else {
                    Mono::default()
                };
                let follows = process
                    .followers
                    .enter(&proxy_name(name), hello.instance, unknown_until, process.clock.mono())
                    .ok()?;
                let connected = process.presence.connected(proxy_name(name), process.clock.now());
                let feed = Feed::begin(&hello, SERVED, head).expect("one log, one epoch, nothing lost");
                process
                    .channels
                    .insert(link, Channel { lags_until: 0, open: Some((follows, feed, connected)) });
                self.send_down(link, convert::welcome(SERVED.log, SERVED.epoch));
                self.pump(link);
            }
            Up::Ping { n, .. } => self.pong(link, n)?,
            Up::Ack(ack) => {
                self.follows(link)?.hear(ack).ok()?;
                self.look_at_held(link);
            }
            // Audit trails are no part of this.
            Up::Usage(_) | Up::Checkpoint(_) | Up::LogKept(_) => {}
            Up::ReserveUses { grant, want, nonce } => {
                let command = Command::ReserveUses { proxy: proxy_name(name), grant, want };
                let outcome = self.submit(actor, command);
                let Ok(Outcome::Reserved { uses }) = outcome else { panic!("{outcome:?}") };
                let granted = Some(uses);
                self.send_down(link, convert::uses_reserved(nonce, granted));
            }
        }
        Some(())
    }

    fn follows(&mut self, link: usize) -> Option<&Follows> {
        let channel = self.control.process.as_ref()?.channels.get(&link)?;
        channel.open.as_ref().map(|(follows, ..)| follows)
    }

    fn pong(&mut self, link: usize, n: u64) -> Option<()> {
        let process = self.control.process.as_ref()?;
        let lease = LeaseLength::try_from(LEASE).unwrap();
        let control_time = process.clock.now();
        let until = process.clock.mono().plus(LEASE);
        let (follows, _, connected) = process.channels.get(&link)?.open.as_ref()?;
        follows.lease(until.plus(DRIFT)).ok()?;
        connected.leased(until, control_time);
        self.pump(link);
        let head = self.control.head();
        let process = self.control.process.as_ref()?;
        let (digest_revision, digest) = (process.state.revision(), process.state.digest());
        let needed = process.state.taken_away();
        self.offsets.push_back((self.now, control_time.as_micros() - (self.now / 1_000) as i64));
        self.send_down(
            link,
            convert::pong(Pong { n, head, needed, control_time, lease, digest_revision, digest }),
        );
        Some(())
    }

    /// Logs what was acknowledged, as soon as it holds for the name.
    pub(crate) fn look_at_held(&mut self, link: usize) {
        self.control.set_clocks(self.now);
        let name = self.proxies[self.links[link].proxy].name;
        let now = Mono::from_nanos(self.control.mono_base + self.now);
        if self.links[link].control_run != self.control.run {
            return;
        }
        let Some(heard) = self.follows(link).and_then(|follows| follows.heard(now).ok()) else { return };
        let Some((ack, wait)) = heard else { return };
        if !wait.is_zero() {
            let at = self.now + wait.as_nanos() as u64 + 1;
            self.at(at, Due::Held(link));
            return;
        }
        let (proxy, revision, streams_cut) = (proxy_name(name), ack.revision, ack.streams_cut);
        let command = Command::Acknowledge { proxy, revision, streams_cut };
        self.submit(Actor::Identity(proxy_identity(name)), command).unwrap();
        if let Some(follows) = self.follows(link) {
            let _ = follows.settled(ack);
        }
        self.check_receipts(name);
    }
}
