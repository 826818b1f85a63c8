//! What the control plane keeps of a proxy's trail: a key and a checkpoint that nobody at the proxy can replace; and whether the trail
//! has ever contradicted what was kept before. Then it is the key and the checkpoint of what came after, perhaps of a forger.

use super::verify::VerifyError;
use crate::audit::verify::{Trusted, Wrong};
use crate::cli::Failure;
use crate::cli::client::with_client;
use crate::cli::connection::Connection;
use crate::model::{Time, TrailFault};
use crate::tlog::{Checkpoint, VerifierKey};
use serde::Deserialize;

/// See the module's comment.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) key: VerifierKey,
    pub(super) trusted: Trusted,
    /// What was last found of each kind.
    disputes: Vec<(Time, Wrong)>,
}

/// A proxy, as the control plane shows it.
#[derive(Deserialize)]
struct Known {
    name: String,
    trail: Option<Trail>,
    witness_disputed_at: Option<Time>,
}

#[derive(Deserialize)]
struct Trail {
    key: String,
    checkpoint: String,
    disputed: Option<TrailFault>,
    disputed_at: Option<Time>,
}

impl Kept {
    /// What contradicts the trail, unless it was later than `accepted`.
    pub(super) fn disputes(&self, accepted: Option<Time>) -> impl Iterator<Item = Wrong> {
        let later =
            self.disputes.iter().filter(move |(at, _)| accepted.is_none_or(|accepted| *at > accepted));
        later.map(|(_, wrong)| wrong.clone())
    }
}

/// Asks for it.
pub(super) fn kept(proxy: &str, connection: &Connection) -> Result<Kept, Failure> {
    let proxies: Vec<Known> = with_client(connection, async |client| Ok(client.get("/v1/proxies").await?))?;
    of(proxy, proxies).map_err(Failure::failed)
}

fn of(proxy: &str, proxies: Vec<Known>) -> Result<Kept, VerifyError> {
    let known = proxies.into_iter().find(|known| known.name == proxy);
    let kept = known.and_then(|Known { trail, witness_disputed_at, .. }| Some((trail?, witness_disputed_at)));
    let (trail, witness) = kept.ok_or_else(|| VerifyError::NotKept(proxy.to_owned()))?;
    let (key, trusted) = opened(proxy, &trail.key, &trail.checkpoint)?;
    let own = match (trail.disputed, trail.disputed_at) {
        (Some(fault), Some(at)) => Some((at, Wrong::Disputed { fault, at })),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let reason = "it says half of how it was disputed".to_owned();
            return Err(VerifyError::Witness { proxy: proxy.to_owned(), reason });
        }
    };
    let witness = witness.map(|at| (at, Wrong::WitnessDisputed { at }));
    Ok(Kept { key, trusted, disputes: own.into_iter().chain(witness).collect() })
}

/// A key and a checkpoint, as they are kept.
pub(super) fn opened(proxy: &str, key: &str, note: &str) -> Result<(VerifierKey, Trusted), VerifyError> {
    let refused = |reason: String| VerifyError::Witness { proxy: proxy.to_owned(), reason };
    let key: VerifierKey = key.parse().map_err(|error: crate::tlog::NoteError| refused(error.to_string()))?;
    let checkpoint = Checkpoint::open(note, &key).map_err(|error| refused(error.to_string()))?;
    let name = format!("the checkpoint of `{proxy}` at the control plane");
    Ok((key, Trusted { name, checkpoint }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{Hash, NoteSigner};
    use serde_json::{Value, json};

    /// What is kept of a trail with these members more, at the trail and at the proxy.
    fn kept(trail: Value, proxy: Value) -> Result<Kept, VerifyError> {
        let origin = "jitgate.local/proxy/edge-1/audit";
        let signer = NoteSigner::from_pkcs8(origin, &NoteSigner::generate().unwrap()).unwrap();
        let note = Checkpoint { origin: origin.to_owned(), size: 7, root: Hash::empty() }.sign(&signer);
        let mut said = json!({"key": signer.verifier().to_string(), "checkpoint": note, "size": 7});
        said.as_object_mut().unwrap().extend(trail.as_object().unwrap().clone());
        let mut known = json!({"name": "edge-1", "state": "connected", "trail": said});
        known.as_object_mut().unwrap().extend(proxy.as_object().unwrap().clone());
        let proxies = serde_json::from_value(json!([{"name": "edge-2"}, known])).unwrap();
        of("edge-1", proxies)
    }

    #[test]
    fn a_dispute_counts_until_it_is_accepted_and_a_later_one_again() {
        assert_eq!(kept(json!({}), json!({})).unwrap().disputes(None).count(), 0);
        let (first, second) = ("2026-11-22T10:00:00.000001Z", "2026-11-23T10:00:00.000001Z");
        let both = kept(
            json!({"disputed": "rolled_back", "disputed_at": first}),
            json!({"witness_disputed_at": second}),
        );
        let both = both.unwrap();
        let at = |text: &str| text.parse::<Time>().unwrap();
        let own = Wrong::Disputed { fault: TrailFault::RolledBack, at: at(first) };
        let witness = Wrong::WitnessDisputed { at: at(second) };
        let left = |until: &str| both.disputes(Some(at(until))).collect::<Vec<_>>();
        assert_eq!(both.disputes(None).collect::<Vec<_>>(), [own.clone(), witness.clone()]);
        assert_eq!(left("2026-11-22T10:00:00Z"), [own, witness.clone()]);
        assert_eq!(left(first), [witness], "as it is printed");
        assert_eq!(left(second), []);
    }

    #[test]
    fn what_is_not_understood_is_no_good_trail() {
        for half in [json!({"disputed": "forked"}), json!({"disputed_at": "2026-11-22T10:00:00Z"})] {
            assert!(matches!(kept(half, json!({})), Err(VerifyError::Witness { .. })));
        }
        let unknown = json!({"name": "edge-1", "trail": {"key": "", "checkpoint": "", "disputed": "melted"}});
        assert!(serde_json::from_value::<Known>(unknown).is_err());
        assert!(matches!(of("edge-1", Vec::new()), Err(VerifyError::NotKept(_))));
        let none = serde_json::from_value(json!([{"name": "edge-1"}])).unwrap();
        assert!(matches!(of("edge-1", none), Err(VerifyError::NotKept(_))));
    }
}
