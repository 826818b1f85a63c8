//! What happens to the world: the work of operators and callers, and every kind of trouble.

use crate::control::operator;
use crate::network::Due;
use crate::world::{DRIFT, LEASE, MS, NAMES, Revoked, SECOND, World};
use jitgate::control::state::{Command, GrantSpec, Outcome};
use jitgate::model::event::{Actor, Everything, Selector};
use jitgate::model::grant::Limits;
use jitgate::model::{GrantId, Scope, Ttl};
use jitgate::sync::{Input, LeaseRule};
use std::num::NonZeroU64;
use std::time::Duration;

/// Uses that a limited grant has.
pub(crate) const MAX_USES: u64 = 10;

impl<R: LeaseRule> World<R> {
    pub(crate) fn act(&mut self) {
        let next = self.random.range(5 * MS, if self.healing { 4 * SECOND } else { 1_500 * MS });
        self.at(self.now + next, Due::Act);
        let wanted = self.random.range(0, if self.healing { 60 } else { 100 });
        match wanted {
            0..15 => self.grant(),
            15..25 => self.revoke(),
            25..50 => self.open_stream(),
            50..54 => {
                let _ = self.submit(Actor::System, Command::Expire);
            }
            54..60 => self.want_uses(),
            60..66 => {
                if let Some(link) = self.some_link() {
                    self.break_link(link);
                }
            }
            66..73 => self.stall(),
            73..76 => self.lag(),
            76..80 => self.unreachable_until = self.now + self.random.range(SECOND, 25 * SECOND),
            80..85 => self.pause_proxy(),
            85..87 => self.control.paused_until = self.now + self.random.range(MS, 12 * SECOND),
            87..90 => self.control_crashes(),
            90..93 => self.restart_proxy(),
            93..94 => self.zombie(),
            94..96 => self.diverge(),
            _ => self.jump(),
        }
    }

    fn grant(&mut self) {
        let scope: Scope = serde_json::from_str(
            r#"[{"type":"http","locations":["orders"],"actions":["GET"],"paths":["/**"]}]"#,
        )
        .unwrap();
        let agent = self.random.range(0, 3);
        let limited = self.random.percent(20).then(|| NonZeroU64::new(MAX_USES).unwrap());
        let ttl = if self.random.percent(50) { self.random.range(1, 20) } else { 1_000 };
        let spec = GrantSpec {
            principal: format!("spiffe://d/agent/{agent}").parse().unwrap(),
            task: format!("T-{}", self.random.range(0, 4)).parse().unwrap(),
            scope,
            ttl: Ttl::new(Duration::from_secs(ttl)).unwrap(),
            not_before: None,
            conditions: Default::default(),
            limits: Limits { max_uses: limited, ..Limits::default() },
            recording: Default::default(),
            reason: "simulated".into(),
        };
        let _ = self.submit(Actor::Identity(operator()), Command::Grant([spec].into()));
    }

    fn live(&self) -> Vec<GrantId> {
        self.control.state().into_iter().flat_map(|state| state.live().map(|live| live.grant.id)).collect()
    }

    fn revoke(&mut self) {
        if self.now < self.control.paused_until {
            return;
        }
        let live = self.live();
        let selector = match self.random.range(0, 10) {
            0 => Selector::All(Everything),
            1..4 => Selector::Task(format!("T-{}", self.random.range(0, 4)).parse().unwrap()),
            _ => match self.random.pick(&live) {
                Some(grant) => Selector::Grant(*grant),
                None => return,
            },
        };
        let command = Command::Revoke { selector, reason: "simulated".into() };
        let Ok(Outcome::Revoked { revocation, revision }) = self.submit(Actor::Identity(operator()), command)
        else {
            return;
        };
        let grants = self.control.state().unwrap().revocation(revocation).unwrap().grants.clone();
        self.note(|| format!("{revocation} at {revision} revokes {grants:?}"));
        self.tally.revoked += 1;
        for grant in &grants {
            self.revoked_grants.entry(*grant).or_insert(self.revoked.len());
        }
        self.revoked.push(Revoked { id: revocation, revision, grants, at: self.now });
        let bound = self.now + (LEASE + DRIFT).as_nanos() as u64;
        self.at(bound + 1, Due::Look);
    }

