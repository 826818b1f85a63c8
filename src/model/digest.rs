//! A fingerprint of a set of grants, kept up to date in constant time as grants come and go. Two tables with different digests
//! differ; it guards against bugs and bit rot, not against forgers (the channel is authenticated).

use crate::model::{GrantId, Revision};

/// Order-independent digest of the grants that were issued and not yet ended by the log. A grant whose window has closed counts
/// until its end is logged, and a grant that a proxy's own ceilings refuse counts too: both sides must count the same set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(u64);

impl Digest {
    /// Puts a grant in, by its id and the revision that issued it.
    pub fn add(&mut self, grant: GrantId, revision: Revision) {
        self.0 ^= term(grant, revision);
    }

    /// Takes a grant out again.
    pub fn remove(&mut self, grant: GrantId, revision: Revision) {
        self.0 ^= term(grant, revision);
    }

    /// The digest of two disjoint sets together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }

    /// For the wire.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// From [`Self::to_bits`].
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

fn term(grant: GrantId, revision: Revision) -> u64 {
    let bits = grant.to_bits();
    let [low, high] = [bits as u64, (bits >> 64) as u64];
    mix(mix(mix(low).wrapping_add(high)).wrapping_add(revision.0))
}

/// The finaliser of SplitMix64: each input bit changes each output bit with probability one half.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> GrantId {
        GrantId::from_bits(n)
    }

    #[test]
    fn tells_sets_apart_whatever_the_order() {
        let (mut one, mut two) = (Digest::default(), Digest::default());
        one.add(id(1), Revision(1));
        one.add(id(2), Revision(1));
        two.add(id(2), Revision(1));
        assert_ne!(one, two);
        two.add(id(1), Revision(1));
        assert_eq!(one, two);
        two.remove(id(1), Revision(1));
        two.add(id(1), Revision(2));
        assert_ne!(one, two, "issued by another event");
        two.remove(id(1), Revision(2));
        two.remove(id(2), Revision(1));
        assert_eq!(two, Digest::default());
    }
}
