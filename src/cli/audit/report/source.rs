//! Where a report has its facts from: the log of the control plane, and the trails of proxies.

use super::ledger::{Entry, Interest, Ledger};
use crate::audit::search::{self, Conditions, Matcher, Order};
use crate::audit::segments;
use crate::audit::verify::{self, Gone, Trusted, Wrong};
use crate::cli::Failure;
use crate::cli::audit::verify::{self as verify_command, VerifyError};
use crate::cli::audit::{Line, witness};
use crate::cli::client::{Client, ClientError};
use crate::cli::connection::Connection;
use crate::model::{ProxyName, Revision, Time, TrailHead};
use crate::notary::Store;
use crate::tlog::VerifierKey;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two events of a log that is read from its beginning.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the log says nothing.
#[derive(Debug, thiserror::Error)]
enum LogError {
    #[error("the event log ended at revision {0}, before its head: this identity may have lost its role")]
    Short(Revision),
    #[error("no event came for {} s", PATIENCE.as_secs())]
    Slow,
    #[error(
        "revision {0} of the event log is not understood: this `jitgate` may be older than its control plane"
    )]
    Unknown(Revision, #[source] serde_json::Error),
}

/// Which log was read, and up to where.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Log {
    pub(super) log: String,
    pub(super) revision: Revision,
    /// Control time when it was asked.
    pub(super) time: Time,
}

/// Reads the event log from its beginning to where its head is now, and what is kept beside it of trails.
pub(super) async fn ledger(client: &mut Client, interest: Interest) -> Result<(Log, Ledger), Failure> {
    #[derive(serde::Deserialize)]
    struct Status {
        log: String,
        revision: Revision,
        time: Time,
    }
    #[derive(serde::Deserialize)]
    struct Proxy {
        name: ProxyName,
        trail: Option<Kept>,
    }
    #[derive(serde::Deserialize)]
    struct Kept {
        key: String,
        size: u64,
        root: String,
        checkpoint: String,
    }
    client.set_patience(PATIENCE);
    let Status { log, revision, time } = client.get("/v1/status").await?;
    let proxies: Vec<Proxy> = client.get("/v1/proxies").await?;
    let mut ledger = Ledger::of(interest);
    let opening = tokio::time::timeout(PATIENCE, client.events("/v1/events?after=0"));
    let mut events = opening.await.map_err(|_| Failure::failed(LogError::Slow))??;
    while ledger.revision < revision {
        let Ok(next) = tokio::time::timeout(PATIENCE, events.next()).await else {
            return Err(Failure::failed(LogError::Slow));
        };
        let short = || Failure::failed(LogError::Short(ledger.revision));
        let text = next?.ok_or_else(short)?;
        match serde_json::from_str::<Entry>(&text) {
            Ok(entry) => ledger.apply(entry),
            Err(error) => {
                let value: Value = serde_json::from_str(&text).map_err(ClientError::Json)?;
                let at = value.get("revision").and_then(Value::as_u64).unwrap_or_default();
                return Err(Failure::failed(LogError::Unknown(Revision(at), error)));
            }
        }
    }
    // Beside the log a newer checkpoint is kept than it has.
    for Proxy { name, trail } in proxies {
        if let Some(Kept { key, size, root, checkpoint: note }) = trail {
            ledger.heads.insert(name, TrailHead { key, size, root, note });
        }
    }
    Ok((Log { log, revision, time }, ledger))
}

/// A trail, and what can be said of it.
#[derive(Debug, Serialize)]
pub(super) struct Trail {
    pub(super) file: PathBuf,
    /// Who wrote it.
    pub(super) proxy: Option<String>,
    /// The first line that is still there.
    pub(super) first_line: Option<u64>,
    pub(super) begins: Option<Time>,
    #[serde(flatten)]
    pub(super) standing: Standing,
}

/// Whether a trail is the one that was written.
#[derive(Debug, Serialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub(super) enum Standing {
    /// Its lines are those that checkpoints vouch for.
    Verified {
        up_to: u64,
        last: u64,
        against: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        removed: Option<Gone>,
    },
    /// Its lines are not.
    Wrong { up_to: u64, last: u64, against: Vec<String>, wrong: Vec<Wrong> },
    /// Nobody looked.
    Unverified { why: String },
    /// What it holds is missing from the report, or some of it is.
    Unread { why: String },
}

impl Trail {
    /// Whether what was done before `time` may be missing because the trail begins later.
    pub(super) fn begins_after(&self, time: Time) -> bool {
        self.first_line != Some(1) && self.begins.is_none_or(|begins| begins > time)
    }

    pub(super) fn is_read(&self) -> bool {
        !matches!(self.standing, Standing::Unread { .. })
    }

    /// Whether it is verified, in words.
    pub(super) fn words(&self) -> String {
        match &self.standing {
            Standing::Verified { up_to, last, against, removed } => {
                let behind = match last.saturating_sub(*up_to) {
                    0 => String::new(),
                    1 => "; the last line is not vouched for yet".to_owned(),
                    more => format!("; the last {more} lines are not vouched for yet"),
                };
                let removed = removed.map(|removed| format!("; {removed}")).unwrap_or_default();
                format!(
                    "verified up to line {up_to} of {last}, against {}{behind}{removed}",
                    against.join(" and ")
                )
            }
            Standing::Wrong { wrong, against, .. } => {
                let all: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                format!("NOT AS IT WAS WRITTEN, by {}: {}", against.join(" and "), all.join("; "))
            }
            Standing::Unverified { why } => format!("not verified: {why}"),
            Standing::Unread { why } => format!("NOT READ: {why}"),
        }
    }
}

