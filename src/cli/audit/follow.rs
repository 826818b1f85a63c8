//! A trail that grows: each of its lines once, also those in files that were rotated, and compressed, between two looks.

use super::Line;
use crate::audit::search::{self, Conditions, Hit, Order};
use crate::audit::segments::{self, Lines, Segment};
use crate::cli::shown::escaped;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Lines that may have come since the newest file was read, while those of the files before it are looked for.
const SINCE: usize = 1_000;

/// Why a trail cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be read: {source}; name the trail with --file, or the folder of `jitgate up` with --data", path.display())]
pub(super) struct FollowError {
    path: PathBuf,
    source: io::Error,
}

/// What a look shows.
pub(super) enum Seen {
    /// The next line.
    Line(Line),
    /// The lines with these numbers are in no file any more.
    Gone(u64, u64),
    /// The numbers begin anew: another trail has taken the place of this one.
    Other,
}

/// Reads whole lines, each once.
pub(super) struct Follower {
    path: PathBuf,
    lines: Lines,
    /// Of the active file, if it is the one that is read.
    inode: Option<u64>,
    /// The number of the last line that was read; 0 before there is one.
    last: u64,
    /// The number of the last line of the file before the one that was opened first; `None` where there is none.
    before: Option<u64>,
}

impl Follower {
    /// From the beginning of the newest file.
    pub(super) fn open(path: PathBuf) -> Result<Self, FollowError> {
        match newest(&path) {
            Ok(Newest { lines, inode, before }) => Ok(Self { path, lines, inode, last: 0, before }),
            Err(source) => Err(FollowError { path, source }),
        }
    }

    /// Every line that was added since the last look.
    pub(super) fn read(&mut self, mut each: impl FnMut(Seen)) -> Result<(), FollowError> {
        self.look(&mut each).map_err(|source| FollowError { path: self.path.clone(), source })
    }

