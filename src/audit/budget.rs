//! How many lines refused requests and handshakes may write, and the counting of those above it.
//!
//! Sans-I/O: `now` goes in, a verdict or summaries come out. Everything is bounded: sources that have a bucket of their own, and
//! pairs of source and reason that are counted apart; what is above shares one bucket and is counted under `other`.
//! Invariant: each refusal is either written (the caller was told so) or in exactly one count until a summary carries it away.

use super::line::Summary;
use super::record::Kind;
use super::settings::DenialBudget;
use crate::model::{DenyReason, Time};
use crate::runtime::clock::Mono;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Sources that have a bucket of their own.
const SOURCES: usize = 4_096;
/// Counts that are kept apart by source.
const COUNTS: usize = 1_024;
/// One source gets this part of the whole.
const SOURCE_SHARE: u32 = 10;

/// Where refusals come from, as far as a stranger cannot multiply it: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source(IpAddr);

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Self(v4),
            IpAddr::V6(v6) => Self(Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64)).into()),
        }
    }

    fn text(self) -> String {
        match self.0 {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("{v6}/64"),
        }
    }
}

/// A token bucket as one number: when it will be full again (the generic cell rate algorithm).
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at: u64,
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy)]
struct Rate {
    nanos_each: u64,
    nanos_full: u64,
}

impl Rate {
    fn new(per_second: u32, burst: u32) -> Self {
        // Never zero: a budget of nothing would leave a refused request without any line for ever.
        let nanos_each = 1_000_000_000 / u64::from(per_second.max(1));
        Self { nanos_each, nanos_full: nanos_each.saturating_mul(u64::from(burst.max(1))) }
    }
}

impl Bucket {
    fn has(self, rate: Rate, now: u64) -> bool {
        self.full_at.max(now).saturating_add(rate.nanos_each) <= now.saturating_add(rate.nanos_full)
    }

    fn take(&mut self, rate: Rate, now: u64) {
        self.full_at = self.full_at.max(now).saturating_add(rate.nanos_each);
    }
}

#[derive(Debug, Clone, Copy)]
struct Count {
    from: Time,
    to: Time,
    count: u64,
}

impl Count {
    fn one(now: Time) -> Self {
        Self { from: now, to: now, count: 1 }
    }

    fn add(&mut self, other: Self) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.count = self.count.saturating_add(other.count);
    }
}

