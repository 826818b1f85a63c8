//! The files of a trail in order, and their lines: what every reader of a trail reads with.
//!
//! Knows how the files are named and whether they are compressed; refuses to know what a line says beyond its number. A proxy may
//! rotate and compress while we read. So that no line is seen twice and none is lost, the active file is opened before the folder is
//! looked at, the folder is looked at until two looks agree, and whatever of the two names a rotated file has when it is opened is
//! taken: each holds the same lines. Lines that are written into files begun after the look are not part of it.

use crate::model::Time;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is read at once.
const BLOCK: usize = 256 << 10;
/// Several times the longest line; more without a newline is no trail.
const LONGEST: usize = 16 << 20;
/// A folder that changes at each look is taken as it was at the last.
const LOOKS: usize = 16;

/// One file of a trail.
#[derive(Debug, Clone)]
pub struct Segment {
    path: PathBuf,
    last: Option<u64>,
    active: Option<Arc<File>>,
}

/// The files of the trail whose active file is at `trail`, oldest first. The path of a compressed file means that file alone.
///
/// # Errors
/// When the folder or the active file cannot be read, or neither an active nor a rotated file is there.
pub fn list(trail: &Path) -> io::Result<Vec<Segment>> {
    if trail.extension().is_some_and(|extension| extension == "zst") {
        std::fs::metadata(trail)?;
        return Ok(vec![Segment { path: trail.to_owned(), last: None, active: None }]);
    }
    let mut seen = look(trail)?;
    for _ in 1..LOOKS {
        let again = look(trail)?;
        let same = again == seen;
        seen = again;
        if same {
            break;
        }
    }
    let Look { active, mut rotated, .. } = seen;
    rotated.sort();
    let mut segments: Vec<Segment> =
        rotated.into_iter().map(|(last, path)| Segment { path, last: Some(last), active: None }).collect();
    // The same file in both shapes, if whoever compressed it has not removed the plain one yet: the plain one sorts first.
    segments.dedup_by(|second, first| second.plain() == first.plain());
    if let Some(file) = active {
        let active = Segment { path: trail.to_owned(), last: None, active: Some(Arc::new(file)) };
        // Rotated since it was opened, if a rotated file begins with its first line: then it is in the list already. Of their names
        // alone nothing follows: anybody can give a file one.
        let first = active.first()?;
        let reaches = |segment: &&Segment| first.is_some() && segment.last >= first;
        let is_it = |segment: &Segment| segment.first().ok().flatten() == first;
        if !segments.iter().rev().take_while(reaches).any(is_it) {
            segments.push(active);
        }
    }
    if segments.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(segments)
}

/// The number of a line of a trail, which stands at its beginning.
#[must_use]
pub fn seq(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let digits = rest.get(..rest.iter().position(|byte| !byte.is_ascii_digit())?)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The time of a line of a trail, which stands behind its number.
pub(super) fn time(line: &[u8]) -> Option<&[u8]> {
    let rest = line.get(memchr::memchr(b',', line)?..)?.strip_prefix(b",\"time\":\"")?;
    rest.get(..memchr::memchr(b'"', rest)?)
}

impl Segment {
    /// Where it was when it was listed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of its last line, as its name says; `None` for the active file.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// Whether it was compressed when it was listed.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "zst")
    }

    /// Whether lines are still added to it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Its path without what compression adds.
    #[must_use]
    pub fn plain(&self) -> PathBuf {
        if self.is_compressed() { self.path.with_extension("") } else { self.path.clone() }
    }

    /// Its lines, from the first.
    ///
    /// # Errors
    /// When the file is gone or cannot be read.
    pub fn open(&self) -> io::Result<Lines> {
        if let Some(file) = &self.active {
            return Ok(Lines::new(Box::new(At { file: Arc::clone(file), offset: 0 })));
        }
        either(&self.plain(), self.is_compressed())
    }

    /// The number of its first line; `None` while it has none.
    ///
    /// # Errors
    /// As [`Segment::open`] and [`Lines::line`].
    pub fn first(&self) -> io::Result<Option<u64>> {
        Ok(self.open()?.line()?.and_then(seq))
    }

    /// Which file the active one is, to tell when another has taken its place; `None` for a rotated one.
    ///
    /// # Errors
    /// When the file cannot be asked.
    pub fn inode(&self) -> io::Result<Option<u64>> {
        self.active.as_ref().map(|file| Ok(file.metadata()?.ino())).transpose()
    }
}

