//! Tiles (c2sp.org/tlog-tiles): 256 neighbouring hashes of every eighth level of the tree in one file.

use super::checkpoint::decimal;
use super::hash::{HASH_LEN, Hash};
use super::proof::HashReader;
use std::cell::RefCell;
use std::fmt::Write as _;

/// Levels that one tile spans.
pub const HEIGHT: u32 = 8;
/// Hashes of a full tile.
pub const WIDTH: u64 = 1 << HEIGHT;

/// Which tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// Its hashes are those of the tree's level `level * 8`.
    pub level: u32,
    /// Which of its level, from the left.
    pub index: u64,
    /// How many hashes it holds, 1 to 256.
    pub width: u64,
}

impl Tile {
    /// The tile of a tree of `size` leaves that holds hash `at` of level `level * 8`. `None` if that tree has none there.
    #[must_use]
    pub fn holding(level: u32, at: u64, size: u64) -> Option<Self> {
        let there = level.checked_mul(HEIGHT).and_then(|bits| size.checked_shr(bits)).unwrap_or(0);
        let index = at / WIDTH;
        (at < there).then(|| Self { level, index, width: (there - index * WIDTH).min(WIDTH) })
    }

    /// The tiles on the right edge of a tree of `size` leaves that are not full, lowest first.
    pub fn partial(size: u64) -> impl Iterator<Item = Self> {
        (0..u64::BITS / HEIGHT)
            .map(move |level| (level, size >> (level * HEIGHT)))
            .filter(|(_, there)| there % WIDTH > 0)
            .map(|(level, there)| Self { level, index: there / WIDTH, width: there % WIDTH })
    }

    /// Where it is below the log's prefix: `tile/0/x001/x234/067`, with `.p/W` behind it if it is not full.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = self.full_path();
        if self.width < WIDTH {
            let _ = write!(path, ".p/{}", self.width);
        }
        path
    }

    /// The tile that [`Self::path`] calls so; `path` begins behind `tile/`.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let (full, width) = match path.split_once(".p/") {
            Some((full, width)) => (full, decimal(width).filter(|width| (1..WIDTH).contains(width))?),
            None => (path, WIDTH),
        };
        let (level, groups) = full.split_once('/')?;
        let level = decimal(level).filter(|level| *level < (u64::BITS / HEIGHT).into())?;
        let mut index = 0_u64;
        for group in groups.split('/') {
            let group: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(group)?;
        }
        let tile = Self { level: u32::try_from(level).ok()?, index, width };
        // Each has one name.
        (tile.path().strip_prefix("tile/") == Some(path)).then_some(tile)
    }

    /// Where it is once it is full.
    #[must_use]
    pub fn full_path(&self) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        format!("tile/{}/{}", self.level, groups.join("/"))
    }
}

/// The content of a tile.
#[must_use]
pub fn encode(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(Hash::as_bytes).copied().collect()
}

/// The first `width` hashes of a tile's content, which may be that of a wider tile. `None` if there are not so many.
#[must_use]
pub fn decode(content: &[u8], width: u64) -> Option<Vec<Hash>> {
    let whole = content.len().is_multiple_of(HASH_LEN);
    let hashes: Vec<Hash> = content
        .chunks_exact(HASH_LEN)
        .take(usize::try_from(width).ok()?)
        .filter_map(Hash::from_bytes)
        .collect();
    (whole && u64::try_from(hashes.len()) == Ok(width)).then_some(hashes)
}

/// Where tiles come from.
pub trait TileReader {
    /// Why one cannot be read.
    type Error;

    /// The first `tile.width` hashes of a tile.
    ///
    /// # Errors
    /// If it is not there, or shorter.
    fn read(&self, tile: Tile) -> Result<Vec<Hash>, Self::Error>;
}

/// The hashes of a tree of a given size, out of its tiles.
pub struct TileHashes<'a, R> {
    reader: &'a R,
    size: u64,
    /// The tile that was read last: neighbours are often asked for one after the other.
    last: RefCell<Option<(Tile, Vec<Hash>)>>,
}

impl<'a, R: TileReader> TileHashes<'a, R> {
    /// Of the tree with `size` leaves.
    pub fn new(reader: &'a R, size: u64) -> Self {
        Self { reader, size, last: RefCell::new(None) }
    }
}

impl<R: TileReader> HashReader for TileHashes<'_, R> {
    type Error = R::Error;

    fn hash(&self, level: u32, index: u64) -> Result<Option<Hash>, R::Error> {
        let (tile_level, above) = (level / HEIGHT, level % HEIGHT);
        // The hashes of the tile that this one stands over.
        let (first, count) = (index << above, 1_u64 << above);
        let Some(tile) = Tile::holding(tile_level, first + count - 1, self.size) else { return Ok(None) };
        let mut last = self.last.borrow_mut();
        let hashes = match last.take().filter(|(known, _)| *known == tile) {
            Some((_, hashes)) => hashes,
            None => self.reader.read(tile)?,
        };
        let from = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        let found = hashes.get(from..to).and_then(Hash::perfect);
        *last = Some((tile, hashes));
        Ok(found)
    }
}