    fn running(&mut self) -> Option<usize> {
        let running: Vec<usize> =
            (0..self.proxies.len()).filter(|index| self.proxies[*index].is_running(self.now)).collect();
        self.random.pick(&running).copied()
    }

    fn open_stream(&mut self) {
        let Some(index) = self.running() else { return };
        let proxy = &self.proxies[index];
        let grants: Vec<GrantId> = proxy
            .table
            .values()
            .filter(|grant| proxy.admits(grant, self.now))
            .map(|grant| grant.id)
            .collect();
        let Some(grant) = self.random.pick(&grants).copied() else {
            if proxy.lease.check(proxy.mono(self.now)).is_err() {
                self.tally.stale += 1;
            }
            return;
        };
        let expires_at = proxy.table[&grant].expires_at;
        self.tally.admitted += 1;
        self.note(|| format!("proxy {index} admits a stream under {grant}"));
        self.proxies[index].streams.push(crate::proxy::Stream { grant, expires_at, cut: None });
    }

    fn want_uses(&mut self) {
        let Some(index) = self.running() else { return };
        let limited: Vec<GrantId> = self.proxies[index]
            .table
            .values()
            .filter(|grant| grant.limits.max_uses.is_some())
            .map(|grant| grant.id)
            .collect();
        if let Some(grant) = self.random.pick(&limited).copied() {
            let want = self.random.range(1, 4);
            self.input(index, Input::WantUses { ticket: 1, grant, want });
        }
    }

    fn some_link(&mut self) -> Option<usize> {
        let open: Vec<usize> = (0..self.links.len()).filter(|link| !self.links[*link].cut).collect();
        self.random.pick(&open).copied()
    }

    /// Holds a direction up, or both; now and then the connection is dead for good and nobody says so.
    fn stall(&mut self) {
        let Some(link) = self.some_link() else { return };
        let until = self.now + self.random.range(100 * MS, 30 * SECOND);
        let which = self.random.range(0, 3);
        let wire = &mut self.links[link];
        if which != 0 {
            wire.stall_down = until;
        }
        if which != 1 {
            wire.stall_up = until;
        }
        self.note(|| format!("link {link} stalls ({which}) until {:.3}", until as f64 / SECOND as f64));
    }

    fn lag(&mut self) {
        let Some(link) = self.some_link() else { return };
        let until = self.now + self.random.range(SECOND, 30 * SECOND);
        self.note(|| format!("the feed of link {link} lags"));
        self.feed_lags(link, until);
    }

    fn pause_proxy(&mut self) {
        let Some(index) = self.running() else { return };
        let until = self.now + self.random.range(MS, 30 * SECOND);
        self.proxies[index].paused_until = until;
        self.note(|| format!("proxy {index} pauses until {:.3}", until as f64 / SECOND as f64));
        self.at(until, Due::Look);
    }

    fn restart_proxy(&mut self) {
        let Some(index) = self.running() else { return };
        let name = self.proxies[index].name;
        self.proxy_crashes(index);
        self.tally.proxy_restarts += 1;
        let others = self.proxies.iter().any(|proxy| proxy.alive && proxy.name == name);
        if !others {
            let after = self.random.range(MS, 10 * SECOND);
            self.at(self.now + after, Due::ProxyStarts(name));
        }
    }

    /// A second process with the same identity, while the first still runs.
    fn zombie(&mut self) {
        let name = self.random.range(0, NAMES.len() as u64) as usize;
        if self.proxies.iter().filter(|proxy| proxy.alive && proxy.name == name).count() == 1 {
            self.tally.zombies += 1;
            self.start_proxy(name);
        }
    }

    /// A grant vanishes from a table, as by a defect or a flipped bit.
    fn diverge(&mut self) {
        let Some(index) = self.running() else { return };
        let grants: Vec<GrantId> = self.proxies[index].table.keys().copied().collect();
        if let Some(grant) = self.random.pick(&grants) {
            self.tally.diverged += 1;
            self.proxies[index].table.remove(grant);
            self.note(|| format!("proxy {index} loses {grant}"));
        }
    }

    /// The control plane's wall clock is set.
    fn jump(&mut self) {
        let by = self.random.range(0, 120_000_000) as i64 - 60_000_000;
        self.control.wall_offset += by;
        self.note(|| format!("the control plane's wall clock jumps by {by} µs"));
    }
}
