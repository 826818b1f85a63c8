//! Checkpoints of proxies' audit trails: kept, so that no trail can be cut short or rewritten unseen afterwards.
//!
//! Each goes on from the one before, and so vouches for what all before it did: of those that come every second the newest is enough. It
//! is kept beside the log, durably, in the place of the one before; the log gets one now and then (`EVERY`), so that what it has is in its
//! Merkle tree, and does not grow by each second of traffic, which every start would have to replay.
//!
//! A checkpoint that contradicts the one before is kept as well, with what is wrong: a trail that was lawfully begun anew goes on
//! from there, and the log says for good that it was begun anew.

use super::decide::{Context, Draft};
use super::report::speaker;
use super::{KnownProxy, LoggedTrail, Outcome, Refusal, State, Trail};
use crate::model::event::{Actor, EventBody};
use crate::model::{KeptTrail, ProxyName, Revision, Time, TrailFault, TrailHead};
use crate::notary::{self, Judged, Kept};
use crate::tlog::Hash;
use std::time::Duration;

/// What is kept beside the log is in it after this time. And contradictions of one trail are logged at most so often: whoever owns a proxy
/// could let it contradict itself all the time.
const EVERY: Duration = Duration::from_secs(300);

pub(super) fn keep(
    draft: &mut Draft<'_>,
    proxy: &ProxyName,
    (head, since, proof): (&TrailHead, u64, &[Hash]),
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let known = speaker(draft, proxy, context)?;
    let (proxy, head) = (proxy.clone(), head.clone());
    match (judge(known, &head, since, proof), known.trail.as_deref()) {
        (Judged::Same | Judged::Unproved, _) => {}
        (Judged::GoesOn, None) => draft.push(EventBody::TrailRecorded { proxy, head }),
        (Judged::GoesOn, Some(trail)) => {
            draft.keep(KeptTrail { proxy, logged: trail.logged.revision, at: draft.now, head });
        }
        // It is not kept, and so not acknowledged: the proxy hands it over again.
        (Judged::Contradicts(_), Some(trail)) if trail.was_disputed_since(draft.now.minus(EVERY)) => {}
        (Judged::Contradicts(fault), _) => draft.push(EventBody::TrailDisputed { proxy, head, fault }),
    }
    Ok(Outcome::Acknowledged)
}

/// Logs what is due of what is kept beside the log, each in the name of its proxy: it is what that has signed.
pub(super) fn record(draft: &mut Draft<'_>) -> Outcome {
    let (state, now) = (draft.state, draft.now);
    for (proxy, known, head) in state.trails_to_record(now) {
        let body = EventBody::TrailRecorded { proxy: proxy.clone(), head: head.clone() };
        draft.push_as(Actor::Identity(known.identity.clone()), body);
    }
    Outcome::Done
}

impl Trail {
    fn was_disputed_since(&self, time: Time) -> bool {
        self.disputed.is_some_and(|(_, at)| at > time)
    }
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
    /// Takes in what is kept beside the log. Something that is older than what the log has changes nothing.
    pub(in crate::control) fn keep_trail(&mut self, kept: &KeptTrail) {
        let trail = self.proxies.get_mut(&kept.proxy).and_then(|known| known.trail.as_deref_mut());
        if let Some(trail) = trail.filter(|trail| trail.logged.revision == kept.logged) {
            trail.head = kept.head.clone();
            trail.at = kept.at;
        }
    }

    pub(super) fn trail_logged(
        &mut self,
        proxy: &ProxyName,
        head: &TrailHead,
        fault: Option<TrailFault>,
        (revision, at): (Revision, Time),
    ) {
        if let Some(known) = self.proxies.get_mut(proxy) {
            let before = known.trail.take().and_then(|trail| trail.disputed);
            let disputed = fault.map(|fault| (fault, at)).or(before);
            let logged = LoggedTrail { revision, at, size: head.size };
            known.trail = Some(Box::new(Trail { head: head.clone(), at, disputed, logged }));
        }
    }

