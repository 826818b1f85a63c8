//! The folder of recordings: one file each, `DAY/REQUEST.age`, and a reserve of space that is as large as all that may come at once.
//!
//! Refuses to know what is in a file. Every operation is tried once.
//! Invariants: a file is there under its name complete or not at all; the reserve holds space for each claim, so that a disk filled by
//! somebody else cannot take what was promised; one process writes to a folder; only what is named as a recording is ever removed.

use crate::audit::{disk, trail};
use crate::model::Time;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Holds the space, and the lock.
const RESERVE: &str = ".reserve";
/// Ends the name of a file that is being written.
const PARTIAL: &str = ".partial";
/// A file takes whole blocks.
const BLOCK: u64 = 4096;

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file system refuses.
    #[error("cannot write recordings at `{}`", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process writes there.
    #[error("the folder for recordings `{}` is in use by another process: give each proxy its own", .0.display())]
    Taken(PathBuf),
    /// There is nobody to encrypt for.
    #[error("`{}` holds no public key to encrypt recordings to: {why}", path.display())]
    Recipient {
        /// The file of keys.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl RecordingError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// See the module's comment.
pub(super) struct Store {
    folder: PathBuf,
    reserve: File,
    reserved: u64,
    can_allocate: bool,
    /// What the files take, as far as is known.
    pub(super) used: u64,
}

impl Store {
    /// Makes the folder where it is missing, and takes it. What is half written there is removed.
    pub(super) fn open(folder: &Path) -> Result<Self, RecordingError> {
        let failed = |source| RecordingError::io(folder, source);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(folder.join(RESERVE), flags, Mode::from_bits_truncate(0o600));
        let reserve = File::from(fd.map_err(|errno| failed(errno.into()))?);
        match reserve.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RecordingError::Taken(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        reserve.set_len(0).map_err(failed)?;
        let mut store = Self { folder: folder.to_owned(), reserve, reserved: 0, can_allocate: true, used: 0 };
        store.count(None).map_err(failed)?;
        Ok(store)
    }

    /// Whether the folder is still the one that was taken.
    pub(super) fn is_in_place(&self) -> bool {
        let there = std::fs::symlink_metadata(self.folder.join(RESERVE));
        let ours = self.reserve.metadata();
        matches!((there, ours), (Ok(there), Ok(ours)) if (there.ino(), there.dev()) == (ours.ino(), ours.dev()))
    }

    /// Bytes that are set aside.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Sets aside up to `wanted` bytes in all, more than before if that can be had.
    pub(super) fn secure(&mut self, wanted: u64, least: u64) -> io::Result<()> {
        let Some(more) = wanted.checked_sub(self.reserved).filter(|more| *more > 0) else { return Ok(()) };
        let (more, can_allocate) =
            trail::secure(&self.reserve, self.reserved, more, least.min(more), self.can_allocate)?;
        self.can_allocate = can_allocate;
        self.reserved += more;
        // What is allocated beyond the end is not freed by every file system when the end moves.
        self.reserve.set_len(self.reserved)
    }

    /// Gives up so much of what was set aside, for a file that finds no other space.
    pub(super) fn release(&mut self, bytes: u64) {
        let left = self.reserved.saturating_sub(bytes);
        if self.reserve.set_len(left).is_ok() {
            self.reserved = left;
        }
    }

    /// What of its file system is in use, without what is set aside here, and all of it.
    pub(super) fn file_system(&self) -> Option<(u64, u64)> {
        disk::file_system(&self.folder).map(|(used, all)| (used.saturating_sub(self.reserved), all))
    }

    /// Writes a file.
    pub(super) fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.folder.join(name);
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let partial = self.folder.join(format!("{name}{PARTIAL}"));
        let written = write(&partial, bytes).and_then(|()| std::fs::rename(&partial, &path));
        match written {
            Ok(()) => self.used += blocks(bytes.len() as u64),
            // Gone already, or it will be at the next start.
            Err(_) => drop(std::fs::remove_file(&partial)),
        }
        written
    }

    /// Counts the recordings anew: some may have been taken away. Removes those that are older than they are kept; without a time none
    /// is. What is not named as a recording is neither counted nor touched.
    pub(super) fn count(&mut self, keep: Option<(Duration, Time)>) -> io::Result<()> {
        let (mut used, mut removed) = (0, 0_u64);
        for day in std::fs::read_dir(&self.folder)? {
            let day = day?;
            // Whatever else lies here belongs to somebody else, perhaps to the trail.
            if !is_day(&day.file_name()) || !day.file_type()?.is_dir() {
                continue;
            }
            let mut empty = true;
            let Some(files) = unless_gone(std::fs::read_dir(day.path()))? else { continue };
            for file in files {
                let file = file?;
                let Some(metadata) = unless_gone(file.metadata())? else { continue };
                let Some(written) = written(&file.file_name()).filter(|_| metadata.is_file()) else {
                    empty = false;
                    continue;
                };
                let modified = Time::from_micros(metadata.mtime().saturating_mul(1_000_000));
                let old = keep.is_some_and(|(keep, now)| now.since(modified) > keep);
                // No file is written while this runs.
                let partial = written == Written::Half;
                if old || partial {
                    if partial {
                        let path = file.path();
                        tracing::warn!(path = %path.display(), "a recording was not finished, it is removed: its proxy was killed");
                    }
                    unless_gone(std::fs::remove_file(file.path()))?;
                    removed += u64::from(!partial);
                } else {
                    empty = false;
                    used += blocks(metadata.len());
                }
            }
            if empty && keep.is_some() {
                // Not today's: that would be made anew, which does no harm either.
                drop(std::fs::remove_dir(day.path()));
            }
        }
        self.used = used;
        if removed > 0 {
            tracing::info!(path = %self.folder.display(), recordings = removed, "recordings were removed: they were older than `keep`");
        }
        Ok(())
    }

    /// Gives back what was set aside.
    pub(super) fn trim(&mut self) {
        self.release(self.reserved);
    }
}

/// Whether a recording was written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Whole,
    Half,
}

/// Whether a folder is named as [`Reel`](super::Reel) names that of a day: `YYYY-MM-DD`.
fn is_day(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let fits = |(at, byte): (usize, &u8)| match at {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    name.len() == 10 && name.iter().enumerate().all(fits)
}

/// What a file is by its name: `req_….age`, or that with [`PARTIAL`]; `None`: no recording.
fn written(name: &OsStr) -> Option<Written> {
    let name = name.as_bytes();
    let (name, written) = match name.strip_suffix(PARTIAL.as_bytes()) {
        Some(name) => (name, Written::Half),
        None => (name, Written::Whole),
    };
    (name.starts_with(b"req_") && name.ends_with(b".age")).then_some(written)
}

/// What somebody has moved away meanwhile is not there, which is no failure.
fn unless_gone<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(path, flags, Mode::from_bits_truncate(0o600))?;
    File::from(fd).write_all(bytes)
}

/// What a file of this length takes.
pub(super) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK).saturating_mul(BLOCK)
}
