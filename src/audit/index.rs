//! A small file beside a compressed segment that says what cannot be in it, so that a search need not open it.
//!
//! `NAME.idx` for the segment `NAME[.zst]`: numbers and times of its lines, and a Bloom filter of the values that people search by.
//! It only ever saves work. One that is missing, damaged, of another version or of another file is not believed, and a segment with a
//! line that is not understood gets none: then the segment is read. Whoever can write it can also hide lines from a search; what
//! proves a trail is the log over its lines, not this.

use super::search::{Conditions, FIELDS, Field};
use super::segments::{Segment, compressed, seq};
use crate::model::Time;
use aws_lc_rs::digest::{SHA256, digest};
use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Names the format; another one is another name.
const MAGIC: &[u8; 16] = b"jitgate-index-1\n";
/// Bits a value and probes: of values that are not there, one in 1,500 is taken for one that may be.
const BITS: usize = 16;
const PROBES: u64 = 7;
/// A segment with more distinct values gets no index; this bounds the memory of making one.
const MOST_VALUES: usize = 16 << 20;
/// More is no index of ours.
const MOST_BYTES: u64 = 64 << 20;

/// What a segment may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    first: u64,
    last: u64,
    earliest: Time,
    latest: Time,
    /// The size of the compressed file that it is about.
    size: u64,
    filter: Vec<u64>,
}

/// `NAME.idx` for a plain `NAME`.
pub(super) fn path(plain: &Path) -> PathBuf {
    let mut name = plain.as_os_str().to_owned();
    name.push(".idx");
    name.into()
}

impl Index {
    /// That of a compressed segment, if there is one that can be believed.
    pub(super) fn of(segment: &Segment) -> Option<Self> {
        if !segment.is_compressed() {
            return None;
        }
        let plain = segment.plain();
        let path = path(&plain);
        if std::fs::metadata(&path).ok()?.len() > MOST_BYTES {
            return None;
        }
        let index = Self::decode(&std::fs::read(path).ok()?)?;
        let size = std::fs::metadata(compressed(&plain)).ok()?.len();
        (Some(index.last) == segment.last() && index.size == size).then_some(index)
    }

    /// Whether a line that fits may be there.
    pub(super) fn may_hold(&self, conditions: &Conditions) -> bool {
        conditions.since().is_none_or(|since| self.latest >= since)
            && conditions.until().is_none_or(|until| self.earliest < until)
            && conditions.equal().iter().all(|(field, value)| self.has(hash(*field, value)))
    }

    fn has(&self, hash: u64) -> bool {
        let words = self.filter.len();
        probes(hash, words).all(|(word, bit)| self.filter.get(word).is_some_and(|word| word & bit != 0))
    }

    /// As it is written: numbers of 8 bytes, least first, then a digest of them.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for number in [self.first, self.last, self.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for time in [self.earliest, self.latest] {
            out.extend_from_slice(&time.as_micros().to_le_bytes());
        }
        for word in &self.filter {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let sum = digest(&SHA256, &out);
        out.extend_from_slice(sum.as_ref());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if digest(&SHA256, body).as_ref() != sum {
            return None;
        }
        let (words, rest) = body.strip_prefix(MAGIC)?.as_chunks::<8>();
        let (head, filter) = words.split_first_chunk::<5>()?;
        if !rest.is_empty() || filter.is_empty() {
            return None;
        }
        let [first, last, size, earliest, latest] = head.map(u64::from_le_bytes);
        let time = |word: u64| Time::from_micros(word.cast_signed());
        let filter = filter.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Some(Self { first, last, earliest: time(earliest), latest: time(latest), size, filter })
    }
}

/// Takes the lines of a segment.
#[derive(Debug, Default)]
pub(super) struct Builder {
    numbers: Option<(u64, u64)>,
    times: Option<(Time, Time)>,
    values: HashSet<u64>,
    /// What the last line had, which most have as well, by the place in [`FIELDS`].
    latest: [Option<String>; FIELDS.len()],
    /// A line was not understood.
    unsure: bool,
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    kind: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    principal: Option<Cow<'a, str>>,
    service: Option<Cow<'a, str>>,
    tool: Option<Cow<'a, str>>,
    grant: Option<Cow<'a, str>>,
    task: Option<Cow<'a, str>>,
    decision: Option<Cow<'a, str>>,
    reason: Option<Cow<'a, str>>,
}

impl Line<'_> {
    fn get(&self, field: Field) -> Option<&str> {
        let value = match field {
            Field::Kind => &self.kind,
            Field::RequestId => &self.request_id,
            Field::Principal => &self.principal,
            Field::Service => &self.service,
            Field::Tool => &self.tool,
            Field::Grant => &self.grant,
            Field::Task => &self.task,
            Field::Decision => &self.decision,
            Field::Reason => &self.reason,
        };
        value.as_deref()
    }
}

impl Builder {
    /// The next line.
    pub(super) fn add(&mut self, line: &[u8]) {
        if !self.unsure && self.take(line).is_none() {
            self.unsure = true;
            self.values = HashSet::new();
        }
    }

