//! The files of a trail: writing at the end of the active one, securing space ahead of it, and rotation.
//!
//! Owns the active file, its lock and what is secured. Refuses to know queues and time-outs; every operation is tried once and either
//! done or has changed nothing that matters.
//! Invariants: bytes are written at an offset that is known here, so that a retry overwrites what a failed attempt left; space is
//! allocated beyond the end (FALLOC_FL_KEEP_SIZE), so that a disk filled by somebody else cannot take what was promised; a sync that
//! works covers everything before it. A kernel that could not write a page says so once, and takes it for clean from then on: the next
//! sync works without it. So what is not on the disk for sure is held in memory, and after a failure written again, all of it. To
//! read it back instead would not do: the page may be gone from memory by then, and the disk has something else in its place.

use super::resume::{self, Expected, Lock, Resumed};
use super::settings::AuditError;
use crate::model::Time;
use crate::notary::Store;
use crate::tlog::Checkpoint;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Smaller pieces are not worth a system call.
pub(super) const LEAST_CHUNK: u64 = 64 << 10;

/// No more than this is ever not on the disk, and so held in memory: then it is synced before more is written. At full
/// load that is a few times a second, where a checkpoint asks for one sync.
const MOST_UNSYNCED: usize = 4 << 20;

/// See the module's comment.
#[derive(Debug)]
pub(super) struct Trail {
    path: PathBuf,
    lock: Lock,
    file: File,
    end: u64,
    /// Space is secured up to this offset; never less than `end`.
    secured: u64,
    /// File systems without fallocate get no more than a look at what is free.
    can_allocate: bool,
    born: Option<Time>,
    /// The last bytes up to `end`, those that were written since the last sync.
    unsynced: Vec<u8>,
    /// A sync has failed since: they may not be where they were written.
    unsure: bool,
    /// Whether a loss of power leaves the file at its path.
    name_synced: bool,
    /// What the next sync fails with; and as the kernel does, it forgets what it could not write.
    #[cfg(test)]
    pub(super) fault: Option<io::ErrorKind>,
}

