//! What a trail on disk says when it is opened: which line was the last, and what of its end is torn.
//!
//! A trail belongs to one process, which holds an exclusive lock on `NAME.lock` beside it. The lock file also carries the sequence
//! number before the first line of the active file, so that numbers go on after a rotation or when the file was moved away, and one before
//! which no request is open.
//! Invariant: nothing that is not ours is ever changed, and nothing torn is thrown away: it is set aside in a `.torn` file.

use super::settings::AuditError;
use crate::model::Time;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The end of a file that is searched for its last whole line; several times the longest line.
const WINDOW: u64 = 1 << 20;
/// The length of a number in the lock file, with its newline.
const NUMBER: u64 = 21;
/// Enough for the first line's number and time.
const HEAD: usize = 256;

/// Opens for reading and writing, made with mode 0600 if it is not there. A symbolic link is refused: rotation would break it.
pub(super) fn open(path: &Path) -> Result<File, AuditError> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
        .map_err(|source| AuditError::io(path, source))?;
    let kind = file.metadata().map_err(|source| AuditError::io(path, source))?.file_type();
    if kind.is_file() { Ok(file) } else { Err(AuditError::NotAFile { path: path.to_owned() }) }
}

/// Whether `path` still names the open `file`. `Ok(false)` also when nothing is there.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The exclusive right to write a trail.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock of the trail at `path`.
    pub(super) fn take(path: &Path) -> Result<Self, AuditError> {
        let path = beside(path, "lock");
        let file = open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, file }),
            Err(TryLockError::WouldBlock) => Err(AuditError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(AuditError::io(&path, source)),
        }
    }

    /// Takes it anew if the lock file was removed, so that no other process can hold one of the same name.
    pub(super) fn keep(&mut self, trail: &Path) -> Result<(), AuditError> {
        if !is_at(&self.file, &self.path).map_err(|source| AuditError::io(&self.path, source))? {
            *self = Self::take(trail)?;
        }
        Ok(())
    }

    /// The same lock for somebody else who works on the files: it is given up with the last of them.
    pub(super) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The number before the first line of the active file; 0 for a new trail.
    pub(super) fn base(&self) -> u64 {
        self.number(0)
    }

    /// Keeps that number.
    pub(super) fn set_base(&self, seq: u64) -> io::Result<()> {
        self.set_number(0, seq)
    }

    /// Each request that was admitted before this line has ended in a line that is written; 0 where nothing was ever said.
    pub(super) fn floor(&self) -> u64 {
        self.number(NUMBER)
    }

    /// Keeps that number.
    pub(super) fn set_floor(&self, seq: u64) -> io::Result<()> {
        self.set_number(NUMBER, seq)
    }

    fn number(&self, at: u64) -> u64 {
        let mut text = [0; 20];
        let digits =
            self.file.read_exact_at(&mut text, at).ok().and_then(|()| std::str::from_utf8(&text).ok());
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// One write of fixed width: it is the old or the new, never a mixture.
    fn set_number(&self, at: u64, seq: u64) -> io::Result<()> {
        self.file.write_all_at(format!("{seq:020}\n").as_bytes(), at)
    }
}

/// `NAME.EXTENSION` beside `path`.
pub(super) fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// What an opened file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resumed {
    /// Where the next line goes.
    pub(super) end: u64,
    /// The number of the last line; `None` in an empty file.
    pub(super) last: Option<u64>,
    /// The time of the first line.
    pub(super) born: Option<Time>,
}

#[derive(serde::Deserialize)]
struct Line {
    seq: u64,
    // Only that it is there: half a line that happens to be JSON is not taken for one.
    #[serde(rename = "time")]
    _time: Time,
}

/// Reads the ends of `file` and sets a torn tail aside.
pub(super) fn resume(path: &Path, file: &File, now: Time) -> Result<Resumed, AuditError> {
    let io = |source| AuditError::io(path, source);
    let len = file.metadata().map_err(io)?.len();
    let start = len.saturating_sub(WINDOW);
    let mut tail = vec![0; usize::try_from(len - start).unwrap_or(0)];
    file.read_exact_at(&mut tail, start).map_err(io)?;
    let (whole, last) = last_whole_line(&tail);
    let foreign = match last {
        // Nothing but a torn first line is ours if it begins like one (or was only zeros: space without data).
        None => {
            start > 0
                || !(tail.starts_with(b"{\"seq\":")
                    || b"{\"seq\":".starts_with(&tail)
                    || tail.iter().all(|byte| *byte == 0))
        }
        Some(_) => false,
    };
    if foreign {
        return Err(AuditError::NotATrail { path: path.to_owned() });
    }
    let end = start + u64::try_from(whole).unwrap_or(0);
    if let Some(torn) = tail.get(whole..).filter(|torn| !torn.is_empty()) {
        set_aside(path, torn, now)?;
        file.set_len(end).map_err(io)?;
    }
    let born = if last.is_some() { first_time(file).map_err(io)? } else { None };
    Ok(Resumed { end, last, born })
}

