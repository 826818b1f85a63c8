//! Which files of a trail may be removed, and which are: pure, with everything that is known as arguments.
//!
//! Invariants, whatever the age and the size: only whole rotated files go, the oldest first, without leaving one out; no line goes
//! that somebody still needs ([`Needs`]); what is not known counts as needed.

use super::removal::Policy;
use crate::config::{RetentionConfig, WhenFull};
use crate::model::Time;

/// A rotated file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rotated {
    /// The number of its last line.
    pub(super) last: u64,
    /// Not before its youngest line.
    pub(super) youngest: Time,
    /// What it takes on the disk, with its index.
    pub(super) bytes: u64,
}

/// Who still needs lines of the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    /// The trail's last checkpoint vouches for so many lines; 0: for none, or there is none.
    pub(super) vouched: u64,
    /// The first line that an open request may need, to be closed after a crash.
    pub(super) open: u64,
    /// The first line that an export has not confirmed; `None`: nothing is exported.
    pub(super) exported: Option<u64>,
    /// The control plane keeps a checkpoint over so many lines; 0: it has not said so yet. `None`: there is none.
    pub(super) acknowledged: Option<u64>,
    /// Nothing behind this line can be removed at present; `None`: nothing stands in the way.
    pub(super) blocked: Option<u64>,
}

impl Needs {
    /// The last line that nobody needs.
    pub(super) fn spared(self) -> u64 {
        // Nothing is handed out that no checkpoint vouches for: a higher number is of a trail that was here before.
        let confirmed = |last: Option<u64>| match last {
            None => u64::MAX,
            Some(last) if last > self.vouched => 0,
            Some(last) => last,
        };
        let exported = confirmed(self.exported.map(|first| first.saturating_sub(1)));
        let acknowledged = confirmed(self.acknowledged);
        let blocked = self.blocked.unwrap_or(u64::MAX);
        self.vouched.min(self.open.saturating_sub(1)).min(exported).min(acknowledged).min(blocked)
    }
}

/// What is to be removed: the oldest files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// How many.
    pub(super) files: usize,
    /// The last line of the last of them.
    pub(super) to: u64,
    /// What they take.
    pub(super) bytes: u64,
    /// The last line of those that go before `keep` has passed; 0: all are older.
    pub(super) early_to: u64,
}

impl Plan {
    /// Why.
    pub(super) fn policy(&self) -> Policy {
        if self.early_to > 0 { Policy::MaxTotalBytes } else { Policy::Keep }
    }
}