    /// What is kept beside the log and due to be in it.
    pub(in crate::control) fn trails_to_record(
        &self,
        now: Time,
    ) -> impl Iterator<Item = (&ProxyName, &KnownProxy, &TrailHead)> {
        self.proxies.iter().filter_map(move |(proxy, known)| {
            let trail = known.trail.as_deref()?;
            let due = trail.head.size > trail.logged.size && now >= trail.logged.at.plus(EVERY);
            due.then_some((proxy, known, &trail.head))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::wildcard_enum_match_arm, reason = "a test names the events that it expects")]

    use super::*;
    use crate::config::Role;
    use crate::control::authz::Roles;
    use crate::control::state::{Command, Decision, Rules, decide};
    use crate::model::SpiffeId;
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

    fn first(head: TrailHead) -> Trail {
        let at = Time::from_micros(1);
        let logged = LoggedTrail { revision: Revision(1), at, size: head.size };
        Trail { head, at, disputed: None, logged }
    }

    fn known(head: Option<TrailHead>) -> KnownProxy {
        KnownProxy {
            identity: "spiffe://d/proxy/edge".parse().unwrap(),
            joined_at: Time::from_micros(0),
            joined: Revision(1),
            acknowledged: Revision(1),
            audit: None,
            trail: head.map(|head| Box::new(first(head))),
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

    /// What the control plane makes of what one proxy hands over.
    struct Keeper {
        state: State,
        rules: Rules,
        /// Events about its trail.
        logged: Vec<EventBody>,
    }

    impl Keeper {
        fn new() -> Self {
            let id: SpiffeId = "spiffe://d/proxy/edge".parse().unwrap();
            let roles = Roles::new([(id, vec![Role::Proxy])], []);
            let rules = Rules::new(Duration::from_secs(3600), roles);
            let mut state = State::default();
            state.proxies.insert(edge(), known(None));
            Self { state, rules, logged: Vec::new() }
        }

        fn run(&mut self, actor: &Actor, command: &Command, second: u64) -> Decision {
            let now = at(second);
            let mut context = Context { now, rules: &self.rules, random: &mut || [0; 10] };
            let decision = decide(&self.state, actor, command, &mut context).unwrap();
            for event in &decision.events {
                self.state.apply(self.state.revision.next(), event).unwrap();
                self.logged.push(event.body.clone());
            }
            decision.kept.iter().for_each(|kept| self.state.keep_trail(kept));
            decision
        }

        /// With the proof that is asked for.
        fn hand_over(&mut self, lines: &Lines, size: u64, second: u64) -> Decision {
            let since = self.trail().map_or(0, |trail| trail.head.size);
            let proof = if since > 0 && since < size { lines.proof(since, size) } else { Vec::new() };
            let head = lines.head(size, "k");
            let keep = Command::KeepCheckpoint { proxy: edge(), head, since, proof: proof.into() };
            let actor = Actor::Identity(known(None).identity);
            let decision = self.run(&actor, &keep, second);
            self.run(&Actor::System, &Command::RecordTrails, second);
            decision
        }

        fn trail(&self) -> Option<&Trail> {
            self.state.proxies.get(&edge()).unwrap().trail.as_deref()
        }

        fn size(&self) -> u64 {
            self.trail().unwrap().head.size
        }

        /// How many lines those in the log stand for, and what was wrong with them.
        fn logged(&self) -> Vec<(u64, Option<TrailFault>)> {
            let logged = self.logged.iter().map(|body| match body {
                EventBody::TrailRecorded { head, .. } => (head.size, None),
                EventBody::TrailDisputed { head, fault, .. } => (head.size, Some(*fault)),
                other => panic!("{other:?}"),
            });
            logged.collect()
        }
    }

    fn edge() -> ProxyName {
        "edge".parse().unwrap()
    }

    fn at(second: u64) -> Time {
        Time::from_micros(1_000_000_000).plus(Duration::from_secs(second))
    }

    #[test]
    fn each_second_is_kept_and_the_log_gets_one_now_and_then() {
        let (lines, mut keeper) = (Lines::new(1_000, u64::MAX), Keeper::new());
        for second in 1..=1_000 {
            let decision = keeper.hand_over(&lines, second, second);
            assert_eq!((keeper.size(), keeper.trail().unwrap().at), (second, at(second)));
            assert_eq!((decision.events.is_empty(), decision.kept.is_some()), (second > 1, second > 1));
        }
        assert_eq!(keeper.logged(), [(1, None), (301, None), (601, None), (901, None)]);
        // The last ones, although nothing comes any more; once.
        for second in 1_001..2_000 {
            keeper.run(&Actor::System, &Command::RecordTrails, second);
        }
        assert_eq!(keeper.logged()[4..], [(1_000, None)]);
        // What was kept before that is older, wherever it comes from.
        let older = KeptTrail { proxy: edge(), logged: Revision(4), at: at(999), head: lines.head(999, "k") };
        keeper.state.keep_trail(&older);
        assert_eq!(keeper.size(), 1_000);
    }

    #[test]
    fn a_contradiction_of_what_only_is_kept_is_logged_at_once_and_another_one_later() {
        let (lines, rewritten, mut keeper) = (Lines::new(400, u64::MAX), Lines::new(400, 3), Keeper::new());
        keeper.hand_over(&lines, 1, 1);
        keeper.hand_over(&lines, 20, 2);
        keeper.hand_over(&lines, 19, 3);
        let first = [(1, None), (19, Some(TrailFault::RolledBack))];
        assert_eq!(keeper.logged(), first, "the log has one line of it, what is kept twenty");
        // It goes on from there.
        keeper.hand_over(&lines, 30, 4);
        assert_eq!((keeper.size(), keeper.logged().len()), (30, 2));
        // Whoever owns the proxy lets its trail contradict itself all the time: it is not believed, and does not fill the log.
        for second in 5..303 {
            keeper.hand_over(&rewritten, second, second);
            assert_eq!(keeper.size(), 30);
        }
        assert_eq!(keeper.logged(), first);
        keeper.hand_over(&rewritten, 303, 303);
        assert_eq!(keeper.logged().last(), Some(&(303, Some(TrailFault::Forked))));
        assert_eq!(
            (keeper.size(), keeper.trail().unwrap().disputed),
            (303, Some((TrailFault::Forked, at(303))))
        );
    }

    #[test]
    fn what_was_wrong_once_stays_known() {
        let lines = Lines::new(9, u64::MAX);
        let mut state = State::default();
        state.proxies.insert(edge(), known(None));
        let fault = Some(TrailFault::RolledBack);
        state.trail_logged(&edge(), &lines.head(5, "k"), fault, (Revision(7), at(7)));
        state.trail_logged(&edge(), &lines.head(9, "k"), None, (Revision(8), at(8)));
        let trail = state.proxies.get(&edge()).unwrap().trail.as_deref().unwrap();
        assert_eq!((trail.head.size, trail.at), (9, at(8)));
        assert_eq!(trail.disputed, Some((TrailFault::RolledBack, at(7))));
    }
}
