//! A folder with `checkpoint`, `key.pub` and the tiles, as C2SP tlog-tiles lays them out.
//!
//! Tiles are not synced one by one: whatever a loss of power takes of them is made anew from what is logged, which was.

use crate::identity::keyfile::{self, Existing, FileError, Secrecy};
use crate::model::WitnessName;
use crate::tlog::tile::{decode, encode};
use crate::tlog::{Hash, Tile, TileReader};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// No note is longer: a checkpoint, and what a witness answers at most.
const NOTE_BYTES: u64 = 128 << 10;
/// There are not so many witnesses, former ones included.
const MOST_NOTES: usize = 256;

/// See the module's comment.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// That in `folder`.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// That of the audit trail whose active file is at `trail`: `NAME.tlog` beside it.
    #[must_use]
    pub fn of(trail: &Path) -> Self {
        let mut folder = trail.as_os_str().to_owned();
        folder.push(".tlog");
        Self::at(folder.into())
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the signed note is.
    #[must_use]
    pub fn checkpoint_path(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }

    /// Where the public key is.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.folder.join("key.pub")
    }

    /// The signed note; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn checkpoint(&self) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.checkpoint_path()) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the checkpoints are that external witnesses vouched for.
    #[must_use]
    pub fn witnessed_folder(&self) -> PathBuf {
        self.folder.join("witnessed")
    }

    /// The last checkpoint that each witness vouched for, by the name that the configuration gave it: notes with the signature of the log
    /// and cosignatures, which nobody has checked. What is no such note, or cannot be read, spoils no other. At most 256.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn witnessed(&self) -> io::Result<BTreeMap<WitnessName, io::Result<String>>> {
        let entries = match std::fs::read_dir(self.witnessed_folder()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        let mut notes = BTreeMap::new();
        for entry in entries {
            let entry = entry?;
            // Others are being written, or are none of ours.
            let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            notes.insert(name, read_note(&entry.path()));
            if notes.len() == MOST_NOTES {
                break;
            }
        }
        Ok(notes)
    }

    /// The last checkpoint that this witness vouched for; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn witnessed_by(&self, witness: &WitnessName) -> io::Result<Option<String>> {
        match read_note(&self.witnessed_folder().join(witness.as_str())) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it in one step.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write_witnessed(&self, witness: &WitnessName, note: &str) -> Result<(), FileError> {
        let folder = self.witnessed_folder();
        keyfile::make_folder(&folder)?;
        keyfile::write(&folder.join(witness.as_str()), note.as_bytes(), Secrecy::Public, Existing::Replace)
    }

    /// Whether somebody outside has ever signed for another log of this name. A mark that cannot be looked for counts.
    #[must_use]
    pub fn is_disputed(&self) -> bool {
        self.dispute_path().try_exists().unwrap_or(true)
    }

    /// Remembers that, until somebody takes the mark away.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn mark_disputed(&self) -> Result<(), FileError> {
        keyfile::write(&self.dispute_path(), b"", Secrecy::Public, Existing::Replace)
    }

    fn dispute_path(&self) -> PathBuf {
        self.folder().join("disputed")
    }

    /// Writes the public key, if that is not the one that is there.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write_key(&self, key: &str) -> Result<(), FileError> {
        let text = format!("{key}\n");
        if std::fs::read_to_string(self.key_path()).is_ok_and(|known| known == text) {
            return Ok(());
        }
        keyfile::write(&self.key_path(), text.as_bytes(), Secrecy::Public, Existing::Replace)
    }

    pub(super) fn write_checkpoint(&self, note: &str) -> io::Result<()> {
        keyfile::write(&self.checkpoint_path(), note.as_bytes(), Secrecy::Public, Existing::Replace)
            .map_err(io::Error::other)
    }

    pub(super) fn write_tile(&self, tile: Tile, hashes: &[Hash]) -> io::Result<()> {
        let path = self.folder.join(tile.path());
        let place = path.parent().unwrap_or(&self.folder);
        // Readers see it whole or not at all.
        let temporary = self.folder.join("tile.next");
        let write =
            || std::fs::write(&temporary, encode(hashes)).and_then(|()| std::fs::rename(&temporary, &path));
        match write() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(place)?;
                write()
            }
            done => done,
        }
    }

    /// A tile that has grown since is of no use; what is left of it does no harm.
    pub(super) fn remove_partial(&self, tile: Tile) {
        let path = self.folder.join(tile.path());
        let _ = std::fs::remove_file(&path);
        // Only if nothing else is in it.
        let _ = path.parent().map(std::fs::remove_dir);
    }

    /// Of a partial tile: the tile itself, or any wider one, of which it is the beginning.
    fn candidates(&self, tile: Tile) -> Vec<PathBuf> {
        let full = self.folder.join(tile.full_path());
        let mut folder = full.clone().into_os_string();
        folder.push(".p");
        let wider = std::fs::read_dir(PathBuf::from(folder)).into_iter().flatten().flatten();
        let wider = wider.map(|entry| entry.path());
        [self.folder.join(tile.path()), full].into_iter().chain(wider).collect()
    }
}

