//! Revocation receipts: what can be said, and signed, about how far a revocation has taken effect.
//!
//! [`assess`] is pure. It reckons with leases on CLOCK_BOOTTIME only: no wall clock can make a receipt say more than is true.
//! Invariant: `effective` is said only when each proxy that may ever have held one of the grants has either confirmed or certainly
//! has no lease left from before.

mod signer;

pub use signer::{Signer, SignerError};

use crate::control::plane::Plane;
use crate::control::presence::Seen;
use crate::control::state::{KnownProxy, Revocation, State};
use crate::model::event::Selector;
use crate::model::{Epoch, GrantId, LogId, ProxyName, Revision, RevocationId, Time};
use crate::runtime::clock::Mono;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Where one proxy stands with one revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It said so.
    Confirmed {
        /// When that was accepted, control time.
        at: Time,
        /// How many streams it cut.
        streams_cut: u64,
    },
    /// Nothing heard, and it may still hold a lease.
    Pending,
    /// Nothing heard, but its lease is over: it denies everything until it has caught up.
    Lapsed,
}

/// What leases may still run, beside what is known of a proxy.
#[derive(Debug, Clone, Copy)]
pub struct Leases {
    /// Now.
    pub now: Mono,
    /// When this process began to hand out leases.
    pub started: Mono,
    /// The longest lease ever handed out, by any process.
    pub longest: Duration,
    /// How far clocks may run apart within a lease.
    pub drift: Duration,
}

/// Where a proxy stands; `None` if it joined later and so never held any of the grants.
#[must_use]
pub fn assess(
    revocation: &Revocation,
    (name, known): (&ProxyName, &KnownProxy),
    seen: Seen,
    leases: Leases,
) -> Option<Standing> {
    if known.joined > revocation.revision {
        return None;
    }
    if let Some(confirmed) = revocation.confirmed.get(name) {
        return Some(Standing::Confirmed { at: confirmed.at, streams_cut: confirmed.streams_cut });
    }
    // An earlier process may have given a lease that this one knows nothing of.
    let unknown = leases.started.plus(leases.longest);
    let until = seen.lease_until.map_or(unknown, |until| until.max(unknown));
    Some(if leases.now >= until.plus(leases.drift) { Standing::Lapsed } else { Standing::Pending })
}

/// What is known about a revocation now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Receipt {
    /// The revocation.
    #[schema(value_type = String, example = "rv_01kaq3v1z2m5q8x0c4d7e9f1g3")]
    pub id: RevocationId,
    /// The log that it is in.
    #[schema(value_type = String)]
    #[serde(serialize_with = "display")]
    pub log: LogId,
    /// That log's epoch.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// The revision that proxies have to confirm.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// What was asked for.
    #[schema(value_type = Object)]
    pub selector: Selector,
    /// Why.
    pub reason: String,
    /// Who revoked.
    #[schema(value_type = Object)]
    pub by: crate::model::event::Actor,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Time,
    /// The grants that it ended.
    #[schema(value_type = Vec<String>)]
    pub grants: Vec<GrantId>,
    /// Each proxy that may have held one of them.
    pub proxies: Vec<ProxyStanding>,
    /// Whether nothing runs any more, anywhere, under these grants.
    pub effective: bool,
    /// When that is true at the latest, whatever the network does.
    #[schema(value_type = String, format = DateTime)]
    pub effective_by: Time,
}

/// A proxy in a receipt.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProxyStanding {
    /// Its name.
    #[schema(value_type = String)]
    pub proxy: ProxyName,
    /// `confirmed`, `pending` or `lapsed`.
    pub state: &'static str,
    /// When its confirmation was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Time>,
    /// How many streams it cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_cut: Option<u64>,
}