/// What of `files`, oldest first, is to be removed now, where `over` bytes are to be freed; `None`: nothing.
pub(super) fn plan(
    files: &[Rotated],
    needs: Needs,
    config: RetentionConfig,
    over: u64,
    now: Time,
) -> Option<Plan> {
    let spared = needs.spared();
    let mut plan: Option<Plan> = None;
    for file in files {
        let old = config.keep.is_some_and(|keep| now.since(file.youngest) >= keep);
        let freed = plan.map_or(0, |plan| plan.bytes);
        let full = config.when_full == WhenFull::RemoveOldest && freed < over;
        if file.last > spared || !(old || full) {
            break;
        }
        plan = Some(Plan {
            files: plan.map_or(0, |plan| plan.files) + 1,
            to: file.last,
            bytes: freed.saturating_add(file.bytes),
            early_to: if old { plan.map_or(0, |plan| plan.early_to) } else { file.last },
        });
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const NOW: Time = Time::from_micros(1_795_341_600_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const NOBODY: Needs =
        Needs { vouched: u64::MAX, open: u64::MAX, exported: None, acknowledged: None, blocked: None };

    /// Files of ten lines and 100 bytes each, the oldest of so many hours.
    fn files(hours: u32) -> Vec<Rotated> {
        let file = |n: u32| Rotated {
            last: u64::from(n) * 10,
            youngest: NOW.minus(HOUR * (hours + 1 - n)),
            bytes: 100,
        };
        (1..=hours).map(file).collect()
    }

    fn config(keep_hours: Option<u32>, when_full: WhenFull) -> RetentionConfig {
        RetentionConfig { keep: keep_hours.map(|hours| HOUR * hours), max_total_bytes: None, when_full }
    }

    fn to(needs: Needs, config: RetentionConfig, over: u64) -> Option<(u64, Policy)> {
        plan(&files(9), needs, config, over, NOW).map(|plan| (plan.to, plan.policy()))
    }

    #[test]
    fn what_is_older_than_keep_goes_and_nothing_without_it() {
        assert_eq!(to(NOBODY, config(Some(7), WhenFull::Refuse), 0), Some((30, Policy::Keep)));
        assert_eq!(to(NOBODY, config(Some(10), WhenFull::Refuse), 0), None);
        assert_eq!(to(NOBODY, config(None, WhenFull::Refuse), u64::MAX), None);
        assert_eq!(to(NOBODY, config(Some(7), WhenFull::Refuse), u64::MAX), Some((30, Policy::Keep)));
    }

    #[test]
    fn when_it_is_full_the_oldest_go_early_if_that_is_asked_for() {
        let remove = config(Some(7), WhenFull::RemoveOldest);
        assert_eq!(to(NOBODY, remove, 0), Some((30, Policy::Keep)));
        assert_eq!(to(NOBODY, remove, 301), Some((40, Policy::MaxTotalBytes)));
        assert_eq!(to(NOBODY, config(None, WhenFull::RemoveOldest), 1), Some((10, Policy::MaxTotalBytes)));
    }

    #[test]
    fn what_somebody_needs_stays_and_what_is_not_known_is_needed() {
        let config = config(Some(1), WhenFull::RemoveOldest);
        for (needs, left) in [
            (NOBODY, Some(90)),
            (Needs { vouched: 59, ..NOBODY }, Some(50)),
            (Needs { vouched: 0, ..NOBODY }, None),
            (Needs { open: 50, ..NOBODY }, Some(40)),
            (Needs { open: 51, ..NOBODY }, Some(50)),
            (Needs { exported: Some(30), ..NOBODY }, Some(20)),
            (Needs { exported: Some(31), ..NOBODY }, Some(30)),
            (Needs { exported: Some(1), ..NOBODY }, None),
            (Needs { acknowledged: Some(0), ..NOBODY }, None),
            (Needs { acknowledged: Some(89), ..NOBODY }, Some(80)),
            (Needs { vouched: 59, acknowledged: Some(59), exported: Some(60), ..NOBODY }, Some(50)),
            (Needs { vouched: 59, acknowledged: Some(60), ..NOBODY }, None),
            (Needs { vouched: 59, exported: Some(61), ..NOBODY }, None),
            (Needs { blocked: Some(0), ..NOBODY }, None),
            (Needs { blocked: Some(39), ..NOBODY }, Some(30)),
        ] {
            assert_eq!(to(needs, config, u64::MAX).map(|(to, _)| to), left, "{needs:?}");
        }
    }

    fn any_needs() -> impl Strategy<Value = Needs> {
        let line = || 0..220_u64;
        (line(), line(), proptest::option::of(line()), proptest::option::of(line())).prop_map(
            |(vouched, open, exported, acknowledged)| Needs {
                vouched,
                open,
                exported,
                acknowledged,
                blocked: None,
            },
        )
    }

    proptest! {
        #[test]
        fn never_what_is_needed_or_inside_keep(
            sizes in proptest::collection::vec((1..20_u64, 0..48_u32, 0..1000_u64), 0..12),
            needs in any_needs(),
            keep in proptest::option::of(0..48_u32),
            remove in any::<bool>(),
            over in 0..5000_u64,
        ) {
            let mut last = 0;
            let files: Vec<_> = sizes.into_iter().map(|(lines, hours, bytes)| {
                last += lines;
                Rotated { last, youngest: NOW.minus(HOUR * hours), bytes }
            }).collect();
            let when_full = if remove { WhenFull::RemoveOldest } else { WhenFull::Refuse };
            let config = config(keep, when_full);
            let plan = plan(&files, needs, config, over, NOW);
            let gone = &files[..plan.map_or(0, |plan| plan.files)];
            let young = |file: &Rotated| keep.is_none_or(|keep| NOW.since(file.youngest) < HOUR * keep);
            for (at, file) in gone.iter().enumerate() {
                prop_assert!(file.last <= needs.vouched && file.last < needs.open);
                prop_assert!(needs.exported.is_none_or(|first| file.last < first));
                prop_assert!(needs.acknowledged.is_none_or(|kept| file.last <= kept));
                let freed: u64 = files[..at].iter().map(|file| file.bytes).sum();
                prop_assert!(!young(file) || (remove && freed < over), "inside `keep`");
            }
            if let Some(plan) = plan {
                prop_assert_eq!(plan.to, gone.last().unwrap().last);
                prop_assert_eq!(plan.policy() == Policy::MaxTotalBytes, gone.iter().any(young));
                let early = gone.iter().rev().find(|file| young(file)).map_or(0, |file| file.last);
                prop_assert_eq!(plan.early_to, early);
            }
            // Nothing that could go is left, either.
            if let Some(next) = files.get(gone.len()) {
                let freed: u64 = gone.iter().map(|file| file.bytes).sum();
                let needed = next.last > needs.spared();
                prop_assert!(needed || (young(next) && !(remove && freed < over)));
            }
        }
    }
}
