//! What a trail on disk says when it is opened: which line was the last, and what of its end is torn.
//!
//! A loss of power takes what was not synced, in pieces: space that was set aside reads as zeros, for megabytes if many lines came at
//! once, and behind such a hole there may be good lines again. So lines are read from the first on, and the trail goes on behind the last
//! one before anything else; what comes later was promised to nobody, since a sync covers everything before it. Such a loss always shows:
//! no line holds a zero, and what a block may have held before it was ours has smaller numbers. That numbers are missing is no loss of
//! power, and for the tree to tell.
//!
//! A trail belongs to one process, which holds an exclusive lock on `NAME.lock` beside it. The lock file also carries the sequence
//! number before the first line of the active file, so that numbers go on after a rotation or when the file was moved away, and one before
//! which no request is open.
//! Invariant: nothing that is not ours is ever changed, and nothing torn is thrown away: it is set aside in a `.torn` file.

use super::segments;
use super::settings::AuditError;
use crate::model::Time;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is read at once.
const BLOCK: usize = 256 << 10;
/// Several times the longest line.
const LONGEST: u64 = 1 << 20;
/// What a line begins with.
const BEGIN: &[u8] = b"{\"seq\":";
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

/// What is known of the lines of a file before it is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expected {
    /// The number before its first line, if that was kept.
    pub(super) base: u64,
    /// A checkpoint vouches for the lines up to this one. No loss of power takes them: what is wrong with them is not set aside, but
    /// left to whoever compares.
    pub(super) vouched: u64,
}

/// Reads `file` and sets a torn tail aside.
pub(super) fn resume(path: &Path, file: &File, expected: Expected, now: Time) -> Result<Resumed, AuditError> {
    let io = |source| AuditError::io(path, source);
    let len = file.metadata().map_err(io)?.len();
    let (end, last) = whole_lines(file, expected).map_err(io)?;
    if end < len {
        if last.is_none() && !begins_torn(file).map_err(io)? {
            return Err(AuditError::NotATrail { path: path.to_owned() });
        }
        set_aside(path, (file, end), now)?;
        file.set_len(end).map_err(io)?;
    }
    let born = if last.is_some() { first_time(file).map_err(io)? } else { None };
    Ok(Resumed { end, last, born })
}

/// The length of the lines from the first on, up to what is none, and the number of the last.
fn whole_lines(file: &File, Expected { base, vouched }: Expected) -> io::Result<(u64, Option<u64>)> {
    let mut pieces = Pieces::of(file)?;
    let (mut end, mut last) = (0, None);
    while let Some(piece) = pieces.next()? {
        match piece.strip_suffix(b"\n").and_then(|line| number(line, vouched)) {
            Some(seq) if last.is_none_or(|last| last < seq) => (end, last) = (pieces.at, Some(seq)),
            Some(_) | None if last.unwrap_or(base) < vouched => {}
            Some(_) | None => break,
        }
    }
    Ok((end, last))
}

/// The number of a whole line. Of one that a checkpoint vouches for nothing else is asked here.
fn number(line: &[u8], vouched: u64) -> Option<u64> {
    let known = segments::seq(line).filter(|seq| *seq <= vouched);
    known.or_else(|| serde_json::from_slice::<Line>(line).ok().map(|line| line.seq))
}

/// Whether a file that does not begin with a line may be a trail all the same, whose first lines are torn: it begins like a line and then
/// ends or has a hole, or it begins with a hole, and behind that there is nothing, or a line somewhere.
fn begins_torn(file: &File) -> io::Result<bool> {
    let mut pieces = Pieces::of(file)?;
    let first = pieces.next()?.unwrap_or_default();
    if first.first() != Some(&0) {
        let torn = !first.ends_with(b"\n") || first.contains(&0);
        return Ok(BEGIN.starts_with(first) || (torn && first.starts_with(BEGIN)));
    }
    let mut pieces = Pieces::of(file)?;
    let mut empty = true;
    while let Some(piece) = pieces.next()? {
        let hole = piece.iter().take_while(|byte| **byte == 0).count();
        let rest = piece.get(hole..).unwrap_or_default();
        if segments::seq(rest).is_some() {
            return Ok(true);
        }
        empty &= rest.is_empty();
    }
    Ok(empty)
}

/// A file in pieces: lines with their newlines, and what is too long to be one in several.
struct Pieces<'a> {
    reader: BufReader<&'a File>,
    piece: Vec<u8>,
    /// Where the last one ends.
    at: u64,
}

