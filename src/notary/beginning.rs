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

    /// The tree of the first `size` leaves, if its edge was kept or is still in the tiles: the one from which `known` goes on, if the
    /// tiles can say which. Only a root tells whether it is the right one.
    ///
    /// # Errors
    /// Tiles are missing or damaged.
    pub fn begun(&self, size: u64, known: Option<&Checkpoint>) -> io::Result<Tree> {
        match (Tree::read(size, &self.beginning()), known) {
            (Ok(kept), Some(known)) if self.leads_to(&kept, known).is_err() => {
                self.before(size, known).or(Ok(kept))
            }
            (Ok(kept), _) => Ok(kept),
            (Err(_), _) => Tree::read(size, self),
        }
    }

    /// The tree of the first `size` leaves out of the tiles, from which `known` goes on.
    ///
    /// # Errors
    /// Tiles are missing or damaged.
    pub fn before(&self, size: u64, known: &Checkpoint) -> io::Result<Tree> {
        let tree = Tree::read(size, self)?;
        self.leads_to(&tree, known)?;
        Ok(tree)
    }

    fn leads_to(&self, tree: &Tree, known: &Checkpoint) -> io::Result<()> {
        let (size, root) = (tree.size(), tree.root());
        let damaged = || {
            let why = format!("the tiles of the first {size} lines are damaged: see `jitgate audit verify`");
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        if size == known.size {
            return if root == known.root { Ok(()) } else { Err(damaged()) };
        }
        let path = consistency(&TileHashes::new(self, known.size), size, known.size)?.unwrap_or_default();
        check_consistency(&path, (size, &root), (known.size, &known.root)).map_err(|_| damaged())
    }

    /// Keeps the edge of a tree, beside those that are kept. Whoever relies on it syncs the folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn keep_beginning(&self, tree: &Tree) -> io::Result<()> {
        let beginning = self.beginning();
        is_own(beginning.folder())?;
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
        forget(beginning.folder(), beginning.folder(), &kept)
    }
}

/// Whether it is a folder, and no link to one that is somebody else's; `false`: it is not there.
fn is_own(folder: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => {
            let why = format!("`{}` is no folder: take it away", folder.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes tiles alone, and enters no link: whatever else lies there is not ours.
fn forget(root: &Path, folder: &Path, kept: &BTreeSet<PathBuf>) -> io::Result<()> {
    if !is_own(folder)? {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let tile = path.strip_prefix(root.join("tile")).ok().and_then(Path::to_str).and_then(Tile::from_path);
        if entry.file_type()?.is_dir() {
            forget(root, &path, kept)?;
            // Only if it is empty.
            let _ = std::fs::remove_dir(&path);
        } else if tile.is_some() && !kept.contains(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::Hash;

    #[test]
    fn nothing_but_tiles_of_our_own_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("log"));
        let mut tree = Tree::default();
        (0..300_u64).for_each(|n| tree.push(Hash::leaf(&n.to_be_bytes())));
        store.keep_beginning(&tree).unwrap();
        let beginning = store.folder().join("beginning");
        std::fs::write(beginning.join("notes"), "mine").unwrap();
        let outside = dir.path().join("outside/tile/0");
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("000"), "another's").unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), beginning.join("link")).unwrap();
        store.forget_beginnings_but(299).unwrap();
        assert!(store.begun(300, None).is_err() && beginning.join("notes").exists());
        assert!(outside.join("000").exists());

        std::fs::remove_dir_all(&beginning).unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), &beginning).unwrap();
        assert!(store.keep_beginning(&tree).is_err() && store.forget_beginnings_but(1).is_err());
        assert!(outside.join("000").exists());
    }
}
