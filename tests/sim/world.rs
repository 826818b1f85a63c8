//! The world: true time, what is due when, and the run from chaos to healing.

use crate::control::Control;
use crate::network::{Due, Link};
use crate::proxy::Proxy;
use crate::random::Random;
use jitgate::model::{GrantId, Revision, RevocationId};
use jitgate::sync::LeaseRule;
use jitgate::wire::generated as raw;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// The lease that the control plane hands out.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// The drift that is stated; clocks run apart by at most half of it in a lease.
pub(crate) const DRIFT: Duration = Duration::from_millis(200);
/// How long the world misbehaves.
const CHAOS: u64 = 90 * SECOND;
/// How long it may take to settle afterwards: a hold-back of a lease, a round of back-off, a ping.
const HEALING: u64 = 60 * SECOND;
/// The names of the proxies.
pub(crate) const NAMES: [&str; 2] = ["edge-0", "edge-1"];

/// A revocation, as the one who asked for it knows it.
pub(crate) struct Revoked {
    pub(crate) id: RevocationId,
    pub(crate) revision: Revision,
    pub(crate) grants: Vec<GrantId>,
    /// True time of acceptance.
    pub(crate) at: u64,
}

/// What was seen in a run, so that a simulation that does nothing fails.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) admitted: u64,
    pub(crate) revoked: u64,
    pub(crate) confirmed: u64,
    pub(crate) streams_cut: u64,
    pub(crate) snapshots: u64,
    pub(crate) deltas: u64,
    pub(crate) faults: u64,
    pub(crate) control_restarts: u64,
    pub(crate) proxy_restarts: u64,
    pub(crate) zombies: u64,
    pub(crate) diverged: u64,
    pub(crate) uses: u64,
    pub(crate) stale: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, its) in [
            (&mut self.admitted, other.admitted),
            (&mut self.revoked, other.revoked),
            (&mut self.confirmed, other.confirmed),
            (&mut self.streams_cut, other.streams_cut),
            (&mut self.snapshots, other.snapshots),
            (&mut self.deltas, other.deltas),
            (&mut self.faults, other.faults),
            (&mut self.control_restarts, other.control_restarts),
            (&mut self.proxy_restarts, other.proxy_restarts),
            (&mut self.zombies, other.zombies),
            (&mut self.diverged, other.diverged),
            (&mut self.uses, other.uses),
            (&mut self.stale, other.stale),
        ] {
            *mine += its;
        }
    }

    pub(crate) fn assert_covers_everything(&self) {
        let none = Self::default();
        for (seen, not) in [
            (self.admitted, none.admitted),
            (self.revoked, none.revoked),
            (self.confirmed, none.confirmed),
            (self.streams_cut, none.streams_cut),
            (self.snapshots, none.snapshots),
            (self.deltas, none.deltas),
            (self.faults, none.faults),
            (self.control_restarts, none.control_restarts),
            (self.proxy_restarts, none.proxy_restarts),
            (self.zombies, none.zombies),
            (self.diverged, none.diverged),
            (self.uses, none.uses),
            (self.stale, none.stale),
        ] {
            assert_ne!(seen, not, "the simulation never came to this: {self:?}");
        }
    }
}

pub(crate) struct World<R: LeaseRule> {
    pub(crate) now: u64,
    pub(crate) random: Random,
    due: BTreeMap<(u64, u64), Due>,
    order: u64,
    pub(crate) control: Control,
    pub(crate) proxies: Vec<Proxy<R>>,
    pub(crate) links: Vec<Link>,
    pub(crate) revoked: Vec<Revoked>,
    /// Control time minus true time, as handed out in pongs: (true time, microseconds).
    pub(crate) offsets: VecDeque<(u64, i64)>,
    /// Which of `revoked` a grant ended by.
    pub(crate) revoked_grants: BTreeMap<GrantId, usize>,
    /// Until when nobody can connect.
    pub(crate) unreachable_until: u64,
    pub(crate) healing: bool,
    pub(crate) tally: Tally,
    pub(crate) broken: Option<String>,
    steps: VecDeque<String>,
    verbose: bool,
}