    /// The last `most` lines that fit of the files before the one that was opened, newest first. `behind`: how many fit in that one.
    pub(super) fn before(
        &self,
        conditions: &Conditions,
        (most, behind): (usize, usize),
    ) -> Result<Vec<Line>, FollowError> {
        let Some(before) = self.before.filter(|_| most > 0) else { return Ok(Vec::new()) };
        let limit = most.saturating_add(behind).saturating_add(SINCE);
        let mut found = Vec::new();
        let each = |hit: Hit| {
            if segments::seq(hit.raw.as_bytes()).is_some_and(|seq| seq <= before) {
                found.push(Line::from(hit));
            }
            if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let searched = search::search(&self.path, conditions, Order::Newest, limit, each)
            .map_err(|source| FollowError { path: self.path.clone(), source })?;
        for (path, error) in searched.damaged {
            eprintln!("{}", escaped(&format!("`{}` cannot be read to its end: {error}", path.display())));
        }
        Ok(found)
    }

    fn look(&mut self, each: &mut impl FnMut(Seen)) -> io::Result<()> {
        self.rest(each)?;
        match std::fs::metadata(&self.path) {
            Ok(metadata) if Some(metadata.ino()) != self.inode => {
                // Whatever was added to the file between the look above and its rotation.
                self.rest(each)?;
                self.catch_up(each)
            }
            Ok(_) => Ok(()),
            // In the middle of a rotation: there will be one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The files behind the one that was read: it was rotated, perhaps more than once.
    fn catch_up(&mut self, each: &mut impl FnMut(Seen)) -> io::Result<()> {
        let all = match segments::list(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            all => all?,
        };
        let active = all.last().filter(|segment| segment.is_active());
        // Rotation goes on with the next number.
        if active.map(Segment::first).transpose()?.flatten().is_some_and(|first| first <= self.last) {
            each(Seen::Other);
            self.last = 0;
        }
        let before = self.last;
        for segment in all.iter().filter(|segment| segment.last().is_none_or(|last| last > before)) {
            match segment.open() {
                Ok(lines) => (self.lines, self.inode) = (lines, segment.inode()?),
                // Removed since it was listed; the next line tells which numbers are gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            self.rest(each)?;
        }
        Ok(())
    }

    /// What there is of the open file that was not read yet.
    fn rest(&mut self, each: &mut impl FnMut(Seen)) -> io::Result<()> {
        while let Some(bytes) = self.lines.line()? {
            if let Some(seq) = segments::seq(bytes) {
                if seq <= self.last {
                    continue;
                }
                if self.last > 0 && seq > self.last + 1 {
                    each(Seen::Gone(self.last + 1, seq - 1));
                }
                self.last = seq;
            }
            if let Some(line) = Line::parse(String::from_utf8_lossy(bytes).into_owned()) {
                each(Seen::Line(line));
            }
        }
        Ok(())
    }
}

/// The newest file of a trail.
struct Newest {
    lines: Lines,
    inode: Option<u64>,
    before: Option<u64>,
}

fn newest(path: &std::path::Path) -> io::Result<Newest> {
    let mut all = segments::list(path)?;
    let newest = all.pop().ok_or(io::ErrorKind::NotFound)?;
    let before = all.last().and_then(Segment::last);
    Ok(Newest { lines: newest.open()?, inode: newest.inode()?, before })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;

    fn read(follower: &mut Follower) -> Vec<String> {
        let mut seen = Vec::new();
        let each = |what: Seen| {
            seen.push(match what {
                Seen::Line(line) => line.number("seq"),
                Seen::Gone(from, to) => format!("{from}-{to} gone"),
                Seen::Other => "other".to_owned(),
            });
        };
        follower.read(each).unwrap();
        seen
    }

    fn write(path: &Path, numbers: impl IntoIterator<Item = u64>) {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        for number in numbers {
            writeln!(file, "{{\"seq\":{number}}}").unwrap();
        }
    }

    fn rotate(path: &Path, last: u64) -> PathBuf {
        let to = path.with_file_name(format!("audit-20261122T100000Z-{last:012}.jsonl"));
        fs::rename(path, &to).unwrap();
        File::create(path).unwrap();
        to
    }

    fn compress(plain: PathBuf) {
        let mut packed = plain.clone().into_os_string();
        packed.push(".zst");
        fs::write(packed, zstd::encode_all(fs::read(&plain).unwrap().as_slice(), 1).unwrap()).unwrap();
        fs::remove_file(plain).unwrap();
    }

    #[test]
    fn each_line_once_over_torn_writes_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut file = File::create(&path).unwrap();
        write!(file, "{{\"seq\":1}}\n{{\"se").unwrap();
        let mut follower = Follower::open(path.clone()).unwrap();
        assert_eq!(read(&mut follower), ["1"]);
        writeln!(file, "q\":2}}").unwrap();
        assert_eq!(read(&mut follower), ["2"]);
        writeln!(file, "{{\"seq\":3}}").unwrap();
        rotate(&path, 3);
        write(&path, [4]);
        assert_eq!(read(&mut follower), ["3", "4"]);
        assert!(read(&mut follower).is_empty());
    }

    #[test]
    fn several_rotations_between_two_looks_lose_nothing_compressed_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        write(&path, [1, 2]);
        let mut follower = Follower::open(path.clone()).unwrap();
        assert_eq!(read(&mut follower), ["1", "2"]);
        write(&path, [3]);
        compress(rotate(&path, 3));
        write(&path, [4, 5]);
        compress(rotate(&path, 5));
        write(&path, [6]);
        rotate(&path, 6);
        assert_eq!(read(&mut follower), ["3", "4", "5", "6"], "the active file is empty still");
        write(&path, [7]);
        assert_eq!(read(&mut follower), ["7"]);
        // Twice, and between the two renames of the second.
        rotate(&path, 7);
        write(&path, [8]);
        rotate(&path, 8);
        fs::remove_file(&path).unwrap();
        assert!(read(&mut follower).is_empty());
        write(&path, [9]);
        assert_eq!(read(&mut follower), ["8", "9"]);
    }

    #[test]
    fn the_files_before_the_newest_have_what_that_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        write(&path, [1, 2]);
        compress(rotate(&path, 2));
        write(&path, [3]);
        rotate(&path, 3);
        let mut follower = Follower::open(path.clone()).unwrap();
        assert!(read(&mut follower).is_empty());
        let before = |follower: &Follower, most: usize| {
            let found = follower.before(&Conditions::default(), (most, 0)).unwrap();
            found.iter().map(|line| line.number("seq")).collect::<Vec<_>>()
        };
        assert!(before(&follower, 0).is_empty());
        assert_eq!(before(&follower, 2), ["3", "2"]);
        assert_eq!(before(&follower, 9), ["3", "2", "1"]);
        write(&path, [4]);
        assert_eq!(before(&follower, 1), ["3"], "what has come since is for the next look");
        assert_eq!(read(&mut follower), ["4"]);
    }

    #[test]
    fn what_was_removed_before_it_was_read_is_said_and_so_is_another_trail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        write(&path, [1]);
        let mut follower = Follower::open(path.clone()).unwrap();
        assert_eq!(read(&mut follower), ["1"]);
        rotate(&path, 1);
        write(&path, [2, 3]);
        fs::remove_file(rotate(&path, 3)).unwrap();
        write(&path, [4]);
        assert_eq!(read(&mut follower), ["2-3 gone", "4"]);
        for entry in fs::read_dir(dir.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        write(&path, [1, 2]);
        assert_eq!(read(&mut follower), ["other", "1", "2"]);
    }
}