/// The lines of a rotated file, whatever shape it has.
pub(super) fn rotated(plain: &Path) -> io::Result<Lines> {
    either(plain, false)
}

fn either(plain: &Path, packed_first: bool) -> io::Result<Lines> {
    let packed = &*compressed(plain);
    let names = if packed_first { [packed, plain] } else { [plain, packed] };
    let mut failure = None;
    for name in names {
        match File::open(name) {
            Ok(file) if name == packed => return unpacked(file),
            Ok(file) => return Ok(Lines::new(Box::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// `NAME.zst` for `NAME`.
pub(super) fn compressed(plain: &Path) -> PathBuf {
    let mut name = plain.as_os_str().to_owned();
    name.push(".zst");
    name.into()
}

/// The lines of the compressed file at `path`.
pub(super) fn packed_lines(path: &Path) -> io::Result<Lines> {
    unpacked(File::open(path)?)
}

fn unpacked(file: File) -> io::Result<Lines> {
    Ok(Lines::new(Box::new(zstd::stream::read::Decoder::new(file)?)))
}

/// What a folder showed.
struct Look {
    active: Option<File>,
    /// So that two looks can be compared.
    inode: Option<u64>,
    rotated: Vec<(u64, PathBuf)>,
}

impl PartialEq for Look {
    fn eq(&self, other: &Self) -> bool {
        self.inode == other.inode && self.rotated == other.rotated
    }
}

fn look(trail: &Path) -> io::Result<Look> {
    let active = match File::open(trail) {
        Ok(file) => Some(file),
        // Between the two renames of a rotation, or moved away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let inode = active.as_ref().map(|file| Ok::<_, io::Error>(file.metadata()?.ino())).transpose()?;
    let folder = trail.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut rotated = Vec::new();
    for entry in std::fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let name = entry?.file_name();
        if let Some(last) = last_of(trail, &name) {
            rotated.push((last, trail.with_file_name(name)));
        }
    }
    rotated.sort();
    Ok(Look { active, inode, rotated })
}

/// The number of the last line, if `name` is a rotated file of this trail: `STEM-20261122T100000Z-000000001234.EXTENSION[.zst]`.
pub(super) fn last_of(trail: &Path, name: &OsStr) -> Option<u64> {
    let (_, last) = parts(trail, name)?;
    std::str::from_utf8(last).ok()?.parse().ok()
}

/// When it was rotated: at its last line or later, to the second.
pub(super) fn rotated_at(trail: &Path, name: &OsStr) -> Option<Time> {
    let (stamp, _) = parts(trail, name)?;
    let stamp = std::str::from_utf8(stamp).ok()?;
    let part = |from: usize, to: usize| stamp.get(from..to);
    let (date, time) = (
        format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?),
        format!("{}:{}:{}", part(9, 11)?, part(11, 13)?, part(13, 15)?),
    );
    // The rest of the second was cut off.
    format!("{date}T{time}.999999Z").parse().ok()
}

/// The stamp and the number in a name.
fn parts<'a>(trail: &Path, name: &'a OsStr) -> Option<(&'a [u8], &'a [u8])> {
    let bytes = name.as_bytes();
    let bytes = bytes.strip_suffix(b".zst").unwrap_or(bytes);
    let bytes = match trail.extension() {
        Some(extension) => bytes.strip_suffix(extension.as_bytes())?.strip_suffix(b".")?,
        None => bytes,
    };
    let rest = bytes.strip_prefix(trail.file_stem()?.as_bytes())?.strip_prefix(b"-")?;
    let (stamp, last) = rest.split_at_checked(16)?;
    let is_stamp = stamp.iter().enumerate().all(|(at, byte)| match at {
        8 => *byte == b'T',
        15 => *byte == b'Z',
        _ => byte.is_ascii_digit(),
    });
    let last = last.strip_prefix(b"-").filter(|last| last.len() >= 12)?;
    (is_stamp && last.iter().all(u8::is_ascii_digit)).then_some((stamp, last))
}

/// A file read by offset, so that several readers of one open file do not disturb each other.
struct At {
    file: Arc<File>,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}

/// The lines of a segment. What does not end in a newline is no line: it is still being written, or was torn. After the last line of
/// the active file, asking again yields what was added meanwhile.
pub struct Lines {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// What was handed out.
    from: usize,
    /// Up to here there are whole lines.
    whole: usize,
    /// Up to here there is anything.
    filled: usize,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl Lines {
    fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, buffer: vec![0; BLOCK], from: 0, whole: 0, filled: 0 }
    }

    /// The next line, without its newline; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or is not made of lines.
    pub fn line(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.fill()? {
            return Ok(None);
        }
        let rest = self.buffer.get(self.from..self.whole).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.from += length + 1;
        Ok(rest.get(..length))
    }

    /// The next lines, each with its newline: as many as are at hand, at least one. `None` at the end.
    ///
    /// # Errors
    /// As [`Lines::line`].
    pub fn block(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.fill()? {
            return Ok(None);
        }
        let block = self.buffer.get(self.from..self.whole);
        self.from = self.whole;
        Ok(block)
    }

    /// After the end: what stands behind the last line.
    pub(super) fn rest(&self) -> &[u8] {
        self.buffer.get(self.from..self.filled).unwrap_or_default()
    }

    /// Reads until there is a whole line that was not handed out.
    fn fill(&mut self) -> io::Result<bool> {
        if self.from < self.whole {
            return Ok(true);
        }
        self.buffer.copy_within(self.from..self.filled, 0);
        self.filled -= self.from;
        (self.from, self.whole) = (0, 0);
        loop {
            if self.filled == self.buffer.len() {
                if self.buffer.len() >= LONGEST {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "this is no trail: a line has no end",
                    ));
                }
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            let read = match self.source.read(self.buffer.get_mut(self.filled..).unwrap_or_default()) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                return Ok(false);
            }
            let added = self.buffer.get(self.filled..self.filled + read).unwrap_or_default();
            let end = memchr::memrchr(b'\n', added).map(|at| self.filled + at + 1);
            self.filled += read;
            if let Some(end) = end {
                self.whole = end;
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "audit-20261122T100000Z-000000000002.jsonl";
    const SECOND: &str = "audit-20261122T090000Z-000000000004.jsonl";

    fn lines(from: u64, to: u64) -> String {
        (from..=to).map(|seq| format!("{{\"seq\":{seq},\"time\":\"t\"}}\n")).collect()
    }

    fn numbers(segments: &[Segment]) -> Vec<u64> {
        let mut seen = Vec::new();
        for segment in segments {
            let mut lines = segment.open().unwrap();
            while let Some(line) = lines.line().unwrap() {
                seen.push(seq(line).unwrap());
            }
        }
        seen
    }

    fn pack(plain: &Path) {
        let bytes = zstd::encode_all(std::fs::File::open(plain).unwrap(), 3).unwrap();
        std::fs::write(compressed(plain), bytes).unwrap();
    }

    fn trail() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        std::fs::write(dir.path().join(FIRST), lines(1, 2)).unwrap();
        std::fs::write(dir.path().join(SECOND), lines(3, 4)).unwrap();
        std::fs::write(&path, lines(5, 6) + "{\"seq\":7,\"ti").unwrap();
        for other in
            ["audit.jsonl.lock", "audit-x.jsonl", "audit-20261122T100000Z-000000000009.jsonl.idx", "b.jsonl"]
        {
            std::fs::write(dir.path().join(other), lines(100, 101)).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn files_come_in_the_order_of_their_numbers_and_a_torn_line_is_none() {
        let (dir, path) = trail();
        let all = list(&path).unwrap();
        assert_eq!(all.iter().map(Segment::last).collect::<Vec<_>>(), [Some(2), Some(4), None]);
        assert_eq!(numbers(&all), [1, 2, 3, 4, 5, 6]);
        assert!(list(&dir.path().join("none.jsonl")).is_err());
    }

    #[test]
    fn a_name_alone_hides_no_line() {
        let (dir, path) = trail();
        let odd = dir.path().join("audit-20991231T235959Z-999999999999.jsonl");
        std::fs::write(&odd, "").unwrap();
        assert_eq!(numbers(&list(&path).unwrap()), [1, 2, 3, 4, 5, 6]);
        std::fs::remove_file(&odd).unwrap();
        std::fs::rename(dir.path().join(SECOND), &odd).unwrap();
        assert_eq!(numbers(&list(&path).unwrap()), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_file_in_both_shapes_counts_once_and_either_is_enough() {
        let (dir, path) = trail();
        pack(&dir.path().join(FIRST));
        let both = list(&path).unwrap();
        assert_eq!(numbers(&both), [1, 2, 3, 4, 5, 6]);
        std::fs::remove_file(dir.path().join(FIRST)).unwrap();
        assert_eq!(numbers(&both), [1, 2, 3, 4, 5, 6], "compressed between the look and the reading");
        let one = list(&path).unwrap();
        assert!(one[0].is_compressed() && one[0].plain() == dir.path().join(FIRST));
        assert_eq!(numbers(&one), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers(&list(one[0].path()).unwrap()), [1, 2]);
    }

    #[test]
    fn what_is_rotated_and_compressed_after_the_look_is_read_from_the_open_file() {
        let (dir, path) = trail();
        std::fs::write(&path, lines(5, 6)).unwrap();
        let all = list(&path).unwrap();
        let rotated = dir.path().join("audit-20261122T110000Z-000000000006.jsonl");
        std::fs::rename(&path, &rotated).unwrap();
        std::fs::write(&path, lines(7, 8)).unwrap();
        pack(&rotated);
        std::fs::remove_file(&rotated).unwrap();
        assert_eq!(numbers(&all), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers(&list(&path).unwrap()), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn an_active_file_whose_lines_are_in_a_rotated_one_is_not_read_twice() {
        let (dir, path) = trail();
        std::fs::write(&path, lines(5, 6)).unwrap();
        // As after an open that was followed by rotation: another file with the same lines.
        std::fs::write(dir.path().join("audit-20261122T110000Z-000000000006.jsonl"), lines(5, 6)).unwrap();
        assert_eq!(numbers(&list(&path).unwrap()), [1, 2, 3, 4, 5, 6]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(numbers(&list(&path).unwrap()), [1, 2, 3, 4, 5, 6], "between the renames of a rotation");
    }

    #[test]
    fn lines_added_later_are_seen_by_asking_again_and_blocks_hold_whole_lines() {
        let (_dir, path) = trail();
        let all = list(&path).unwrap();
        let mut reader = all[2].open().unwrap();
        assert_eq!(reader.block().unwrap().unwrap(), lines(5, 6).as_bytes());
        assert!(reader.line().unwrap().is_none());
        std::fs::write(&path, lines(5, 7)).unwrap();
        assert_eq!(seq(reader.line().unwrap().unwrap()), Some(7));
        let long = format!("{{\"seq\":8,\"path\":\"{}\"}}\n", "x".repeat(3 * BLOCK));
        std::fs::write(&path, lines(5, 7) + &long).unwrap();
        assert_eq!(reader.line().unwrap().unwrap().len() + 1, long.len());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_end() {
        let (dir, path) = trail();
        let plain = dir.path().join(FIRST);
        std::fs::write(&plain, (1..=50_000).map(|n| lines(n, n)).collect::<String>()).unwrap();
        pack(&plain);
        std::fs::remove_file(&plain).unwrap();
        let packed = compressed(&plain);
        let bytes = std::fs::read(&packed).unwrap();
        std::fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
        let mut reader = list(&path).unwrap()[0].open().unwrap();
        let end = loop {
            match reader.line() {
                Ok(Some(_)) => {}
                end => break end.is_err(),
            }
        };
        assert!(end);
    }
}