/// `None` as source: the lines of sources beyond [`COUNTS`].
type Key = (Option<Source>, Kind, &'static str);

/// See the module's comment.
#[derive(Debug)]
pub(super) struct Budget {
    whole: Rate,
    share: Rate,
    overall: Bucket,
    others: Bucket,
    sources: HashMap<Source, Bucket, RandomState>,
    swept: Mono,
    counts: HashMap<Key, Count, RandomState>,
    outage: Option<Count>,
}

impl Budget {
    /// All buckets full.
    pub(super) fn new(config: DenialBudget) -> Self {
        Self {
            whole: Rate::new(config.per_second, config.burst),
            share: Rate::new(config.per_second / SOURCE_SHARE, config.burst / SOURCE_SHARE),
            overall: Bucket::default(),
            others: Bucket::default(),
            sources: HashMap::default(),
            swept: Mono::default(),
            counts: HashMap::default(),
            outage: None,
        }
    }

    /// Whether a refusal from here may have a line of its own now. If not, [`Budget::count`] it.
    pub(super) fn spend(&mut self, source: IpAddr, now: Mono) -> bool {
        let nanos = now.as_nanos();
        let (whole, share) = (self.whole, self.share);
        if !self.overall.has(whole, nanos) {
            return false;
        }
        let own = self.bucket(Source::of(source), now);
        if !own.has(share, nanos) {
            return false;
        }
        own.take(share, nanos);
        self.overall.take(whole, nanos);
        true
    }

    fn bucket(&mut self, source: Source, now: Mono) -> &mut Bucket {
        if self.sources.len() >= SOURCES && now.since(self.swept) >= Duration::from_secs(1) {
            // A full bucket says nothing that a new one would not say.
            self.swept = now;
            self.sources.retain(|_, bucket| bucket.full_at > now.as_nanos());
        }
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            return &mut self.others;
        }
        self.sources.entry(source).or_default()
    }

    /// A refusal that has no line.
    pub(super) fn count(&mut self, kind: Kind, source: IpAddr, reason: &'static str, now: Time) {
        self.add((Some(Source::of(source)), kind, reason), Count::one(now));
    }

    fn add(&mut self, key: Key, count: Count) {
        let full = self.counts.len() >= COUNTS && !self.counts.contains_key(&key);
        let key = if full { (None, key.1, key.2) } else { key };
        self.counts.entry(key).and_modify(|all| all.add(count)).or_insert(count);
    }

    /// A request that would have been permitted, had there been room for its line.
    pub(super) fn count_outage(&mut self, now: Time) {
        match &mut self.outage {
            Some(outage) => outage.add(Count::one(now)),
            None => self.outage = Some(Count::one(now)),
        }
    }

    /// How many such requests no summary has told of.
    pub(super) fn refused(&self) -> u64 {
        self.outage.map_or(0, |outage| outage.count)
    }

    /// What one summary line says of the outage, now that it is over.
    pub(super) fn take_outage(&mut self) -> Option<Summary> {
        let Count { from, to, count } = self.outage.take()?;
        let reason = DenyReason::AuditUnavailable.as_str();
        Some(Summary { of: Kind::End, source: None, reason, from, to, count })
    }

    /// The outage's summary did not fit after all.
    pub(super) fn put_back_outage(&mut self, summary: &Summary) {
        let count = Count { from: summary.from, to: summary.to, count: summary.count };
        match &mut self.outage {
            Some(outage) => outage.add(count),
            None => self.outage = Some(count),
        }
    }

    /// Whether no refusal waits for a summary.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.outage.is_none()
    }

    /// Carries counts away as summaries, as long as `fits` takes them; the rest stays.
    pub(super) fn take_summaries(&mut self, mut fits: impl FnMut(&Summary) -> bool) {
        let mut full = false;
        self.counts.retain(|(source, of, reason), Count { from, to, count }| {
            let source = Some(source.map_or_else(|| "other".to_owned(), Source::text));
            let summary = Summary { of: *of, source, reason, from: *from, to: *to, count: *count };
            full = full || !fits(&summary);
            full
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: DenialBudget = DenialBudget { per_second: 100, burst: 50 };
    const T: Time = Time::from_micros(7);

    fn at(millis: u64) -> Mono {
        Mono::from_nanos(millis * 1_000_000 + 3_600_000_000_000)
    }

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn summaries(budget: &mut Budget) -> Vec<Summary> {
        let mut all = Vec::new();
        budget.take_summaries(|summary| {
            all.push(summary.clone());
            true
        });
        all
    }

    #[test]
    fn one_source_gets_its_share_and_no_more() {
        let mut budget = Budget::new(CONFIG);
        assert_eq!((0..100).filter(|_| budget.spend(ip(1), at(0))).count(), 5, "a tenth of the burst");
        assert!(budget.spend(ip(2), at(0)), "another source is not affected");
        assert!(!budget.spend(ip(1), at(99)));
        assert!(budget.spend(ip(1), at(100)), "10 a second");
    }

    #[test]
    fn all_sources_together_get_the_whole_and_no_more() {
        let mut budget = Budget::new(CONFIG);
        assert_eq!((0..1_000).filter(|n| budget.spend(ip(*n), at(0))).count(), 50);
        assert_eq!((0..1_000).filter(|n| budget.spend(ip(*n), at(100))).count(), 10);
    }

    #[test]
    fn networks_of_ipv6_are_one_source_and_mapped_ipv4_is_ipv4() {
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::ffff:2".parse().unwrap();
        let c: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        assert_eq!(Source::of(a), Source::of(b));
        assert_ne!(Source::of(a), Source::of(c));
        assert_eq!(Source::of(a).text(), "2001:db8::/64");
        assert_eq!(Source::of("::ffff:10.0.0.1".parse().unwrap()).text(), "10.0.0.1");
    }

    #[test]
    fn memory_is_bounded_and_nothing_goes_uncounted() {
        let mut budget = Budget::new(DenialBudget { per_second: 1_000_000, burst: 1_000_000 });
        for n in 0..100_000 {
            budget.spend(ip(n), at(0));
            budget.count(Kind::End, ip(n), "no_grant", T);
        }
        assert!(budget.sources.len() <= SOURCES);
        assert!(budget.counts.len() <= COUNTS + 1);
        let all = summaries(&mut budget);
        assert_eq!(all.iter().map(|summary| summary.count).sum::<u64>(), 100_000);
        let others = all.iter().find(|summary| summary.source.as_deref() == Some("other")).unwrap();
        assert_eq!(others.count, 100_000 - COUNTS as u64);
        assert!(summaries(&mut budget).is_empty());
    }

    #[test]
    fn idle_sources_make_place_for_new_ones() {
        let mut budget = Budget::new(DenialBudget { per_second: 1_000_000, burst: 1_000_000 });
        for n in 0..5_000 {
            budget.spend(ip(n), at(0));
        }
        assert!(budget.spend(ip(9_999), at(2_000)));
        assert_eq!(budget.sources.len(), 1);
    }

    #[test]
    fn counts_are_apart_by_source_reason_and_kind_and_know_their_span() {
        let mut budget = Budget::new(CONFIG);
        for (kind, source, reason, time) in [
            (Kind::End, 1, "no_grant", 5),
            (Kind::End, 1, "no_grant", 3),
            (Kind::End, 1, "no_grant", 9),
            (Kind::End, 1, "expired", 1),
            (Kind::Handshake, 1, "expired", 1),
            (Kind::End, 2, "no_grant", 1),
        ] {
            budget.count(kind, ip(source), reason, Time::from_micros(time));
        }
        let all = summaries(&mut budget);
        assert_eq!(all.len(), 4);
        assert!(all.contains(&Summary {
            of: Kind::End,
            source: Some("0.0.0.1".into()),
            reason: "no_grant",
            from: Time::from_micros(3),
            to: Time::from_micros(9),
            count: 3,
        }));
    }

    #[test]
    fn what_does_not_fit_stays_counted() {
        let mut budget = Budget::new(CONFIG);
        for n in 0..10 {
            budget.count(Kind::End, ip(n), "no_grant", T);
        }
        let mut taken = 0;
        budget.take_summaries(|_| {
            taken += 1;
            taken <= 3
        });
        assert_eq!(summaries(&mut budget).len(), 7);
        budget.count_outage(T);
        budget.count_outage(Time::from_micros(9));
        let outage = budget.take_outage().unwrap();
        assert_eq!((outage.count, outage.source.clone(), outage.reason), (2, None, "audit_unavailable"));
        budget.put_back_outage(&outage);
        assert_eq!(budget.take_outage(), Some(outage));
        assert_eq!(budget.take_outage(), None);
    }
}
