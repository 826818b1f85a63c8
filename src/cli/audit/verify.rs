//! `jitgate audit verify`: whether a trail is the one that was written, offline.

use super::vouched::{Note, Vouched, Witnesses};
use super::{trail, witness};
use crate::audit::verify::{self, Gone, Report, Trusted};
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::output::{self, Output};
use crate::model::Time;
use crate::notary::Store;
use crate::tlog::{Checkpoint, ProofFile, VerifierKey};
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};

/// Check that no line of a trail was changed, removed, added or moved
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  jitgate audit verify\n  \
jitgate audit verify --proxy local\n  \
jitgate audit verify --file audit.jsonl --checkpoint kept.checkpoint --key edge-1.pub\n  \
jitgate audit verify --proof req_01k2abcdefghjkmnpqrstvwxyz.tlog-proof --key edge-1.pub\n  \
jitgate audit verify --key edge-1.pub --witness archive.pub --witness union.pub --witness-quorum 1\n\n\
A checkpoint and a key that were kept elsewhere are what makes it a proof: those beside the trail can be replaced together with it.\n\
See docs/audit-proof.md.")]
pub(in crate::cli) struct Verify {
    /// The trail [default: audit/audit.jsonl under --data, or where the running `up` writes it]; older files beside it are read, too
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A checkpoint that was kept elsewhere; may be given several times. That beside the trail is checked as well
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Check against what the control plane keeps of this proxy as well: its last checkpoint, and its key instead of any other
    #[arg(long, value_name = "NAME", conflicts_with = "proof")]
    proxy: Option<String>,
    /// Of --proxy: disputes up to this time were looked into, the trail was begun anew on purpose; a later one is a failure
    #[arg(long, value_name = "TIME", requires = "proxy")]
    accept_disputes_until: Option<Time>,
    /// The key that signed the checkpoints, as text or in a file [default: key.pub in the trail's .tlog folder]
    // In the place of the key of a certificate, as `audit show` has it.
    #[arg(long, value_name = "VKEY|FILE", env = "JITGATE_KEY", hide_env = true)]
    key: Option<PathBuf>,
    /// Only lines from this number on, each by its own proof
    #[arg(long, value_name = "SEQ", requires = "to", conflicts_with = "proof")]
    from: Option<u64>,
    /// Only lines up to this number
    #[arg(long, value_name = "SEQ", requires = "from")]
    to: Option<u64>,
    /// Fail also when the beginning is missing that retention removed, as a line of the trail says
    #[arg(long, conflicts_with = "proof")]
    nothing_removed: bool,
    /// Check this proof of one line instead of a trail
    #[arg(long, value_name = "FILE", conflicts_with = "checkpoint")]
    proof: Option<PathBuf>,
    #[command(flatten)]
    witnesses: Witnesses,
}

/// Why nothing is verified.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerifyError {
    #[error("`{}` cannot be read: {source}; name the trail with --file", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the key `{key}` cannot be used: {reason}")]
    Key { key: String, reason: String },
    #[error("the trail at `{}` has no checkpoint: it was written before there was a tree, or `.tlog` was removed; name one with --checkpoint", .0.display())]
    NoCheckpoint(PathBuf),
    #[error("the control plane keeps no checkpoint of a proxy `{0}`: `jitgate status` shows which there are")]
    NotKept(String),
    #[error("what the control plane keeps of proxy `{proxy}` cannot be used: {reason}")]
    Witness { proxy: String, reason: String },
    #[error("`{}` is refused: {reason}", path.display())]
    Refused { path: PathBuf, reason: String },
    #[error("`{}` does not hold the line that it proves", .0.display())]
    NoLine(PathBuf),
    #[error("`--from` is 1 or more and not behind `--to`")]
    Range,
    #[error("{0}")]
    Quorum(String),
    #[error(
        "fewer than {quorum} of {of} witnesses vouch for it: see what each lacks, give another `--witness`, or a smaller `--witness-quorum` if that is enough for you"
    )]
    NotVouched { quorum: usize, of: usize },
    #[error(
        "the witnesses vouch for {lines} lines, not for line {wanted}: wait until they do, or see why they do not (`jitgate_witness_failures_total`, the proxy's log)"
    )]
    NotCovered { lines: u64, wanted: u64 },
    #[error("the trail at `{}` is not as it was written", .0.display())]
    Wrong(PathBuf),
    #[error("lines 1 to {to} were removed by retention, and `--nothing-removed` asks for all")]
    Removed { to: u64 },
}

