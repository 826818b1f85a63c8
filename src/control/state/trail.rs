//! Checkpoints of proxies' audit trails: kept, so that no trail can be cut short or rewritten unseen afterwards.
//!
//! A checkpoint that contradicts the one before is kept as well, with what is wrong: a trail that was lawfully begun anew goes on
//! from there, and the log says for good that it was begun anew.

use super::decide::{Context, Draft};
use super::report::speaker;
use super::{KnownProxy, Outcome, Refusal, State, Trail};
use crate::model::event::EventBody;
use crate::model::{ProxyName, Time, TrailFault, TrailHead};
use crate::notary::{self, Judged, Kept};
use crate::tlog::Hash;

pub(super) fn keep(
    draft: &mut Draft<'_>,
    proxy: &ProxyName,
    (head, since, proof): (&TrailHead, u64, &[Hash]),
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let known = speaker(draft, proxy, context)?;
    let (proxy, head) = (proxy.clone(), head.clone());
    match judge(known, &head, since, proof) {
        Judged::Same | Judged::Unproved => {}
        Judged::GoesOn => draft.push(EventBody::TrailRecorded { proxy, head }),
        Judged::Contradicts(fault) => draft.push(EventBody::TrailDisputed { proxy, head, fault }),
    }
    Ok(Outcome::Acknowledged)
}

fn judge(known: &KnownProxy, head: &TrailHead, since: u64, proof: &[Hash]) -> Judged {
    // The first goes on from nothing.
    let Some(Trail { head: before, .. }) = known.trail.as_deref() else { return Judged::GoesOn };
    let (Some(old), Some(new)) = (Hash::from_base64(&before.root), Hash::from_base64(&head.root)) else {
        return Judged::Contradicts(TrailFault::Forked);
    };
    let before = Kept { key: &before.key, size: before.size, root: &old };
    notary::judge(before, Kept { key: &head.key, size: head.size, root: &new }, since, proof)
}

impl State {
    pub(super) fn keep_trail(
        &mut self,
        proxy: &ProxyName,
        head: &TrailHead,
        fault: Option<TrailFault>,
        at: Time,
    ) {
        if let Some(known) = self.proxies.get_mut(proxy) {
            let before = known.trail.take().and_then(|trail| trail.disputed);
            let disputed = fault.map(|fault| (fault, at)).or(before);
            known.trail = Some(Box::new(Trail { head: head.clone(), at, disputed }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Revision;
    use crate::tlog::HashReader;
    use crate::tlog::proof::{consistency, root};
    use std::convert::Infallible;

    struct Lines(Vec<Hash>);

    impl HashReader for Lines {
        type Error = Infallible;
        fn hash(&self, level: u32, index: u64) -> Result<Option<Hash>, Infallible> {
            let (from, count) = (usize::try_from(index << level).unwrap(), 1 << level);
            Ok(self.0.get(from..from + count).and_then(Hash::perfect))
        }
    }

    impl Lines {
        fn new(count: u64, changed: u64) -> Self {
            let line = |at| if at == changed { "changed".to_owned() } else { format!("line {at}") };
            Self((0..count).map(|at| Hash::leaf(line(at).as_bytes())).collect())
        }

        fn head(&self, size: u64, key: &str) -> TrailHead {
            let root = root(self, size).unwrap().unwrap().to_string();
            TrailHead { key: key.to_owned(), size, root, note: String::new() }
        }

        fn proof(&self, old: u64, new: u64) -> Vec<Hash> {
            consistency(self, old, new).unwrap().unwrap()
        }
    }

    fn known(head: Option<TrailHead>) -> KnownProxy {
        KnownProxy {
            identity: "spiffe://d/proxy/edge".parse().unwrap(),
            joined_at: Time::from_micros(0),
            joined: Revision(1),
            acknowledged: Revision(1),
            audit: None,
            trail: head.map(|head| Box::new(Trail { head, at: Time::from_micros(1), disputed: None })),
            witness_disputed: None,
        }
    }

    #[test]
    fn a_head_goes_on_from_the_one_before_or_says_what_is_wrong() {
        let (lines, rewritten) = (Lines::new(40, u64::MAX), Lines::new(40, 3));
        let before = known(Some(lines.head(13, "k")));
        let judged = |lines: &Lines, size, since, key: &str| {
            let proof = if since < size { lines.proof(since, size) } else { Vec::new() };
            judge(&before, &lines.head(size, key), since, &proof)
        };
        use TrailFault::{Forked, Key, RolledBack};
        assert_eq!(judged(&lines, 40, 13, "k"), Judged::GoesOn);
        assert_eq!(judged(&lines, 13, 13, "k"), Judged::Same);
        assert_eq!(judged(&lines, 40, 12, "k"), Judged::Unproved);
        assert_eq!(judged(&lines, 12, 13, "k"), Judged::Contradicts(RolledBack));
        assert_eq!(judged(&rewritten, 13, 13, "k"), Judged::Contradicts(Forked));
        assert_eq!(
            judged(&rewritten, 40, 13, "k"),
            Judged::Contradicts(Forked),
            "its own proof does not help"
        );
        assert_eq!(judge(&before, &lines.head(40, "k"), 13, &[]), Judged::Contradicts(Forked), "no proof");
        assert_eq!(judged(&lines, 40, 13, "other"), Judged::Contradicts(Key));
        assert_eq!(judge(&known(None), &lines.head(9, "k"), 0, &[]), Judged::GoesOn, "the first");
    }

    #[test]
    fn what_was_wrong_once_stays_known() {
        let lines = Lines::new(9, u64::MAX);
        let proxy: ProxyName = "edge".parse().unwrap();
        let mut state = State::default();
        state.proxies.insert(proxy.clone(), known(None));
        let at = Time::from_micros;
        state.keep_trail(&proxy, &lines.head(5, "k"), Some(TrailFault::RolledBack), at(7));
        state.keep_trail(&proxy, &lines.head(9, "k"), None, at(8));
        let trail = state.proxies.get(&proxy).unwrap().trail.as_deref().unwrap();
        assert_eq!((trail.head.size, trail.at), (9, at(8)));
        assert_eq!(trail.disputed, Some((TrailFault::RolledBack, at(7))));
    }
}
