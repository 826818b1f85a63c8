//! A file of lines that grows, and is replaced by another of the same name when it is rotated.

use super::Line;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Why a trail cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be read: {source}; name the trail with --file, or the folder of `jitgate up` with --data", path.display())]
pub(super) struct FollowError {
    path: PathBuf,
    source: io::Error,
}

/// Reads whole lines, each once.
pub(super) struct Follower {
    path: PathBuf,
    reader: BufReader<File>,
    inode: u64,
    partial: String,
}

impl Follower {
    /// From its beginning.
    pub(super) fn open(path: PathBuf) -> Result<Self, FollowError> {
        let (reader, inode) = open(&path).map_err(|source| FollowError { path: path.clone(), source })?;
        Ok(Self { path, reader, inode, partial: String::new() })
    }

    /// Every line that was added since, also in a file that has taken its place.
    pub(super) fn read(&mut self, mut each: impl FnMut(Line) -> io::Result<()>) -> Result<(), FollowError> {
        self.lines(&mut each).map_err(|source| self.failed(source))?;
        match std::fs::metadata(&self.path) {
            Ok(metadata) if metadata.ino() != self.inode => {
                // Whatever was added between the look above and the rotation.
                self.lines(&mut each).map_err(|source| self.failed(source))?;
                let (reader, inode) = open(&self.path).map_err(|source| self.failed(source))?;
                (self.reader, self.inode) = (reader, inode);
                self.partial.clear();
                self.lines(&mut each).map_err(|source| self.failed(source))
            }
            Ok(_) => Ok(()),
            // In the middle of a rotation: there will be one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn lines(&mut self, each: &mut impl FnMut(Line) -> io::Result<()>) -> io::Result<()> {
        loop {
            if self.reader.read_line(&mut self.partial)? == 0 {
                return Ok(());
            }
            if !self.partial.ends_with('\n') {
                continue;
            }
            let raw = std::mem::take(&mut self.partial);
            if let Some(line) = Line::parse(raw.trim_end().to_owned()) {
                each(line)?;
            }
        }
    }

    fn failed(&self, source: io::Error) -> FollowError {
        FollowError { path: self.path.clone(), source }
    }
}

fn open(path: &PathBuf) -> io::Result<(BufReader<File>, u64)> {
    let file = File::open(path)?;
    let inode = file.metadata()?.ino();
    Ok((BufReader::new(file), inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(follower: &mut Follower) -> Vec<u64> {
        let mut seen = Vec::new();
        let each = |line: Line| {
            seen.push(line.value["seq"].as_u64().unwrap());
            Ok(())
        };
        follower.read(each).unwrap();
        seen
    }

    #[test]
    fn each_line_once_over_torn_writes_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut file = File::create(&path).unwrap();
        write!(file, "{{\"seq\":1}}\n{{\"se").unwrap();
        let mut follower = Follower::open(path.clone()).unwrap();
        assert_eq!(read(&mut follower), [1]);
        writeln!(file, "q\":2}}").unwrap();
        assert_eq!(read(&mut follower), [2]);
        writeln!(file, "{{\"seq\":3}}").unwrap();
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        std::fs::write(&path, "{\"seq\":4}\n").unwrap();
        assert_eq!(read(&mut follower), [3, 4]);
        assert_eq!(read(&mut follower), [0_u64; 0]);
    }
}