impl Verify {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let path = trail(self.file.clone(), connection);
        let store = Store::of(&path);
        let kept = self.proxy.as_deref().map(|proxy| witness::kept(proxy, connection)).transpose()?;
        let (key, kept, disputes) = match kept {
            Some(kept) => {
                let disputes = kept.disputes(self.accept_disputes_until).collect();
                (kept.key, Some(kept.trusted), disputes)
            }
            None => {
                (key(self.key.as_deref(), &store, connection).map_err(Failure::failed)?, None, Vec::new())
            }
        };
        if let Some(proof) = &self.proof {
            return prove(proof, &key, &self.witnesses, output);
        }
        let load = || {
            let known = trusted(&path, &self.checkpoint, &store, (&key, kept.clone()));
            let mut known = known.map_err(Failure::failed)?;
            let notes =
                if self.witnesses.are_demanded() { notes(&self.checkpoint, &store) } else { Vec::new() };
            let vouched = self.witnesses.look(&key, &notes)?;
            known.extend(vouched.trusted());
            Ok::<_, Failure>((known, vouched))
        };
        let mut vouched = load()?.1;
        let anew = || {
            let (known, seen) = load().map_err(|failure| io::Error::other(failure.text().to_owned()))?;
            vouched = seen;
            Ok(known)
        };
        let read = |source| Failure::failed(VerifyError::Read { path: path.clone(), source });
        let (mut report, trusted) = match (self.from, self.to) {
            (Some(from), Some(to)) if from == 0 || from > to => {
                return Err(Failure::usage(VerifyError::Range));
            }
            (Some(from), Some(to)) => verify::range_of(&path, anew, (from, to)).map_err(read)?,
            (_, _) => verify::whole_of(&path, anew).map_err(read)?,
        };
        report.wrong.splice(..0, disputes);
        let gone = report.removed.filter(|_| self.nothing_removed);
        let holds = vouched.holds(self.to);
        let verified = report.wrong.is_empty() && gone.is_none() && holds.is_ok();
        print(&path, &key, (&trusted, &vouched, verified), &report, output)?;
        if !report.wrong.is_empty() {
            return Err(Failure::failed(VerifyError::Wrong(path)));
        }
        match gone {
            Some(Gone { to, .. }) => Err(Failure::failed(VerifyError::Removed { to })),
            None => holds.map_err(Failure::failed),
        }
    }
}

/// Every note that witnesses may have cosigned: those that are named, and those beside the trail.
fn notes(named: &[PathBuf], store: &Store) -> Vec<Note> {
    let note = |path: &Path, text: io::Result<String>| Note { name: path.display().to_string(), text };
    let folder = store.witnessed_folder();
    let mut notes: Vec<_> = named.iter().map(|path| note(path, std::fs::read_to_string(path))).collect();
    match store.witnessed() {
        Ok(beside) => {
            notes.extend(beside.into_iter().map(|(name, text)| note(&folder.join(name.as_str()), text)));
        }
        Err(error) => notes.push(note(&folder, Err(error))),
    }
    notes
}

/// Every checkpoint: the one that is kept, those that are named, and the one beside the trail; the signatures of these are checked.
pub(super) fn trusted(
    trail: &Path,
    named: &[PathBuf],
    store: &Store,
    (key, kept): (&VerifierKey, Option<Trusted>),
) -> Result<Vec<Trusted>, VerifyError> {
    let mut files = named.to_vec();
    if store.checkpoint_path().exists() {
        files.push(store.checkpoint_path());
    }
    if files.is_empty() && kept.is_none() {
        return Err(VerifyError::NoCheckpoint(trail.to_owned()));
    }
    kept.into_iter().map(Ok).chain(files.iter().map(|path| open(path, key))).collect()
}

/// The same once more: that beside the trail may be a later one by now.
pub(super) fn anew(trail: &Path, known: &[Trusted], key: &VerifierKey) -> Result<Vec<Trusted>, VerifyError> {
    let beside = Store::of(trail).checkpoint_path();
    let name = called(&beside);
    let again = |known: &Trusted| if known.name == name { open(&beside, key) } else { Ok(known.clone()) };
    known.iter().map(again).collect()
}

fn open(path: &Path, key: &VerifierKey) -> Result<Trusted, VerifyError> {
    let checkpoint = Checkpoint::open(&read(path)?, key)
        .map_err(|error| VerifyError::Refused { path: path.to_owned(), reason: error.to_string() })?;
    Ok(Trusted { name: called(path), checkpoint })
}

fn called(path: &Path) -> String {
    format!("the checkpoint `{}`", path.display())
}

pub(super) fn read(path: &Path) -> Result<String, VerifyError> {
    std::fs::read_to_string(path).map_err(|source| VerifyError::Read { path: path.to_owned(), source })
}

