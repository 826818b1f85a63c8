//! The tree of what was removed from the beginning of a log: its edge, kept apart from the tiles that come and go, and on the disk before
//! the first leaf goes. From then on it cannot be made anew from what is logged, and without it nothing of the rest could be.

use super::Store;
use crate::tlog::proof::{check_consistency, consistency};
use crate::tlog::{Checkpoint, Tile, TileHashes, Tree};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

impl Store {
    fn beginning(&self) -> Self {
        Self::at(self.folder().join("beginning"))
    }

    /// The tree of the first `size` leaves, if its edge was kept or is still in the tiles. Only a root tells whether it is the right one.
    ///
    /// # Errors
    /// Tiles are missing or damaged.
    pub fn begun(&self, size: u64) -> io::Result<Tree> {
        Tree::read(size, &self.beginning()).or_else(|_| Tree::read(size, self))
    }

    /// The tree of the first `size` leaves out of the tiles, from which `known` goes on.
    ///
    /// # Errors
    /// Tiles are missing or damaged.
    pub fn before(&self, size: u64, known: &Checkpoint) -> io::Result<Tree> {
        let damaged = || {
            let why = format!("the tiles of the first {size} lines are damaged: see `jitgate audit verify`");
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let tree = Tree::read(size, self)?;
        let root = tree.root();
        if size == known.size {
            if root != known.root {
                return Err(damaged());
            }
        } else {
            let path = consistency(&TileHashes::new(self, known.size), size, known.size)?.unwrap_or_default();
            check_consistency(&path, (size, &root), (known.size, &known.root)).map_err(|_| damaged())?;
        }
        Ok(tree)
    }

    /// Keeps the edge of a tree, beside those that are kept. Whoever relies on it syncs the folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn keep_beginning(&self, tree: &Tree) -> io::Result<()> {
        let beginning = self.beginning();
        std::fs::create_dir_all(beginning.folder())?;
        tree.partial().try_for_each(|(tile, hashes)| beginning.write_tile(tile, hashes))
    }

    /// Forgets all edges but that of the tree of the first `size` leaves.
    ///
    /// # Errors
    /// The folder cannot be read, or one of its files not removed.
    pub fn forget_beginnings_but(&self, size: u64) -> io::Result<()> {
        let beginning = self.beginning();
        let kept = Tile::partial(size).map(|tile| beginning.folder().join(tile.path()));
        let kept: BTreeSet<PathBuf> = kept.collect();
        forget(beginning.folder(), &kept)
    }
}

fn forget(folder: &Path, kept: &BTreeSet<PathBuf>) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            forget(&path, kept)?;
            // Only if it is empty.
            let _ = std::fs::remove_dir(&path);
        } else if !kept.contains(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}
