//! Proofs (RFC 6962, sections 2.1.1 and 2.1.2) made from stored hashes, and checked as RFC 9162, section 2.1.3.2 and 2.1.4.2, says.

use super::hash::Hash;

/// Where the hashes of whole subtrees come from.
pub trait HashReader {
    /// Why one cannot be read.
    type Error;

    /// The hash over the leaves `index << level` and the `2^level - 1` behind it. `None` if the tree has not so many.
    ///
    /// # Errors
    /// When it cannot be read.
    fn hash(&self, level: u32, index: u64) -> Result<Option<Hash>, Self::Error>;
}

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It speaks of more leaves than there are.
    #[error("leaf or size {asked} is beyond the tree's size {size}")]
    Beyond {
        /// Asked for.
        asked: u64,
        /// Leaves there are.
        size: u64,
    },
    /// It has another length than a proof of these sizes.
    #[error("the proof has too few or too many hashes")]
    Length,
    /// It leads to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The hashes that lead from leaf `index` to the root of the tree with `size` leaves. `None` if there is no such leaf.
///
/// # Errors
/// Those of the reader.
pub fn inclusion<R: HashReader>(reader: &R, index: u64, size: u64) -> Result<Option<Vec<Hash>>, R::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut low, mut high) = (0, size);
    let mut path = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        let sibling = if index < middle { (middle, high) } else { (low, middle) };
        let Some(hash) = range(reader, sibling.0, sibling.1)? else { return Ok(None) };
        path.push(hash);
        (low, high) = if index < middle { (low, middle) } else { (middle, high) };
    }
    path.reverse();
    Ok(Some(path))
}

/// The hashes that show that the tree with `old` leaves is the beginning of that with `new`. `None` if that is the smaller one.
///
/// # Errors
/// Those of the reader.
pub fn consistency<R: HashReader>(reader: &R, old: u64, new: u64) -> Result<Option<Vec<Hash>>, R::Error> {
    if old > new {
        return Ok(None);
    }
    if old == 0 || old == new {
        return Ok(Some(Vec::new()));
    }
    let (mut low, mut high) = (0, new);
    let mut path = Vec::new();
    while old < high {
        let middle = low + split(high - low);
        let sibling = if old <= middle { (middle, high) } else { (low, middle) };
        let Some(hash) = range(reader, sibling.0, sibling.1)? else { return Ok(None) };
        path.push(hash);
        (low, high) = if old <= middle { (low, middle) } else { (middle, high) };
    }
    if low > 0 {
        // Otherwise it is the old root itself, which the reader of the proof has.
        let Some(hash) = range(reader, low, high)? else { return Ok(None) };
        path.push(hash);
    }
    path.reverse();
    Ok(Some(path))
}

/// The root of the tree with `size` leaves. `None` if the reader has not so many.
///
/// # Errors
/// Those of the reader.
pub fn root<R: HashReader>(reader: &R, size: u64) -> Result<Option<Hash>, R::Error> {
    if size == 0 { Ok(Some(Hash::empty())) } else { range(reader, 0, size) }
}

/// Checks that `leaf` is number `index` of the tree.
///
/// # Errors
/// [`ProofError`].
pub fn check_inclusion(
    path: &[Hash],
    leaf: &Hash,
    index: u64,
    size: u64,
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Beyond { asked: index, size });
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            hash = Hash::node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = Hash::node(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        (1.., _) => Err(ProofError::Length),
    }
}

/// Checks that the tree `old` (its size and root) is the beginning of `new`.
///
/// # Errors
/// [`ProofError`].
pub fn check_consistency(path: &[Hash], old: (u64, &Hash), new: (u64, &Hash)) -> Result<(), ProofError> {
    let ((old, old_root), (new, new_root)) = (old, new);
    if old > new {
        return Err(ProofError::Beyond { asked: old, size: new });
    }
    if old == new || old == 0 {
        let same = if old == new { old_root == new_root } else { *old_root == Hash::empty() };
        return match (path.is_empty(), same) {
            (true, true) => Ok(()),
            (true, false) => Err(ProofError::Root),
            (false, _) => Err(ProofError::Length),
        };
    }
    let (first, rest) = if old.is_power_of_two() {
        (*old_root, path)
    } else {
        let (first, rest) = path.split_first().ok_or(ProofError::Length)?;
        (*first, rest)
    };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut of_old, mut of_new) = (first, first);
    for hash in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            of_old = Hash::node(hash, &of_old);
            of_new = Hash::node(hash, &of_new);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            of_new = Hash::node(&of_new, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match (last, of_old == *old_root && of_new == *new_root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        (1.., _) => Err(ProofError::Length),
    }
}

/// The root over the leaves from `low` up to `high`, where `low` is where a subtree begins.
fn range<R: HashReader>(reader: &R, low: u64, high: u64) -> Result<Option<Hash>, R::Error> {
    let count = high - low;
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return reader.hash(level, low >> level);
    }
    let middle = low + split(count);
    let left = range(reader, low, middle)?;
    let right = range(reader, middle, high)?;
    Ok(left.zip(right).map(|(left, right)| Hash::node(&left, &right)))
}

/// The largest power of two below `count`, which is 2 or more.
fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}
