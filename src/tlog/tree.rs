//! A tree that grows at its right edge. It keeps no more than that edge, and hands out each tile as it becomes full.

use super::hash::Hash;
use super::tile::{HEIGHT, Tile, TileReader, WIDTH};

/// A tile with its hashes.
pub type FullTile = (Tile, Vec<Hash>);

/// See the module's comment. Per level of tiles it holds at most 255 hashes, and those full tiles that were not taken yet.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    size: u64,
    /// The hashes of the tile at the edge, lowest level first; none is full.
    edge: Vec<Vec<Hash>>,
    full: Vec<FullTile>,
}

impl Tree {
    /// The tree of `size` leaves whose edge is read from tiles. Whether it is the right one only its root can tell.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read<R: TileReader>(size: u64, reader: &R) -> Result<Self, R::Error> {
        let mut tree = Self { size, ..Self::default() };
        for tile in Tile::partial(size) {
            let hashes = reader.read(tile)?;
            tree.level(tile.level).extend(hashes);
        }
        Ok(tree)
    }

    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next leaf, by its hash.
    pub fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0.. {
            let tile = self.level(level);
            tile.push(hash);
            if u64::try_from(tile.len()).unwrap_or(0) < WIDTH {
                return;
            }
            let hashes = std::mem::take(tile);
            let above = Hash::perfect(&hashes);
            let index = (self.size >> (level * HEIGHT)) / WIDTH - 1;
            self.full.push((Tile { level, index, width: WIDTH }, hashes));
            let Some(above) = above else { return };
            hash = above;
        }
    }

    /// The root of all its leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut root: Option<Hash> = None;
        for tile in &self.edge {
            let mut rest = tile.as_slice();
            // From the right: the smallest whole subtree is the last.
            while !rest.is_empty() {
                let (before, last) = rest.split_at(rest.len() - (1 << rest.len().trailing_zeros()));
                rest = before;
                root = match (Hash::perfect(last), root) {
                    (Some(left), Some(right)) => Some(Hash::node(&left, &right)),
                    (one, other) => one.or(other),
                };
            }
        }
        root.unwrap_or_else(Hash::empty)
    }

    /// The tiles at the edge as they are now.
    pub fn partial(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        Tile::partial(self.size).filter_map(|tile| {
            let hashes = self.edge.get(usize::try_from(tile.level).ok()?)?;
            Some((tile, hashes.as_slice()))
        })
    }

    /// The tiles that became full and were not removed by [`Self::forget_full`], oldest first.
    #[must_use]
    pub fn full(&self) -> &[FullTile] {
        &self.full
    }

    /// Forgets the `count` oldest of [`Self::full`]: they are kept elsewhere now.
    pub fn forget_full(&mut self, count: usize) {
        self.full.drain(..count.min(self.full.len()));
    }

    fn level(&mut self, level: u32) -> &mut Vec<Hash> {
        let at = usize::try_from(level).unwrap_or(0);
        while self.edge.len() <= at {
            self.edge.push(Vec::new());
        }
        // It was just made.
        match self.edge.get_mut(at) {
            Some(tile) => tile,
            None => unreachable!("level {level} was just made"),
        }
    }
}
