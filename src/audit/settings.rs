//! What a trail is made of, and why it cannot be opened.

use super::proof::ProofError;
use super::recording::RecordingError;
use crate::config::{RecordingConfig, RetentionConfig};
use crate::model::ProxyName;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the trail is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file, rotated beside itself.
    File(PathBuf),
    /// Standard output, for a collector.
    Stdout,
}

/// How many lines about refused requests and handshakes may be written; what is above is summarised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenialBudget {
    /// Lines a second, over all sources.
    pub per_second: u32,
    /// Lines at once, over all sources.
    pub burst: u32,
}

impl Default for DenialBudget {
    fn default() -> Self {
        Self { per_second: 1_000, burst: 5_000 }
    }
}

/// What a sink is made of.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// The value of `proxy` in each line.
    pub proxy: ProxyName,
    /// Where to.
    pub target: Target,
    /// A file of this size is rotated.
    pub rotate_bytes: u64,
    /// A file of this age is rotated.
    pub rotate_every: Option<Duration>,
    /// Whether rotated files are compressed, beside the work.
    pub compress: bool,
    /// Requests that may be in flight or waiting for the writer; above that they are refused.
    pub queue_lines: u32,
    /// The budget of refusals.
    pub denials: DenialBudget,
    /// The name of the tree over the lines of a file; absent: there is none.
    pub origin: Option<String>,
    /// How requests are recorded whose grant demands it; without, they are refused.
    pub recording: Option<RecordingConfig>,
    /// How long files are kept, and what they may take.
    pub retention: RetentionConfig,
    /// Whether a control plane follows: then nothing is removed that it has not acknowledged.
    pub followed: bool,
}

impl AuditConfig {
    /// The defaults: rotated at 256 MiB and compressed, 65,536 lines.
    #[must_use]
    pub fn new(proxy: ProxyName, target: Target) -> Self {
        Self {
            proxy,
            target,
            rotate_bytes: 256 << 20,
            rotate_every: None,
            compress: true,
            queue_lines: 65_536,
            denials: DenialBudget::default(),
            origin: None,
            recording: None,
            retention: RetentionConfig::default(),
            followed: false,
        }
    }
}

/// Why a trail cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file system refused.
    #[error("cannot write the audit trail at `{path}`")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process writes this trail.
    #[error("the audit trail is in use by another process (it holds `{path}`): give each process its own")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A folder, a device or a pipe.
    #[error("`{path}` is not a regular file: name one that can be created there")]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// It holds something that we did not write.
    #[error("`{path}` does not end in audit lines, it is left untouched: move it away or name another file")]
    NotATrail {
        /// What was named.
        path: PathBuf,
    },
    /// It is not what its checkpoint vouches for.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Nothing can be recorded.
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

impl AuditError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Whether there is no space: that may change.
    pub(super) fn is_full(&self) -> bool {
        let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if kinds.contains(&source.kind()))
    }

    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Io { source, .. } => source,
            other @ (Self::Locked { .. }
            | Self::NotAFile { .. }
            | Self::NotATrail { .. }
            | Self::Proof(_)
            | Self::Recording(_)) => io::Error::other(other),
        }
    }
}