    fn take(&mut self, line: &[u8]) -> Option<()> {
        let number = seq(line)?;
        // Also refuses what a reader that takes the last of two members of a name would read otherwise.
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let time: Time = line.time.parse().ok()?;
        let (first, last) = self.numbers.unwrap_or((number, number));
        self.numbers = Some((first.min(number), last.max(number)));
        let (earliest, latest) = self.times.unwrap_or((time, time));
        self.times = Some((earliest.min(time), latest.max(time)));
        for (field, latest) in FIELDS.into_iter().zip(&mut self.latest) {
            if let Some(value) = line.get(field).filter(|value| latest.as_deref() != Some(value)) {
                self.values.insert(hash(field, value));
                value.clone_into(latest.get_or_insert_default());
            }
        }
        (self.values.len() <= MOST_VALUES).then_some(())
    }

    /// The index of all lines that were added, for a compressed file of `size` bytes; `None` if one was not understood.
    pub(super) fn finish(self, size: u64) -> Option<Index> {
        let ((first, last), (earliest, latest)) = self.numbers.zip(self.times).filter(|_| !self.unsure)?;
        let words = (self.values.len() * BITS).div_ceil(64).max(1);
        let mut filter = vec![0_u64; words];
        for value in self.values {
            for (word, bit) in probes(value, words) {
                if let Some(word) = filter.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        Some(Index { first, last, earliest, latest, size, filter })
    }
}

/// Where a value shows in a filter of so many words.
fn probes(hash: u64, words: usize) -> impl Iterator<Item = (usize, u64)> {
    let bits = u64::try_from(words).unwrap_or(u64::MAX).saturating_mul(64).max(1);
    let step = mixed(hash) | 1;
    (0..PROBES).map(move |n| {
        let bit = hash.wrapping_add(n.wrapping_mul(step)) % bits;
        (usize::try_from(bit / 64).unwrap_or(usize::MAX), 1 << (bit % 64))
    })
}

/// The same on every machine and in every version: it is on disk. FNV-1a, then mixed.
fn hash(field: Field, value: &str) -> u64 {
    let name = field.name().bytes().chain([0]);
    mixed(name.chain(value.bytes()).fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// The finalizer of splitmix64.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, grant: &str) -> String {
        format!(
            "{{\"seq\":{seq},\"time\":\"2026-11-22T10:00:{:02}.000000Z\",\"grant\":\"{grant}\",\"task\":null}}",
            seq % 60
        )
    }

    fn index() -> Index {
        let mut builder = Builder::default();
        for seq in 10..40 {
            builder.add(line(seq, &format!("gr_{seq}")).as_bytes());
        }
        builder.finish(77).unwrap()
    }

    fn at(second: &str) -> Time {
        format!("2026-11-22T10:00:{second}Z").parse().unwrap()
    }

    #[test]
    fn it_says_what_cannot_be_there() {
        let index = index();
        assert_eq!((index.first, index.last), (10, 39));
        let grant = |value: &str| Conditions::default().with(Field::Grant, value);
        assert!((10..40).all(|seq| index.may_hold(&grant(&format!("gr_{seq}")))));
        let wrong = (1_000..11_000).filter(|seq| index.may_hold(&grant(&format!("gr_{seq}")))).count();
        assert!(wrong < 100, "{wrong} of 10,000");
        assert!(
            !index.may_hold(&Conditions::default().with(Field::Task, "gr_10")),
            "a value of another field"
        );
        assert!(index.may_hold(&Conditions::default().between(Some(at("39")), None)));
        assert!(!index.may_hold(&Conditions::default().between(Some(at("39.000001")), None)));
        assert!(index.may_hold(&Conditions::default().between(None, Some(at("10.000001")))));
        assert!(!index.may_hold(&Conditions::default().between(None, Some(at("10")))));
    }

    #[test]
    fn a_value_is_there_whatever_the_line_before_had_even_none() {
        let mut builder = Builder::default();
        for (seq, grant) in [(1, ""), (2, "a"), (3, "b"), (4, "a"), (5, "")] {
            builder.add(line(seq, grant).as_bytes());
        }
        let index = builder.finish(1).unwrap();
        let grant = |value: &str| index.may_hold(&Conditions::default().with(Field::Grant, value));
        assert!(["", "a", "b"].into_iter().all(grant) && !grant("c"));
    }

    #[test]
    fn a_changed_byte_anywhere_makes_it_worthless() {
        let bytes = index().encode();
        assert_eq!(Index::decode(&bytes), Some(index()));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Index::decode(&changed), None, "byte {at}");
            assert_eq!(Index::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_line_that_is_not_understood_leaves_no_index() {
        for odd in [
            "{\"seq\":5}".to_owned(),
            line(5, "a") + "x",
            line(5, "a").replace("null", "7"),
            line(5, "a").replace("\"task\"", "\"grant\":\"b\",\"task\""),
            line(5, "a").replace("2026", "x"),
        ] {
            let mut builder = Builder::default();
            builder.add(line(4, "a").as_bytes());
            builder.add(odd.as_bytes());
            builder.add(line(6, "a").as_bytes());
            assert_eq!(builder.finish(1), None, "{odd}");
        }
    }
}
