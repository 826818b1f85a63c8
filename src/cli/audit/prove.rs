//! `jitgate audit prove`: the proof that a request's line is in the log, for somebody who has neither the trail nor trust in us.

use super::show::lines;
use super::trail;
use super::verify::{VerifyError, key, read};
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::output;
use crate::identity::keyfile::{self, Existing, Secrecy};
use crate::model::RequestId;
use crate::notary::Store;
use crate::tlog::{Checkpoint, ProofFile, TileHashes, VerifierKey, proof};
use std::path::PathBuf;

/// A proxy that runs may replace tiles while they are read.
const TRIES: usize = 3;

/// Write a proof that the line of a request is in the log
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  jitgate audit prove req_01k2abcdefghjkmnpqrstvwxyz --out incident.tlog-proof\n\n\
The proof (c2sp.org/tlog-proof) carries the line, its path to the root and a checkpoint, with the cosignatures of external witnesses where\n\
they vouch for it; `jitgate audit verify --proof` checks it."
)]
pub(in crate::cli) struct Prove {
    /// Which; of several lines the last one is proved, which says how it ended
    request: RequestId,
    /// The trail [default: audit/audit.jsonl under --data, or where the running `up` writes it]; older files beside it are read, too
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where to; an existing file is replaced [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum ProveError {
    #[error("no line of `{0}` is in the trail")]
    NoLine(RequestId),
    #[error("no checkpoint vouches for line {0} yet: try again in a second, or start the proxy")]
    NotYet(u64),
    #[error("line {0} cannot be proved: run `jitgate audit verify`, which says what is wrong")]
    Unproved(u64),
}

impl Prove {
    pub(super) fn run(self, connection: &Connection) -> Result<(), Failure> {
        let path = trail(self.file, connection);
        let store = Store::of(&path);
        let key = key(None, &store, connection).map_err(Failure::failed)?;
        let found = lines(&path, self.request)
            .map_err(|source| Failure::failed(VerifyError::Read { path: path.clone(), source }))?;
        let last = found.last().ok_or_else(|| Failure::failed(ProveError::NoLine(self.request)))?;
        let seq = last.value.get("seq").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let index = seq.checked_sub(1).ok_or_else(|| Failure::failed(ProveError::Unproved(seq)))?;
        let mut made = Err(Failure::failed(ProveError::Unproved(seq)));
        for _ in 0..TRIES {
            made = make(&store, &key, index, last.raw.as_bytes());
            if made.is_ok() {
                break;
            }
        }
        let text = made?.to_string();
        match &self.out {
            Some(out) => keyfile::write(out, text.as_bytes(), Secrecy::Public, Existing::Replace)
                .map_err(Failure::failed),
            None => output::line(text.trim_end()),
        }
    }
}

fn make(store: &Store, key: &VerifierKey, index: u64, line: &[u8]) -> Result<ProofFile, Failure> {
    for note in witnessed(store, key, index) {
        let made = from(store, key, note, index, line);
        if made.is_ok() {
            return made;
        }
    }
    from(store, key, read(&store.checkpoint_path()).map_err(Failure::failed)?, index, line)
}

/// The checkpoints over the line that external witnesses vouch for, those with most cosignatures first.
fn witnessed(store: &Store, key: &VerifierKey, index: u64) -> Vec<String> {
    let covers = |note: &String| Checkpoint::open(note, key).is_ok_and(|known| known.size > index);
    let notes = store.witnessed().unwrap_or_default().into_values().flatten();
    let mut notes: Vec<String> = notes.filter(covers).collect();
    notes.sort_by_key(|note| std::cmp::Reverse(note.lines().count()));
    notes
}

fn from(
    store: &Store,
    key: &VerifierKey,
    note: String,
    index: u64,
    line: &[u8],
) -> Result<ProofFile, Failure> {
    let refused =
        |reason: String| Failure::failed(VerifyError::Refused { path: store.checkpoint_path(), reason });
    let size = Checkpoint::open(&note, key).map_err(|error| refused(error.to_string()))?.size;
    if index >= size {
        return Err(Failure::failed(ProveError::NotYet(index + 1)));
    }
    let unproved = || Failure::failed(ProveError::Unproved(index + 1));
    let path = proof::inclusion(&TileHashes::new(store, size), index, size).map_err(|_| unproved())?;
    let path = path.ok_or_else(unproved)?;
    let file = ProofFile { extra: Some(line.to_vec()), index, path, checkpoint: note };
    file.check(line, key).map_err(|_| unproved())?;
    Ok(file)
}
