//! Files that hold keys, certificates and lists: how they are read and how they are written.
//!
//! Invariants: a private key is read only from a regular file that nobody but its owner can open, judged on the open file, and
//! is created with mode 0600, never widened afterwards; a file appears under its name complete or not at all, and is never
//! replaced unless the caller says so.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// No key, certificate, bundle or CRL is longer than this.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Why a file cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refuses.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A key file with permissions for group or others.
    #[error("`{}` has mode {mode:04o}, so others may read the key: run `chmod 600` on it", path.display())]
    LooseMode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, device or pipe.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// Which one.
        path: PathBuf,
    },
    /// Longer than 64 MiB.
    #[error("`{}` is longer than 64 MiB", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
    },
    /// There is such a file already.
    #[error("`{}` exists already and is not overwritten: remove it or choose another folder", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
}

/// Who may open a file that is read or written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Anybody: certificates, bundles, lists. Written with mode 0644.
    Public,
    /// The owner alone: keys. Mode 0600.
    Private,
}

/// Whether a file may take the place of one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Keep,
    /// In one step.
    Replace,
}

/// Reads a whole file.
///
/// # Errors
/// [`FileError`]; [`FileError::LooseMode`] for a private file that others may open.
pub fn read(path: &Path, secrecy: Secrecy) -> Result<Vec<u8>, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    // Not to hang on a pipe that was put in the file's place.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| io(errno.into()))?;
    let file = File::from(fd);
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o7777;
    if secrecy == Secrecy::Private && mode & 0o077 != 0 {
        return Err(FileError::LooseMode { path: path.to_owned(), mode });
    }
    let mut content = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(io)?;
    if content.len() as u64 > MAX_FILE {
        return Err(FileError::TooLong { path: path.to_owned() });
    }
    Ok(content)
}

/// Writes a file completely or not at all, durably: a temporary file beside it, then a link or a rename.
///
/// # Errors
/// [`FileError`]; [`FileError::Exists`] with [`Existing::Keep`].
pub fn write(path: &Path, content: &[u8], secrecy: Secrecy, existing: Existing) -> Result<(), FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = Temporary::create(path, secrecy)?;
    let mut file = &temporary.file;
    file.write_all(content).map_err(io)?;
    file.sync_all().map_err(io)?;
    match existing {
        Existing::Replace => std::fs::rename(&temporary.path, path).map_err(io)?,
        // Unlike a rename, a link never replaces.
        Existing::Keep => std::fs::hard_link(&temporary.path, path).map_err(|source| {
            if source.kind() == std::io::ErrorKind::AlreadyExists {
                FileError::Exists { path: path.to_owned() }
            } else {
                FileError::Io { path: path.to_owned(), source }
            }
        })?,
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

/// Makes a folder (and those above it) that only its owner can enter; leaves one that is there as it is.
///
/// # Errors
/// [`FileError::Io`].
pub fn make_folder(path: &Path) -> Result<(), FileError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| FileError::Io { path: path.to_owned(), source })
}

/// Removed when it goes out of scope, whatever happened.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(target: &Path, secrecy: Secrecy) -> Result<Self, FileError> {
        let io = |source| FileError::Io { path: target.to_owned(), source };
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|error| io(std::io::Error::other(error)))?;
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}.tmp", u64::from_ne_bytes(random)));
        let path = target.with_file_name(name);
        let mode = match secrecy {
            Secrecy::Public => 0o644,
            Secrecy::Private => 0o600,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(&path, flags, Mode::from_bits_truncate(mode))
            .map_err(|errno| io(errno.into()))?;
        Ok(Self { path, file: File::from(fd) })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Already gone after a rename.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        write(&path, b"one", Secrecy::Private, Existing::Keep).unwrap();
        assert_eq!(read(&path, Secrecy::Private).unwrap(), b"one");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let again = write(&path, b"two", Secrecy::Private, Existing::Keep);
        assert!(matches!(again, Err(FileError::Exists { .. })));
        assert_eq!(read(&path, Secrecy::Private).unwrap(), b"one");
        write(&path, b"two", Secrecy::Private, Existing::Replace).unwrap();
        assert_eq!(read(&path, Secrecy::Private).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        assert!(write(&folder.path().join("no/where"), b"", Secrecy::Public, Existing::Keep).is_err());
    }

    #[test]
    fn a_key_is_read_only_where_nobody_else_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write(&path, b"key", Secrecy::Private, Existing::Keep).unwrap();
        for mode in [0o604, 0o640, 0o644, 0o660, 0o601, 0o777] {
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            assert!(matches!(read(&path, Secrecy::Private), Err(FileError::LooseMode { .. })), "{mode:o}");
            assert!(read(&path, Secrecy::Public).is_ok());
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path(), Secrecy::Public), Err(FileError::NotAFile { .. })));
        assert!(matches!(read(Path::new("/dev/zero"), Secrecy::Public), Err(FileError::NotAFile { .. })));
        assert!(matches!(read(&folder.path().join("none"), Secrecy::Public), Err(FileError::Io { .. })));
    }
}