/// The key that is named, by itself or by its file, or else that beside the trail.
pub(super) fn key(
    named: Option<&Path>,
    store: &Store,
    connection: &Connection,
) -> Result<VerifierKey, VerifyError> {
    let beside = store.key_path();
    let text = match named {
        Some(named) => match named.to_string_lossy().parse() {
            Ok(key) => return Ok(key),
            Err(_) => {
                let text = read(named)?;
                // The environment may name the key of a certificate for all verbs.
                let foreign = text.starts_with("-----BEGIN") && connection.has_certificate();
                if foreign { read(&beside)? } else { text }
            }
        },
        None => read(&beside)?,
    };
    text.trim().parse().map_err(|error: crate::tlog::NoteError| VerifyError::Key {
        key: named.unwrap_or(&beside).display().to_string(),
        reason: error.to_string(),
    })
}

fn print(
    path: &Path,
    key: &VerifierKey,
    (trusted, vouched, verified): (&[Trusted], &Vouched, bool),
    report: &Report,
    output: Output,
) -> Result<(), Failure> {
    let size = trusted.iter().map(|trusted| trusted.checkpoint.size).max().unwrap_or(0);
    // Of a range its end: more is not said of it.
    let (covered, behind) = (vouched.covered(), |covered: u64| report.last.saturating_sub(covered));
    match output {
        Output::Json => {
            let wrong = report.wrong.iter().map(|wrong| {
                let mut value = json!(wrong);
                if let Some(members) = value.as_object_mut() {
                    members.insert("detail".to_owned(), json!(wrong.to_string()));
                }
                value
            });
            output::json(&json!({
                "trail": path, "log": key.name(), "key": key.to_string(), "files": report.files, "lines": report.lines,
                "last": report.last, "removed": report.removed, "checkpoint": size, "verified": verified, "wrong": wrong.collect::<Vec<_>>(),
                "witnesses": vouched.json(), "vouched_lines": covered, "lines_behind_vouched": covered.map(behind),
            }))
        }
        Output::Table => {
            let mut fields = vec![
                ("trail", path.display().to_string()),
                ("log", key.short()),
                ("files", report.files.to_string()),
                ("lines", report.lines.to_string()),
                ("checkpoint", format!("vouches for {size} lines")),
                ("behind it", report.last.saturating_sub(size).to_string()),
            ];
            fields.extend(vouched.rows());
            if let Some(covered) = covered {
                fields.push(("vouched lines", covered.to_string()));
                fields.push(("behind them", behind(covered).to_string()));
            }
            fields.push(("verified", if verified { "yes" } else { "no" }.to_owned()));
            output::fields(fields)?;
            if let Some(removed) = report.removed {
                output::line(&removed.to_string())?;
            }
            for wrong in &report.wrong {
                output::line(&crate::cli::shown::escaped(&format!("wrong: {wrong}")))?;
            }
            Ok(())
        }
    }
}

/// Checks a proof of one line, which it carries.
fn prove(path: &Path, key: &VerifierKey, witnesses: &Witnesses, output: Output) -> Result<(), Failure> {
    let text = read(path).map_err(Failure::failed)?;
    let refused = |reason: String| Failure::failed(VerifyError::Refused { path: path.to_owned(), reason });
    let proof: ProofFile = text.parse().map_err(|error| refused(format!("{error}")))?;
    let line = proof.extra.as_deref().ok_or_else(|| Failure::failed(VerifyError::NoLine(path.to_owned())))?;
    let checkpoint = proof.check(line, key).map_err(|error| refused(error.to_string()))?;
    let line = String::from_utf8_lossy(line);
    let notes = [Note { name: path.display().to_string(), text: Ok(proof.checkpoint.clone()) }];
    let vouched = witnesses.look(key, &notes)?;
    let holds = vouched.holds(Some(proof.index + 1));
    let shown = match output {
        Output::Json => output::json(&json!({
            "log": key.name(), "line": proof.index + 1, "checkpoint": checkpoint.size, "verified": holds.is_ok(),
            "content": serde_json::from_str::<serde_json::Value>(&line).ok(), "witnesses": vouched.json(),
        })),
        Output::Table => {
            let mut fields = vec![
                ("log", key.short()),
                ("line", (proof.index + 1).to_string()),
                ("checkpoint", format!("vouches for {} lines", checkpoint.size)),
            ];
            fields.extend(vouched.rows());
            let verified = if holds.is_ok() { "yes" } else { "no" };
            fields.extend([("verified", verified.to_owned()), ("content", line.into_owned())]);
            output::fields(fields)
        }
    };
    shown?;
    holds.map_err(Failure::failed)
}