impl Trail {
    /// Opens or continues the trail at `path`. Also returns the number of its last line.
    pub(super) fn open(path: &Path, now: Time) -> Result<(Self, u64), AuditError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|source| AuditError::io(folder, source))?;
        }
        let lock = Lock::take(path)?;
        let file = resume::open(path)?;
        let note = Store::of(path).checkpoint().map_err(|source| AuditError::io(path, source))?;
        let known = note.and_then(|note| Checkpoint::unverified(&note).ok());
        let expected = Expected { base: lock.base(), vouched: known.map_or(0, |known| known.size) };
        let Resumed { end, last, born } = resume::resume(path, &file, expected, now)?;
        let last = last.unwrap_or(0).max(lock.base());
        let trail = Self {
            path: path.to_owned(),
            lock,
            file,
            end,
            secured: end,
            can_allocate: true,
            born,
            unsynced: Vec::new(),
            unsure: false,
            name_synced: false,
            #[cfg(test)]
            fault: None,
        };
        Ok((trail, last))
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the active file is still at its path.
    pub(super) fn is_in_place(&self) -> io::Result<bool> {
        resume::is_at(&self.file, &self.path)
    }

    /// Takes a new file after the active one was deleted or moved away. The old one is cut behind its last whole line, of which
    /// `partial` bytes are taken back. `last` is the number of the last line that went into it.
    pub(super) fn replace(&mut self, partial: u64, last: u64, now: Time) -> Result<(), AuditError> {
        self.lock.keep(&self.path)?;
        let file = resume::open(&self.path)?;
        let Resumed { end, last: found, born } = resume::resume(&self.path, &file, Expected::default(), now)?;
        if found.is_none() {
            self.lock.set_base(last).map_err(|source| AuditError::io(&self.path, source))?;
        }
        // Lines of it will be under the next checkpoint.
        if let Err(error) = self.flush() {
            tracing::error!(path = %self.path.display(), %error,
                "the audit file that was moved away could not be synced: its last lines may be lost, and `jitgate audit verify` will miss them");
        }
        // The old file is no longer ours to promise anything about; it may be on a disk that is gone.
        if let Err(error) = self.file.set_len(self.end.saturating_sub(partial)) {
            tracing::warn!(path = %self.path.display(), %error, "the end of the audit file that was moved away may be torn");
        }
        (self.file, self.end, self.secured, self.born) = (file, end, end, born);
        self.forget_unsynced();
        self.name_synced = false;
        Ok(())
    }

    /// Writes some of `bytes` at the end; returns how many.
    pub(super) fn write(&mut self, bytes: &[u8], now: Time) -> io::Result<usize> {
        if self.unsynced.len() >= MOST_UNSYNCED {
            self.sync()?;
        }
        let bytes = bytes.get(..MOST_UNSYNCED - self.unsynced.len()).unwrap_or(bytes);
        let written = self.file.write_at(bytes, self.end)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unsynced.extend_from_slice(bytes.get(..written).unwrap_or_default());
        self.end += u64::try_from(written).unwrap_or(0);
        self.secured = self.secured.max(self.end);
        self.born = self.born.or(Some(now));
        Ok(written)
    }

    /// Writes and syncs whole lines for which nobody has set space aside.
    pub(super) fn append(&mut self, lines: &[u8], now: Time) -> io::Result<()> {
        let wanted = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.room() < wanted {
            self.secure(wanted, wanted)?;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.write(rest, now) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sync()
    }

    /// Its lock, for somebody else who works on its files.
    pub(super) fn share_lock(&self) -> io::Result<File> {
        self.lock.share()
    }

    /// Each request that was admitted before this line has ended in a line that is written.
    pub(super) fn floor(&self) -> u64 {
        self.lock.floor()
    }

    /// Bytes that are secured and not written.
    pub(super) fn room(&self) -> u64 {
        self.secured - self.end
    }

    /// Bytes of the lines of the active file.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Secures more space: up to `wanted` bytes, at least `least`. Returns how much it was.
    pub(super) fn secure(&mut self, wanted: u64, least: u64) -> io::Result<u64> {
        let (more, can_allocate) = secure(&self.file, self.secured, wanted, least, self.can_allocate)?;
        if self.can_allocate && !can_allocate {
            tracing::warn!(path = %self.path.display(),
                "this file system cannot allocate ahead: lines are only sure while nobody else fills the disk");
        }
        self.can_allocate = can_allocate;
        self.secured += more;
        Ok(more)
    }

    /// As on a file system that cannot allocate: what was secured is not, and nobody knows.
    #[cfg(test)]
    pub(super) fn forget_allocation(&mut self) {
        self.file.set_len(self.end).unwrap();
        self.can_allocate = false;
    }

    /// Whether the active file has reached its size or age.
    pub(super) fn is_due(&self, bytes: u64, age: Option<std::time::Duration>, now: Time) -> bool {
        let old = |born: Time| age.is_some_and(|age| now.since(born) >= age);
        self.end > 0 && (self.end >= bytes || self.born.is_some_and(old))
    }

    /// Begins a new active file that has at least `least` bytes secured, up to `wanted`, when the old one is on the disk. On an error
    /// that stays as it was. `floor`: see there.
    pub(super) fn rotate(
        &mut self,
        (last, floor): (u64, u64),
        (wanted, least): (u64, u64),
        now: Time,
    ) -> io::Result<()> {
        if !self.unsynced.is_empty() {
            self.sync()?;
        }
        let next = resume::beside(&self.path, "next");
        // Left over if we were killed between the two renames below; nothing was ever written to it.
        std::fs::remove_file(&next).or_else(absent_is_fine)?;
        let file = resume::open(&next).map_err(AuditError::into_io)?;
        let (secured, _) = secure(&file, 0, wanted, least, self.can_allocate)?;
        self.lock.set_base(last)?;
        self.lock.set_floor(floor)?;
        std::fs::rename(&self.path, rotated(&self.path, last, now))?;
        if let Err(error) = std::fs::rename(&next, &self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the new audit file could not be put in place");
            return Err(error);
        }
        self.trim();
        (self.file, self.end, self.secured, self.born) = (file, 0, secured, None);
        self.name_synced = false;
        Ok(())
    }

    /// Gives back what was secured and not written.
    pub(super) fn trim(&mut self) {
        if let Err(error) = self.file.set_len(self.end) {
            tracing::warn!(path = %self.path.display(), %error, "space set aside for the audit trail was not given back");
        }
        self.secured = self.end;
    }

    /// Whether the last sync failed: what was written since the one before may be lost, until one works.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Makes what was written survive a loss of power, and the file's name with it. All of it, whatever failed before.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if !self.name_synced {
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = File::open(folder.unwrap_or_else(|| Path::new(".")));
            folder.and_then(|folder| folder.sync_all()).inspect_err(|_| self.unsure = true)?;
            self.name_synced = true;
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        // Until it has worked.
        let again = std::mem::replace(&mut self.unsure, true);
        #[cfg(test)]
        if let Some(error) = self.fault.take() {
            self.file.write_all_at(&vec![0; self.unsynced.len()], self.synced()).unwrap();
            return Err(error.into());
        }
        if again {
            self.file.write_all_at(&self.unsynced, self.synced())?;
        }
        self.file.sync_data()?;
        self.forget_unsynced();
        Ok(())
    }

    /// Up to here everything is on the disk.
    fn synced(&self) -> u64 {
        self.end.saturating_sub(u64::try_from(self.unsynced.len()).unwrap_or(0))
    }

    fn forget_unsynced(&mut self) {
        self.unsynced.clear();
        self.unsure = false;
    }
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// `audit-20261122T100000Z-000000001234.jsonl` for `audit.jsonl` whose last line is number 1,234: sorted by time.
fn rotated(path: &Path, last: u64, now: Time) -> PathBuf {
    let stamp: String =
        now.to_string().chars().take(19).filter(|c| c.is_ascii_digit() || *c == 'T').collect();
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{stamp}Z-{last:012}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Secures bytes from `from` on; returns how many, and whether the file system can allocate.
pub(super) fn secure(
    file: &File,
    from: u64,
    wanted: u64,
    least: u64,
    can_allocate: bool,
) -> io::Result<(u64, bool)> {
    let least = least.max(LEAST_CHUNK.min(wanted));
    let wanted = wanted.max(least);
    if wanted == 0 {
        return Ok((0, can_allocate));
    }
    if can_allocate && let Some(piece) = allocate(file, from, wanted, least)? {
        return Ok((piece, true));
    }
    let disk = fstatvfs(file)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Half: others write here too.
    let piece = wanted.min(free / 2);
    if piece < least { Err(io::ErrorKind::StorageFull.into()) } else { Ok((piece, false)) }
}

/// Allocates the most between `wanted` and `least`, by halves. `None`: this file system cannot.
fn allocate(file: &File, from: u64, wanted: u64, least: u64) -> io::Result<Option<u64>> {
    let mut piece = wanted;
    loop {
        match fallocate(file, FallocateFlags::KEEP_SIZE, from, piece) {
            Ok(()) => return Ok(Some(piece)),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC | Errno::DQUOT) if piece > least => piece = (piece / 2).max(least),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::disk::CHUNK;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    const T: Time = Time::from_micros(1_795_341_600_000_000);

    fn line(seq: u64) -> Vec<u8> {
        format!("{{\"seq\":{seq},\"time\":\"{T}\"}}\n").into_bytes()
    }

    #[test]
    fn space_is_allocated_beyond_the_end_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (mut trail, last) = Trail::open(&path, T).unwrap();
        assert_eq!((last, trail.room()), (0, 0));
        trail.secure(CHUNK, 1).unwrap();
        trail.write(&line(1), T).unwrap();
        assert_eq!(trail.room(), CHUNK - line(1).len() as u64);
        let there = std::fs::metadata(&path).unwrap();
        assert_eq!((there.len(), there.mode() & 0o777), (line(1).len() as u64, 0o600));
        assert!(there.blocks() * 512 >= CHUNK || !trail.can_allocate);
        trail.trim();
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < CHUNK);
    }

    #[test]
    fn rotation_keeps_numbers_going_through_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (mut trail, _) = Trail::open(&path, T).unwrap();
        trail.write(&line(1), T).unwrap();
        trail.write(&line(2), T).unwrap();
        assert!(trail.is_due(10, None, T) && !trail.is_due(10_000, None, T));
        assert!(trail.is_due(10_000, Some(Duration::from_secs(60)), T.plus(Duration::from_secs(60))));
        trail.rotate((2, 2), (CHUNK, 100_000), T).unwrap();
        assert!(trail.room() >= 100_000 && !trail.is_due(1, Some(Duration::ZERO), T));
        let old = folder.path().join("audit-20261122T100000Z-000000000002.jsonl");
        assert_eq!(std::fs::read(&old).unwrap(), [line(1), line(2)].concat());
        drop(trail);
        let (_, last) = Trail::open(&path, T).unwrap();
        assert_eq!(last, 2, "although the active file is empty");
    }

    #[test]
    fn no_more_is_held_than_may_be_and_what_a_sync_lost_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (mut trail, _) = Trail::open(&path, T).unwrap();
        let mut text = vec![b'x'; MOST_UNSYNCED + 9];
        assert_eq!(trail.write(&text, T).unwrap(), MOST_UNSYNCED);
        trail.fault = Some(io::ErrorKind::Other);
        assert!(trail.write(b"y", T).is_err() && trail.is_unsure());
        assert_eq!(std::fs::read(&path).unwrap().first(), Some(&0), "the kernel has forgotten it");
        assert_eq!(trail.write(b"yz", T).unwrap(), 2);
        text.truncate(MOST_UNSYNCED);
        text.extend_from_slice(b"yz");
        assert!(std::fs::read(&path).unwrap() == text && trail.unsynced == b"yz");
        trail.sync().unwrap();
        assert!(trail.unsynced.is_empty() && !trail.is_unsure());
    }

    #[test]
    fn a_file_is_on_the_disk_before_the_next_one_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (mut trail, _) = Trail::open(&path, T).unwrap();
        trail.write(&line(1), T).unwrap();
        trail.fault = Some(io::ErrorKind::Other);
        assert!(trail.rotate((1, 1), (1, 1), T).is_err());
        assert!(trail.is_in_place().unwrap() && trail.end() > 0);
        trail.rotate((1, 1), (1, 1), T).unwrap();
        assert_eq!(
            std::fs::read(folder.path().join("audit-20261122T100000Z-000000000001.jsonl")).unwrap(),
            line(1)
        );
    }

    #[test]
    fn a_rotation_that_was_interrupted_between_its_renames_is_completed_by_opening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (mut trail, _) = Trail::open(&path, T).unwrap();
        trail.write(&line(5), T).unwrap();
        trail.lock.set_base(5).unwrap();
        std::fs::rename(&path, rotated(&path, 5, T)).unwrap();
        std::fs::write(resume::beside(&path, "next"), b"").unwrap();
        drop(trail);
        let (mut trail, last) = Trail::open(&path, T).unwrap();
        assert_eq!(last, 5);
        trail.write(&line(6), T).unwrap();
        trail.rotate((6, 6), (1, 1), T).unwrap();
    }

    #[test]
    fn a_file_that_was_moved_away_is_left_with_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (mut trail, _) = Trail::open(&path, T).unwrap();
        let text = [line(1), line(2)].concat();
        trail.write(&text[..text.len() - 4], T).unwrap();
        let away = folder.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        assert!(!trail.is_in_place().unwrap());
        trail.replace(line(2).len() as u64 - 4, 1, T).unwrap();
        assert!(trail.is_in_place().unwrap());
        assert_eq!(std::fs::read(&away).unwrap(), line(1));
        trail.write(&line(2), T).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), line(2));
        assert_eq!(trail.lock.base(), 1);
    }
}
