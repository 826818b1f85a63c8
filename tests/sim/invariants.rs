//! What must hold after each step, and once the world has healed.

use crate::actions::MAX_USES;
use crate::control::proxy_name;
use crate::world::{DRIFT, LEASE, NAMES, World};
use jitgate::model::{Grant, GrantId};
use jitgate::sync::LeaseRule;

/// How a broken bound is reported.
pub(crate) const LATE: &str = "after effective_by";

impl<R: LeaseRule> World<R> {
    /// No proxy lets anything through under a revoked grant after `effective_by`, nor after it was confirmed for its name; none
    /// under a grant whose window has closed by the clock that it was last told.
    pub(crate) fn check(&mut self) {
        self.control.set_clocks(self.now);
        let lease = (LEASE + DRIFT).as_nanos() as u64;
        while self.offsets.front().is_some_and(|(at, _)| at + lease < self.now) {
            self.offsets.pop_front();
        }
        let slowest = self.offsets.iter().map(|(_, offset)| *offset).min();
        let mut broken = None;
        for (index, proxy) in self.proxies.iter().enumerate() {
            if !proxy.is_running(self.now) {
                continue;
            }
            let admits = proxy.table.values().filter(|grant| proxy.admits(grant, self.now));
            for grant in admits {
                broken = broken
                    .or_else(|| self.wrongly(index, grant.id))
                    .or_else(|| self.expired(index, grant, slowest));
            }
            for stream in proxy.streams.iter().filter(|stream| proxy.passes(stream, self.now)) {
                broken = broken.or_else(|| self.wrongly(index, stream.grant));
            }
        }
        if let Some(broken) = broken {
            self.broke(broken);
        }
        if self.tally.uses > 0 {
            self.check_uses();
        }
    }

    fn wrongly(&self, index: usize, grant: GrantId) -> Option<String> {
        let revoked = &self.revoked[*self.revoked_grants.get(&grant)?];
        let effective_by = revoked.at + (LEASE + DRIFT).as_nanos() as u64;
        if self.now > effective_by {
            return Some(format!("proxy {index} admits under {grant} {LATE} of {}", revoked.id));
        }
        if self.control.says_effective(revoked.id) {
            return Some(format!(
                "proxy {index} admits under {grant} although the receipt of {} says effective",
                revoked.id
            ));
        }
        let name = proxy_name(self.proxies[index].name);
        let state = self.control.state()?;
        let confirmed = state.revocation(revoked.id)?.confirmed.contains_key(&name);
        confirmed
            .then(|| format!("proxy {index} admits under {grant} although {name} confirmed {}", revoked.id))
    }

    /// `slowest`: the least that control time was ahead of true time in any pong that may still count.
    fn expired(&self, index: usize, grant: &Grant, slowest: Option<i64>) -> Option<String> {
        let time = (self.now / 1_000) as i64 + slowest?;
        let bound = grant.expires_at.as_micros() + DRIFT.as_micros() as i64;
        (time >= bound).then(|| format!("proxy {index} admits under {} after its end", grant.id))
    }

    /// At the moment at which a confirmation is logged, and at each later one (see [`Self::check`]), it is true.
    pub(crate) fn check_receipts(&mut self, name: usize) {
        let Some(state) = self.control.state() else { return };
        let confirmed = self
            .revoked
            .iter()
            .filter(|revoked| {
                state
                    .revocation(revoked.id)
                    .is_some_and(|kept| kept.confirmed.contains_key(&proxy_name(name)))
            })
            .count() as u64;
        self.tally.confirmed = self.tally.confirmed.max(confirmed);
    }

    fn check_uses(&mut self) {
        let Some(state) = self.control.state() else { return };
        let over =
            state.live().find(|live| live.grant.limits.max_uses.is_some() && live.uses_reserved > MAX_USES);
        if let Some(live) = over {
            let broken = format!("{} uses of {} are reserved", live.uses_reserved, live.grant.id);
            self.broke(broken);
        }
    }

    /// What has not settled although everything works again: each name has a proxy that is up to date and enforces, and every
    /// revocation that can still be confirmed is confirmed.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let state = self.control.state()?;
        // What happened in the last moments is still on its way.
        let settled = self.now.saturating_sub(5 * crate::world::SECOND);
        for (name, shown) in NAMES.iter().enumerate() {
            let candidates = self.proxies.iter().filter(|proxy| proxy.alive && proxy.name == name);
            let enforces = candidates.clone().any(|proxy| {
                proxy.lease.check(proxy.mono(self.now)).is_ok() && proxy.revision.0 + 20 >= state.revision().0
            });
            if !enforces {
                return Some(format!("{shown} does not enforce after healing"));
            }
            let mut at_head = candidates.filter(|proxy| proxy.revision == state.revision());
            if at_head.any(|proxy| proxy.digest() != state.digest()) {
                return Some(format!("{shown} has another table than the log after healing"));
            }
            let joined = state.proxies()[&proxy_name(name)].joined;
            for revoked in
                self.revoked.iter().filter(|revoked| revoked.at < settled && revoked.revision > joined)
            {
                if !state.revocation(revoked.id)?.confirmed.contains_key(&proxy_name(name)) {
                    return Some(format!("{shown} never confirmed {}", revoked.id));
                }
            }
        }
        None
    }
}
