//! Events to a file, for an agent on this machine that picks them up. Whoever rotates it may rename it or cut it to nothing.
//!
//! What is confirmed is on the disk. A line that a crash tore is taken away before the next is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// The end of the file that is searched for its last newline; longer than any event that fits one read of the log.
const WINDOW: u64 = 16 << 20;

/// A file that events are added to.
#[derive(Debug)]
pub(super) struct FileSink {
    path: PathBuf,
    looked: bool,
}

impl FileSink {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, looked: false }
    }

    /// Adds whole lines and puts them on the disk.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&self.path)?;
        if !self.looked {
            if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                // A new file's name, too.
                File::open(folder)?.sync_all()?;
            }
            mend(&file)?;
            self.looked = true;
        }
        // After a failure the file may end in the middle of a line.
        self.looked = false;
        file.write_all(lines)?;
        file.sync_data()?;
        self.looked = true;
        Ok(())
    }
}

/// Takes away what stands behind the last newline.
fn mend(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(WINDOW);
    let mut end = vec![0; usize::try_from(length - from).unwrap_or(0)];
    file.read_exact_at(&mut end, from)?;
    match memchr::memrchr(b'\n', &end) {
        Some(at) if at + 1 == end.len() => Ok(()),
        Some(at) => file.set_len(from + at as u64 + 1),
        None if from == 0 => file.set_len(0),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file for events does not hold lines: name another",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_a_torn_one_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("siem/events.jsonl");
        FileSink::new(path.clone()).append(b"{\"a\":1}\n").unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"a\":2").unwrap();
        let mut sink = FileSink::new(path.clone());
        sink.append(b"{\"a\":2}\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"a\":1}\n{\"a\":2}\n");
        // Rotated away: the next lines are in a new file.
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        sink.append(b"{\"a\":3}\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"a\":3}\n");
        std::fs::write(&path, b"no line").unwrap();
        FileSink::new(path.clone()).append(b"{\"a\":4}\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"a\":4}\n");
    }
}