/// The length of what ends with the last whole line, and that line's number.
fn last_whole_line(tail: &[u8]) -> (usize, Option<u64>) {
    let mut end = tail.iter().rposition(|byte| *byte == b'\n');
    while let Some(newline) = end {
        let before = tail.get(..newline).unwrap_or_default();
        let begin = before.iter().rposition(|byte| *byte == b'\n');
        let line = before.get(begin.map_or(0, |at| at + 1)..).unwrap_or_default();
        if let Ok(line) = serde_json::from_slice::<Line>(line) {
            return (newline + 1, Some(line.seq));
        }
        end = begin;
    }
    (0, None)
}

fn first_time(file: &File) -> io::Result<Option<Time>> {
    let mut head = [0; HEAD];
    let len = file.read_at(&mut head, 0)?;
    let text = String::from_utf8_lossy(head.get(..len).unwrap_or_default()).into_owned();
    let time = text.split_once("\"time\":\"").and_then(|(_, rest)| rest.split_once('"'));
    Ok(time.and_then(|(time, _)| time.parse().ok()))
}

fn set_aside(path: &Path, torn: &[u8], now: Time) -> Result<(), AuditError> {
    let aside = beside(path, &format!("{}.torn", now.as_micros()));
    let io = |source| AuditError::io(&aside, source);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(io)?;
    file.write_all(torn).map_err(io)?;
    file.sync_all().map_err(io)?;
    tracing::warn!(path = %path.display(), bytes = torn.len(), aside = %aside.display(),
        "the last line of the audit trail was torn and has been set aside");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64) -> String {
        format!("{{\"seq\":{seq},\"time\":\"2026-11-22T10:00:0{}.000000Z\",\"kind\":\"end\"}}\n", seq % 10)
    }

    fn on(content: &[u8]) -> (tempfile::TempDir, Result<Resumed, AuditError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, content).unwrap();
        let resumed = resume(&path, &open(&path).unwrap(), Time::from_micros(5));
        (folder, resumed)
    }

    fn content(folder: &tempfile::TempDir, name: &str) -> Vec<u8> {
        std::fs::read(folder.path().join(name)).unwrap()
    }

    #[test]
    fn goes_on_after_the_last_line() {
        let text = line(7) + &line(8);
        let (_folder, resumed) = on(text.as_bytes());
        let born = "2026-11-22T10:00:07Z".parse().unwrap();
        assert_eq!(resumed.unwrap(), Resumed { end: text.len() as u64, last: Some(8), born: Some(born) });
        assert_eq!(on(b"").1.unwrap(), Resumed { end: 0, last: None, born: None });
    }

    #[test]
    fn torn_tails_are_set_aside_whole() {
        let good = line(7) + &line(8);
        for torn in [&b"{\"seq\":9,\"ti"[..], b"{", b"\0\0\0\0", b"{\"seq\":9,\0\0\0\n", b"\0\n\0\n\0"] {
            let (folder, resumed) = on(&[good.as_bytes(), torn].concat());
            let resumed = resumed.unwrap();
            assert_eq!((resumed.end, resumed.last), (good.len() as u64, Some(8)));
            assert_eq!(content(&folder, "audit.jsonl"), good.as_bytes());
            assert_eq!(content(&folder, "audit.jsonl.5.torn"), torn);
        }
        for torn in [&b"{\"seq\":1"[..], b"{\"s", b"\0\0"] {
            let (folder, resumed) = on(torn);
            assert_eq!(resumed.unwrap(), Resumed { end: 0, last: None, born: None });
            assert_eq!(content(&folder, "audit.jsonl.5.torn"), torn);
        }
    }

    #[test]
    fn a_file_that_is_no_trail_is_left_alone() {
        let long = "x".repeat(2 << 20);
        for foreign in ["root:x:0:0\n", "{\"other\":1}\n", "hello", "# notes\n\n", &long] {
            let (folder, resumed) = on(foreign.as_bytes());
            assert!(matches!(resumed, Err(AuditError::NotATrail { .. })), "{resumed:?}");
            assert_eq!(content(&folder, "audit.jsonl"), foreign.as_bytes());
        }
    }

    #[test]
    fn links_and_folders_are_no_trail() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        assert!(open(&link).is_err());
        assert!(open(folder.path()).is_err());
        assert!(
            open(Path::new("/dev/null")).is_err_and(|error| matches!(error, AuditError::NotAFile { .. }))
        );
    }

    #[test]
    fn a_trail_has_one_writer_and_the_lock_keeps_the_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut lock = Lock::take(&path).unwrap();
        assert!(matches!(Lock::take(&path), Err(AuditError::Locked { .. })));
        assert_eq!(lock.base(), 0);
        lock.set_base(42).unwrap();
        assert_eq!(lock.floor(), 0);
        lock.set_floor(40).unwrap();
        drop(lock);
        lock = Lock::take(&path).unwrap();
        assert_eq!((lock.base(), lock.floor()), (42, 40));
        std::fs::remove_file(folder.path().join("audit.jsonl.lock")).unwrap();
        lock.keep(&path).unwrap();
        assert!(matches!(Lock::take(&path), Err(AuditError::Locked { .. })), "the new name is held too");
    }
}
