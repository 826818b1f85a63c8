//! Up to where a receiver has confirmed, kept over restarts: one small file for each export, in a folder beside the log.
//!
//! A file is replaced in one step and is on the disk before anything relies on it. One that cannot be read means the beginning:
//! then lines are sent again, but none is missing.

use crate::config::ExportConfig;
use crate::identity::keyfile::{self, Existing, FileError, Secrecy};
use crate::model::ExportName;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How far one receiver is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The last entry that it has confirmed, or that was passed over; 0 before the first.
    pub(super) seq: u64,
    /// The last entry that it refused for what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<u64>,
    /// The last entry that it has taken; `None` where an earlier version wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) taken: Option<u64>,
}

/// The file of one cursor.
#[derive(Debug)]
pub(super) struct CursorFile {
    path: PathBuf,
    generation: String,
}

/// What a file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    cursor: Cursor,
    /// See [`super::Source::generation`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    generation: String,
}

impl CursorFile {
    /// In the folder that belongs to the log at `log`.
    pub(super) fn of(log: &Path, export: &ExportName, generation: String) -> Self {
        Self { path: folder(log).join(export.as_str()), generation }
    }

    /// What it holds; the beginning if there is none yet or it cannot be read.
    pub(super) fn load(&self) -> Cursor {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Cursor::default(),
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "the cursor of an export cannot be read; it begins anew");
                return Cursor::default();
            }
        };
        match serde_json::from_slice::<Kept>(&text) {
            Ok(kept) if kept.generation == self.generation => kept.cursor,
            Ok(_) => {
                tracing::warn!(path = %self.path.display(), "the log was restored from a backup, or is another; its export begins anew");
                Cursor::default()
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "the cursor of an export is damaged; it begins anew");
                Cursor::default()
            }
        }
    }

    /// The same for whoever asks again and again: nothing is logged.
    fn peek(&self) -> Cursor {
        let kept = std::fs::read(&self.path).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        kept.filter(|kept| kept.generation == self.generation)
            .map_or_else(Cursor::default, |kept| kept.cursor)
    }

    pub(super) fn store(&self, cursor: Cursor) -> Result<(), FileError> {
        if let Some(folder) = self.path.parent() {
            keyfile::make_folder(folder)?;
        }
        let kept = Kept { cursor, generation: self.generation.clone() };
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        keyfile::write(&self.path, &text, Secrecy::Private, Existing::Replace)
    }
}

/// `LOG.export`, beside the log.
fn folder(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".export");
    name.into()
}

/// The lowest line of the trail at `log` that one of these exports still needs: whoever removes old files keeps it and what follows.
/// `None` where nothing is exported.
#[must_use]
pub fn needed(log: &Path, exports: &[ExportConfig]) -> Option<u64> {
    let of =
        |export: &ExportConfig| CursorFile::of(log, &export.name, String::new()).peek().seq.saturating_add(1);
    exports.iter().map(of).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ExportTarget;

    fn export(name: &str) -> ExportConfig {
        let target = ExportTarget::OcsfFile("unused".into());
        ExportConfig { name: name.parse().unwrap(), target, timeout: ExportConfig::TIMEOUT }
    }

    #[test]
    fn it_is_kept_and_what_cannot_be_read_is_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("audit.jsonl");
        let of = |generation: &str| CursorFile::of(&log, &"siem".parse().unwrap(), generation.to_owned());
        let file = of("a/1");
        assert_eq!(file.load(), Cursor::default());
        let kept = Cursor { seq: 41, refused: Some(7), taken: Some(40) };
        file.store(kept).unwrap();
        assert_eq!(of("a/1").load(), kept);
        assert_eq!(of("a/2").load(), Cursor::default(), "restored from a backup");
        std::fs::write(dir.path().join("audit.jsonl.export/siem"), b"{\"se").unwrap();
        assert_eq!(file.load(), Cursor::default());
    }

    #[test]
    fn what_is_still_needed_is_what_the_slowest_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("audit.jsonl");
        let (fast, slow) = (export("fast"), export("slow"));
        let store = |export: &ExportConfig, seq| {
            CursorFile::of(&log, &export.name, String::new())
                .store(Cursor { seq, ..Cursor::default() })
                .unwrap();
        };
        store(&fast, 90);
        store(&slow, 12);
        assert_eq!(needed(&log, &[fast.clone(), slow.clone()]), Some(13));
        assert_eq!(needed(&log, std::slice::from_ref(&fast)), Some(91));
        assert_eq!(needed(&log, &[fast.clone(), export("new")]), Some(1), "a new one needs everything");
        std::fs::write(dir.path().join("audit.jsonl.export/fast"), b"{\"seq\":9").unwrap();
        assert_eq!(needed(&log, &[fast, slow]), Some(1), "one that cannot be read, too");
        assert_eq!(needed(&log, &[]), None);
    }
}