/// Whether to check a trail, and against what.
#[derive(Debug)]
pub(super) enum Check {
    Against {
        trusted: Vec<Trusted>,
        /// By which that beside the trail is checked, as often as it is read.
        key: VerifierKey,
    },
    /// It is not checked, for this reason.
    Not(String),
}

/// Reads a trail, and hands each line that may meet one of `ways` to `each`, with the number of that way.
///
/// A trail that is checked is read in one go, so that what is handed out is what was checked, whatever the indexes beside it say.
pub(super) fn read(
    path: &Path,
    check: Check,
    ways: &[Conditions],
    mut each: impl FnMut(usize, &[u8]),
) -> Trail {
    let first = first(path).ok().flatten();
    let (proxy, first_line, begins) = first.map_or((None, None, None), |line| {
        let number = line.value.get("seq").and_then(Value::as_u64);
        (Some(line.text("proxy").to_owned()), number, line.text("time").parse().ok())
    });
    let standing = match check {
        Check::Against { trusted, key } => checked(path, (&trusted, &key), ways, &mut each),
        Check::Not(why) => unchecked(path, why, ways, &mut each),
    };
    let standing = standing.unwrap_or_else(|error| Standing::Unread { why: error.to_string() });
    Trail { file: path.to_owned(), proxy, first_line, begins, standing }
}

/// The first line that says who wrote it: what stands before it is no line of a proxy, and hides nothing.
fn first(path: &Path) -> io::Result<Option<Line>> {
    for segment in segments::list(path)? {
        let mut lines = segment.open()?;
        while let Some(line) = lines.line()? {
            let line = Line::parse(String::from_utf8_lossy(line).into_owned());
            if let Some(line) = line.filter(|line| !line.text("proxy").is_empty()) {
                return Ok(Some(line));
            }
        }
    }
    Ok(None)
}

fn checked(
    path: &Path,
    (trusted, key): (&[Trusted], &VerifierKey),
    ways: &[Conditions],
    each: &mut impl FnMut(usize, &[u8]),
) -> io::Result<Standing> {
    let matchers: Vec<Matcher<'_>> = ways.iter().map(Matcher::new).collect();
    let load = || verify_command::anew(path, trusted, key).map_err(io::Error::other);
    let report = verify::whole_with(path, load, |line| {
        for (way, matcher) in matchers.iter().enumerate() {
            if matcher.may_fit(line) {
                each(way, line);
            }
        }
    });
    let hint = "--no-verify reports what can be read";
    let (report, trusted) =
        report.map_err(|error| io::Error::other(format!("{error}, to its end; {hint}")))?;
    let up_to = trusted.iter().map(|trusted| trusted.checkpoint.size).max().unwrap_or(0);
    let against = trusted.iter().map(|trusted| trusted.name.clone()).collect();
    let (last, removed) = (report.last, report.removed);
    Ok(match report.wrong {
        wrong if wrong.is_empty() => Standing::Verified { up_to, last, against, removed },
        wrong => Standing::Wrong { up_to, last, against, wrong },
    })
}

fn unchecked(
    path: &Path,
    why: String,
    ways: &[Conditions],
    each: &mut impl FnMut(usize, &[u8]),
) -> io::Result<Standing> {
    for (way, conditions) in ways.iter().enumerate() {
        let found = search::search(path, conditions, Order::Oldest, usize::MAX, |hit| {
            each(way, hit.raw.as_bytes());
            ControlFlow::Continue(())
        })?;
        if let Some((path, error)) = found.damaged.first() {
            let why = format!("`{}` cannot be read to its end: {error}", path.display());
            return Ok(Standing::Unread { why });
        }
    }
    Ok(Standing::Unverified { why })
}

/// What a trail is checked against: what the control plane keeps of it, checkpoints that were named, and the one beside it.
pub(super) fn check(
    path: &Path,
    (named, key): (&[PathBuf], Option<&Path>),
    heads: &BTreeMap<ProxyName, TrailHead>,
    connection: &Connection,
) -> Check {
    against(path, (named, key), heads, connection).unwrap_or_else(|error| Check::Not(error.to_string()))
}

fn against(
    path: &Path,
    (named, key): (&[PathBuf], Option<&Path>),
    heads: &BTreeMap<ProxyName, TrailHead>,
    connection: &Connection,
) -> Result<Check, VerifyError> {
    let store = Store::of(path);
    let writer = first(path).ok().flatten().and_then(|line| line.text("proxy").parse::<ProxyName>().ok());
    let head = writer.and_then(|proxy| heads.get_key_value(&proxy));
    let kept =
        head.map(|(proxy, head)| witness::opened(proxy.as_str(), &head.key, &head.note)).transpose()?;
    let (key, kept) = match kept {
        // Nobody at the proxy can replace this key.
        Some((key, kept)) => (key, Some(kept)),
        None => (verify_command::key(key, &store, connection)?, None),
    };
    let trusted = verify_command::trusted(path, named, &store, (&key, kept))?;
    Ok(Check::Against { trusted, key })
}