impl<R: LeaseRule> World<R> {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let control = Control::new(&mut random);
        let mut world = Self {
            now: SECOND,
            random,
            due: BTreeMap::new(),
            order: 0,
            control,
            proxies: Vec::new(),
            links: Vec::new(),
            revoked: Vec::new(),
            offsets: VecDeque::new(),
            revoked_grants: BTreeMap::new(),
            unreachable_until: 0,
            healing: false,
            tally: Tally::default(),
            broken: None,
            steps: VecDeque::new(),
            verbose: std::env::var_os("JITGATE_SIM_SEED").is_some(),
        };
        world.control_starts();
        for name in 0..NAMES.len() {
            world.start_proxy(name);
        }
        world.at(world.now, Due::Act);
        world
    }

    /// Runs to the end, or to the first broken invariant.
    pub(crate) fn run(mut self) -> crate::Outcome {
        let chaos_ends = self.now + CHAOS;
        let end = chaos_ends + HEALING;
        while let Some(((at, _), due)) = self.due.pop_first() {
            if at > end {
                break;
            }
            if at > chaos_ends && !self.healing {
                self.now = chaos_ends;
                self.heal();
            }
            self.now = self.now.max(at);
            self.step(due);
            self.check();
            if let Some(broken) = self.broken.take() {
                return Err(self.report(&broken));
            }
        }
        self.now = end;
        match self.unsettled() {
            Some(broken) => Err(self.report(&broken)),
            None => Ok(self.tally),
        }
    }

    fn report(&self, broken: &str) -> String {
        let steps: Vec<_> = self.steps.iter().map(String::as_str).collect();
        format!("{broken}\nthe last steps:\n{}", steps.join("\n"))
    }

    pub(crate) fn at(&mut self, at: u64, due: Due) {
        self.order += 1;
        self.due.insert((at, self.order), due);
    }

    pub(crate) fn note(&mut self, step: impl FnOnce() -> String) {
        if !self.verbose {
            return;
        }
        let line = format!("{:>9.3}s {}", self.now as f64 / SECOND as f64, step());
        if self.steps.len() >= 4_000 {
            self.steps.pop_front();
        }
        self.steps.push_back(line);
    }

    pub(crate) fn broke(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    fn step(&mut self, due: Due) {
        match self.paused_until(&due) {
            Some(until) if until > self.now => self.at(until, due),
            Some(_) | None => self.perform(due),
        }
    }

    /// A paused process does nothing; what is for it waits, in order.
    fn paused_until(&self, due: &Due) -> Option<u64> {
        match due {
            Due::Tick(proxy) | Due::Connected(proxy, _) | Due::Refused(proxy, _) | Due::CutDone(proxy, _) => {
                Some(self.proxies[*proxy].paused_until)
            }
            Due::Down(link, _) | Due::ProxyNotices(link) => {
                Some(self.proxies[self.links[*link].proxy].paused_until)
            }
            Due::Up(..) | Due::ControlNotices(_) | Due::Held(_) | Due::Pump(_) => {
                Some(self.control.paused_until)
            }
            Due::Act | Due::ControlStarts | Due::ProxyStarts(_) | Due::Look => None,
        }
    }

    fn perform(&mut self, due: Due) {
        match due {
            Due::Tick(proxy) => self.tick(proxy),
            Due::Connected(proxy, link) => self.connected(proxy, link),
            Due::Refused(proxy, attempt) => self.refused(proxy, attempt),
            Due::Up(link, message) => self.control_receives(link, *message),
            Due::Down(link, message) => self.proxy_receives(link, *message),
            Due::ProxyNotices(link) => self.proxy_notices(link),
            Due::ControlNotices(link) => self.control_notices(link),
            Due::CutDone(proxy, cut) => self.cut_done(proxy, cut),
            Due::Held(link) => self.look_at_held(link),
            Due::Pump(link) => self.pump(link),
            Due::Act => self.act(),
            Due::ControlStarts => self.control_starts(),
            Due::ProxyStarts(name) => self.start_proxy(name),
            Due::Look => {}
        }
    }

    pub(crate) fn send_up(&mut self, link: usize, message: raw::Up) {
        let delay = self.delay();
        let wire = &mut self.links[link];
        if wire.cut {
            return;
        }
        let at = (self.now + delay).max(wire.last_up).max(wire.stall_up);
        wire.last_up = at;
        self.at(at, Due::Up(link, Box::new(message)));
    }

    pub(crate) fn send_down(&mut self, link: usize, message: raw::Down) {
        let delay = self.delay();
        let wire = &mut self.links[link];
        if wire.cut {
            return;
        }
        let at = (self.now + delay).max(wire.last_down).max(wire.stall_down);
        wire.last_down = at;
        self.at(at, Due::Down(link, Box::new(message)));
    }

    fn delay(&mut self) -> u64 {
        if self.healing { self.random.range(MS / 10, 20 * MS) } else { self.random.delay() }
    }

    /// The connection is gone; each side learns it in its own time, and half of the time what is on its way is lost.
    pub(crate) fn break_link(&mut self, link: usize) {
        if self.links[link].cut {
            return;
        }
        self.links[link].cut = true;
        for due in [Due::ProxyNotices(link), Due::ControlNotices(link)] {
            let after =
                if self.random.percent(50) { self.delay() } else { self.random.range(0, 40 * SECOND) };
            self.at(self.now + after, due);
        }
        self.note(|| format!("link {link} breaks"));
    }

    fn heal(&mut self) {
        self.healing = true;
        self.unreachable_until = 0;
        self.control.paused_until = self.now;
        if !self.control.is_up() {
            self.control_starts();
        }
        for proxy in &mut self.proxies {
            proxy.paused_until = self.now;
        }
        for link in 0..self.links.len() {
            let wire = &mut self.links[link];
            wire.stall_down = 0;
            wire.stall_up = 0;
        }
        for name in 0..NAMES.len() {
            if !self.proxies.iter().any(|proxy| proxy.alive && proxy.name == name) {
                self.start_proxy(name);
            }
        }
        self.note(|| "the world heals".into());
    }
}