impl<'a> Pieces<'a> {
    fn of(mut file: &'a File) -> io::Result<Self> {
        file.rewind()?;
        Ok(Self { reader: BufReader::with_capacity(BLOCK, file), piece: Vec::new(), at: 0 })
    }

    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.piece.clear();
        let read = self.reader.by_ref().take(LONGEST).read_until(b'\n', &mut self.piece)?;
        self.at += u64::try_from(read).unwrap_or(0);
        Ok((read > 0).then_some(&*self.piece))
    }
}

fn first_time(file: &File) -> io::Result<Option<Time>> {
    let mut head = [0; HEAD];
    let len = file.read_at(&mut head, 0)?;
    let text = String::from_utf8_lossy(head.get(..len).unwrap_or_default()).into_owned();
    let time = text.split_once("\"time\":\"").and_then(|(_, rest)| rest.split_once('"'));
    Ok(time.and_then(|(time, _)| time.parse().ok()))
}

/// Copies what stands in `file` from `end` on.
fn set_aside(path: &Path, (mut file, end): (&File, u64), now: Time) -> Result<(), AuditError> {
    let aside = beside(path, &format!("{}.torn", now.as_micros()));
    let io = |source| AuditError::io(&aside, source);
    let mut torn = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(io)?;
    file.seek(io::SeekFrom::Start(end)).map_err(|source| AuditError::io(path, source))?;
    let bytes = io::copy(&mut file, &mut torn).map_err(io)?;
    torn.sync_all().map_err(io)?;
    tracing::warn!(path = %path.display(), bytes, aside = %aside.display(),
        "the end of the audit trail was torn and has been set aside");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64) -> String {
        format!("{{\"seq\":{seq},\"time\":\"2026-11-22T10:00:0{}.000000Z\",\"kind\":\"end\"}}\n", seq % 10)
    }

    fn on(content: &[u8]) -> (tempfile::TempDir, Result<Resumed, AuditError>) {
        after(content, Expected::default())
    }

    fn after(content: &[u8], expected: Expected) -> (tempfile::TempDir, Result<Resumed, AuditError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, content).unwrap();
        let resumed = resume(&path, &open(&path).unwrap(), expected, Time::from_micros(5));
        (folder, resumed)
    }

    /// What a loss of power may leave behind good lines, or of the first ones.
    fn holes() -> Vec<Vec<u8>> {
        let zeros = |many: usize| vec![0; many];
        let later = line(9) + &line(10);
        vec![
            zeros(1),
            zeros(3 << 20),
            [zeros(4096), later.clone().into_bytes()].concat(),
            [zeros(3 << 20), later.clone().into_bytes(), zeros(5)].concat(),
            [b"{\"seq\":9,\"ti".to_vec(), zeros(2 << 20), b"kind\":\"end\"}\n".to_vec(), later.into_bytes()]
                .concat(),
            [zeros(70), b"\"kind\":\"end\"}\n".to_vec(), line(10).into_bytes(), b"{\"seq\":11".to_vec()]
                .concat(),
        ]
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
    fn holes_are_set_aside_with_all_that_stands_behind_them_wherever_they_begin() {
        for torn in holes() {
            for (good, last) in [(line(7) + &line(8), Some(8)), (String::new(), None)] {
                for vouched in [0, 7, 8] {
                    let (folder, resumed) =
                        after(&[good.as_bytes(), &torn].concat(), Expected { base: 8, vouched });
                    let resumed = resumed.unwrap();
                    assert_eq!((resumed.end, resumed.last), (good.len() as u64, last));
                    assert!(content(&folder, "audit.jsonl") == good.as_bytes());
                    assert!(content(&folder, "audit.jsonl.5.torn") == torn);
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_before_a_checkpoint_or_missing_is_not_set_aside() {
        for wrong in ["no line\n".to_owned(), "\0".repeat(4096), line(3), String::new()] {
            let text = line(7) + &wrong + &line(9) + &line(10);
            let vouched = if wrong.is_empty() { 0 } else { 10 };
            let (folder, resumed) = after(text.as_bytes(), Expected { base: 6, vouched });
            let resumed = resumed.unwrap();
            assert_eq!((resumed.end, resumed.last), (text.len() as u64, Some(10)), "{wrong:?}");
            assert_eq!(content(&folder, "audit.jsonl"), text.as_bytes());
        }
    }

    #[test]
    fn a_file_that_is_no_trail_is_left_alone() {
        let long = "x".repeat(2 << 20);
        let image = "\0".repeat(32 << 10) + "CD001\n" + &long;
        let others = "{\"seq\":1,\"other\":1}\n".repeat(100_000);
        for foreign in ["root:x:0:0\n", "{\"other\":1}\n", "hello", "# notes\n\n", &long, &image, &others] {
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