fn display<S: serde::Serializer>(value: &impl std::fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

impl Receipt {
    /// The receipt of a revocation as things stand now; `None` if it is not known (any more).
    #[must_use]
    pub fn of(plane: &Plane, id: RevocationId) -> Option<Self> {
        // The clock first: a standing that is read later is only better.
        let now = plane.mono();
        plane.with_state(|state| Some(Self::from_state(plane, state, state.revocation(id)?, now)))
    }

    /// Whether it is effective everywhere, without making the list.
    #[must_use]
    pub fn is_effective(plane: &Plane, id: RevocationId) -> bool {
        let now = plane.mono();
        plane.with_state(|state| {
            let Some(revocation) = state.revocation(id) else { return false };
            let leases = leases(plane, state, now);
            state
                .proxies()
                .iter()
                .all(|proxy| is_done(assess(revocation, proxy, plane.presence().of(proxy.0), leases)))
        })
    }

    fn from_state(plane: &Plane, state: &State, revocation: &Revocation, now: Mono) -> Self {
        let leases = leases(plane, state, now);
        let standings: Vec<(&ProxyName, Standing)> = state
            .proxies()
            .iter()
            .filter_map(|proxy| {
                assess(revocation, proxy, plane.presence().of(proxy.0), leases)
                    .map(|standing| (proxy.0, standing))
            })
            .collect();
        Self {
            id: revocation.id,
            log: plane.log_id(),
            epoch: plane.epoch(),
            revision: revocation.revision,
            selector: revocation.selector.clone(),
            reason: revocation.reason.clone(),
            by: revocation.by.clone(),
            accepted_at: revocation.at,
            grants: revocation.grants.clone(),
            effective: standings.iter().all(|(_, standing)| is_done(Some(*standing))),
            proxies: standings.into_iter().map(|(name, standing)| shown(name, standing)).collect(),
            effective_by: revocation.at.plus(leases.longest).plus(leases.drift),
        }
    }
}

fn leases(plane: &Plane, state: &State, now: Mono) -> Leases {
    let (_, started) = plane.started();
    Leases { now, started, longest: state.longest_lease(), drift: plane.clock_drift() }
}

fn is_done(standing: Option<Standing>) -> bool {
    match standing {
        None | Some(Standing::Confirmed { .. } | Standing::Lapsed) => true,
        Some(Standing::Pending) => false,
    }
}

fn shown(name: &ProxyName, standing: Standing) -> ProxyStanding {
    let (state, at, streams_cut) = match standing {
        Standing::Confirmed { at, streams_cut } => ("confirmed", Some(at), Some(streams_cut)),
        Standing::Pending => ("pending", None, None),
        Standing::Lapsed => ("lapsed", None, None),
    };
    ProxyStanding { proxy: name.clone(), state, at, streams_cut }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::state::Confirmation;
    use crate::model::event::{Actor, Everything};
    use std::collections::BTreeMap;

    const LEASES: Leases = Leases {
        now: Mono::from_nanos(100_000_000_000),
        started: Mono::from_nanos(10_000_000_000),
        longest: Duration::from_secs(15),
        drift: Duration::from_secs(1),
    };

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    fn edge() -> ProxyName {
        "edge".parse().unwrap()
    }

    fn revocation(confirmed: Option<Confirmation>) -> Revocation {
        Revocation {
            id: RevocationId::from_bits(1),
            revision: Revision(50),
            by: Actor::System,
            at: Time::from_micros(0),
            selector: Selector::All(Everything),
            reason: "test".into(),
            grants: Vec::new(),
            confirmed: confirmed
                .map(|confirmation| (edge(), confirmation))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        }
    }

    fn standing(
        joined: u64,
        confirmed: Option<Confirmation>,
        lease_until: Option<Mono>,
        now: Mono,
    ) -> Option<Standing> {
        let known = KnownProxy {
            identity: "spiffe://d/proxy/edge".parse().unwrap(),
            joined_at: Time::from_micros(0),
            joined: Revision(joined),
            acknowledged: Revision(joined),
            audit: None,
            trail: None,
            witness_disputed: None,
        };
        let seen = Seen { lease_until, ..Seen::default() };
        assess(&revocation(confirmed), (&edge(), &known), seen, Leases { now, ..LEASES })
    }

    #[test]
    fn the_truth_table() {
        let confirmed = Confirmation { at: Time::from_micros(7), streams_cut: 3 };
        let said = Some(Standing::Confirmed { at: Time::from_micros(7), streams_cut: 3 });
        // (joined, confirmed, lease until, now) -> standing
        for (joined, confirmed, lease, now, expected) in [
            // It said so: whatever its lease.
            (1, Some(confirmed), None, 11, said),
            (1, Some(confirmed), Some(at(200)), 100, said),
            // It joined later: it is not concerned.
            (51, None, Some(at(200)), 100, None),
            // It joined before, with a lease that runs, has just run out, is within the drift, and is over.
            (49, None, Some(at(101)), 100, Some(Standing::Pending)),
            (49, None, Some(at(100)), 100, Some(Standing::Pending)),
            (49, None, Some(at(99)), 100, Some(Standing::Lapsed)),
            (49, None, Some(at(30)), 100, Some(Standing::Lapsed)),
            // Not heard of since the start: pending until the longest lease (and the drift) has passed.
            (49, None, None, 10, Some(Standing::Pending)),
            (49, None, None, 25, Some(Standing::Pending)),
            (49, None, None, 26, Some(Standing::Lapsed)),
            // A short lease given by this process does not end a longer one that an earlier process may have given.
            (49, None, Some(at(12)), 20, Some(Standing::Pending)),
        ] {
            assert_eq!(standing(joined, confirmed, lease, at(now)), expected, "{joined} {lease:?} {now}");
        }
    }
}
