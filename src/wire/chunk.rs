//! Cuts snapshots and deltas into messages of at most [`CHUNK_BYTES`], lazily: a slow reader holds one chunk, not a table.

use crate::model::{Delta, Grant, Revision};
use crate::wire::convert::MAX_ITEMS;
use crate::wire::generated as raw;
use prost::Message;
use std::iter::Peekable;
use std::sync::Arc;

/// Largest message that is made of several items.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Largest message that either side reads: a single item may be larger than a chunk, but not larger than this.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Room for the fields around the items, and for the tag and length of each.
const FRAME_BYTES: usize = 64;
const ITEM_BYTES: usize = 8;

/// The messages that carry the whole table at `revision`; at least one.
pub fn snapshot(
    revision: Revision,
    grants: impl IntoIterator<Item = Arc<Grant>>,
) -> impl Iterator<Item = raw::Down> {
    let items = grants.into_iter().map(|grant| raw::Grant::from(grant.as_ref()));
    parts(items).map(move |(grants, last)| {
        let part = raw::SnapshotChunk { revision: revision.0, grants, last };
        raw::Down { body: Some(raw::down::Body::Snapshot(part)) }
    })
}

/// The messages that carry what changed after `after`; at least one.
pub fn delta(after: Revision, delta: Delta) -> impl Iterator<Item = raw::Down> {
    let revision = delta.revision;
    let items = delta.changes.into_iter().map(|change| raw::Change::from(&change));
    parts(items).map(move |(changes, last)| {
        let part = raw::DeltaChunk { after: after.0, revision: revision.0, changes, last };
        raw::Down { body: Some(raw::down::Body::Delta(part)) }
    })
}

fn parts<T: Message>(items: impl Iterator<Item = T>) -> impl Iterator<Item = (Vec<T>, bool)> {
    let mut items = items.peekable();
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let part = fill(&mut items);
        done = items.peek().is_none();
        Some((part, done))
    })
}

fn fill<T: Message>(items: &mut Peekable<impl Iterator<Item = T>>) -> Vec<T> {
    let mut part = Vec::new();
    let mut bytes = FRAME_BYTES;
    while part.len() < MAX_ITEMS
        && let Some(item) =
            items.next_if(|item| part.is_empty() || bytes + item.encoded_len() + ITEM_BYTES <= CHUNK_BYTES)
    {
        bytes += item.encoded_len() + ITEM_BYTES;
        part.push(item);
    }
    part
}
