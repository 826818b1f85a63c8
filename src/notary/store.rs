//! A folder with `checkpoint`, `key.pub` and the tiles, as C2SP tlog-tiles lays them out.
//!
//! Tiles are not synced one by one: whatever a loss of power takes of them is made anew from what is logged, which was.

use crate::identity::keyfile::{self, Existing, FileError, Secrecy};
use crate::model::WitnessName;
use crate::tlog::tile::{decode, encode};
use crate::tlog::{Hash, Tile, TileReader};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

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
    /// and cosignatures, which nobody has checked.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn witnessed(&self) -> io::Result<BTreeMap<String, String>> {
        let entries = match std::fs::read_dir(self.witnessed_folder()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        let mut notes = BTreeMap::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Others are being written, or are none of ours.
            if name.parse::<WitnessName>().is_ok() && !is_temporary(&name) {
                notes.insert(name, std::fs::read_to_string(entry.path())?);
            }
        }
        Ok(notes)
    }

    /// The last checkpoint that this witness vouched for; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn witnessed_by(&self, witness: &WitnessName) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.witnessed_folder().join(witness.as_str())) {
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
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Readers see it whole or not at all.
        let temporary = self.folder.join("tile.next");
        std::fs::write(&temporary, encode(hashes))?;
        std::fs::rename(&temporary, path)
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

/// What [`keyfile::write`] calls a file that is not complete yet: `NAME.16HEX.tmp`.
fn is_temporary(name: &str) -> bool {
    let random = name.strip_suffix(".tmp").and_then(|name| name.rsplit_once('.'));
    random.is_some_and(|(_, random)| random.len() == 16)
}

impl TileReader for Store {
    type Error = io::Error;

    fn read(&self, tile: Tile) -> io::Result<Vec<Hash>> {
        for path in self.candidates(tile) {
            let hashes = std::fs::read(path).ok().and_then(|content| decode(&content, tile.width));
            if let Some(hashes) = hashes {
                return Ok(hashes);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("`{}` is missing or damaged", tile.path())))
    }
}