/// A note that anybody may have put there: a regular file alone, nothing that could be waited for, and not more than a note can be.
fn read_note(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    if !file.metadata()?.is_file() {
        return Err(invalid("it is no regular file"));
    }
    let mut text = Vec::new();
    file.take(NOTE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > NOTE_BYTES {
        return Err(invalid("it is longer than 128 KiB, as no note is"));
    }
    String::from_utf8(text).map_err(|_| invalid("it is no text"))
}

impl TileReader for Store {
    type Error = io::Error;

    fn read(&self, tile: Tile) -> io::Result<Vec<Hash>> {
        let mut failed = None;
        for path in self.candidates(tile) {
            match std::fs::read(path) {
                Ok(content) => {
                    if let Some(hashes) = decode(&content, tile.width) {
                        return Ok(hashes);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failed = Some(error),
            }
        }
        let missing = format!("`{}` is missing or damaged", tile.path());
        Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, missing)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_odd_entry_among_the_notes_of_witnesses_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().to_owned());
        assert!(store.witnessed().unwrap().is_empty());
        let name = |name: &str| name.parse::<WitnessName>().unwrap();
        store.write_witnessed(&name("good"), "a note\n").unwrap();
        let at = |name: &str| store.witnessed_folder().join(name);
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("bytes"), [0xff, 0xfe]).unwrap();
        std::fs::write(at("huge"), vec![b'x'; (128 << 10) + 1]).unwrap();
        std::fs::write(at("w1.0123456789abcdef.tmp"), "half").unwrap();
        std::os::unix::fs::symlink(at("good"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("nothing"), at("loose")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::write(at("closed"), "a note\n").unwrap();
        std::fs::set_permissions(at("closed"), std::fs::Permissions::from_mode(0o000)).unwrap();
        let notes = store.witnessed().unwrap();
        assert_eq!(notes[&name("good")].as_deref().unwrap(), "a note\n");
        for odd in ["folder", "bytes", "huge", "link", "loose", "pipe"] {
            assert!(notes[&name(odd)].is_err(), "{odd}");
            assert!(store.witnessed_by(&name(odd)).is_err(), "{odd}");
        }
        // Root reads it all the same.
        assert_eq!(notes[&name("closed")].is_ok(), std::fs::read(at("closed")).is_ok());
        assert_eq!(notes.len(), 8, "and nothing that is still being written");
        assert_eq!(store.witnessed_by(&name("other")).unwrap(), None);
    }

    #[test]
    fn a_tile_that_cannot_be_read_is_told_from_one_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().to_owned());
        let tile = Tile::from_path("0/000.p/1").unwrap();
        assert_eq!(store.read(tile).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::create_dir_all(folder.path().join(tile.path())).unwrap();
        assert_eq!(store.read(tile).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }
}
