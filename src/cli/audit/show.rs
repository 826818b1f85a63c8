//! `jitgate audit show`: the audit lines of one request, and what was recorded of it.
//!
//! Works offline, from files alone. What it opens is the file that the end line names, and only if it has the digest that the line
//! says.

use super::{Line, trail};
use crate::audit::age::{self, OpenError};
use crate::audit::search::{self, Conditions, Field, Order};
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::output::{self, Output};
use crate::cli::shown::escaped;
use crate::identity::keyfile::{self, Secrecy};
use crate::model::{AgeIdentity, RequestId};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::io;
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

/// Show the audit lines of one request, and with a key what was recorded of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  jitgate audit show req_01k2abcdefghjkmnpqrstvwxyz\n  \
jitgate audit show req_01k2abcdefghjkmnpqrstvwxyz --key jitgate-data/recording/key.txt\n\n\
The answer to a refused call says its request id, as does the header `x-request-id` that a service gets. What is recorded\n\
and how: docs/recording.md.")]
pub(in crate::cli) struct Show {
    /// Which
    request: RequestId,
    /// The private key that recordings are encrypted to (a file of age-keygen); without, only the lines are shown
    // In the place of the key of a certificate, which is of no use here; also in the environment, where `--cert` demands one.
    #[arg(long, value_name = "FILE", env = "JITGATE_KEY", hide_env = true)]
    key: Option<PathBuf>,
    /// The trail [default: audit/audit.jsonl under --data, or where the running `up` writes it]; older files beside it are read, too
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The folder of recordings [default: that of the running `up`, or `recordings` beside the trail]
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
}

/// Why a recording is not shown.
#[derive(Debug, thiserror::Error)]
enum ShowError {
    #[error("the trail at `{}` cannot be read: {source}; name it with --file", path.display())]
    Trail { path: PathBuf, source: io::Error },
    #[error("no line of `{request}` is in `{}` or in an older file beside it", path.display())]
    NoLine { request: RequestId, path: PathBuf },
    #[error("`{0}` was not recorded: its grant does not demand it, or it was refused")]
    NotRecorded(RequestId),
    #[error("the recording of `{0}` could not be written: its proxy was stopped while it tried")]
    Lost(RequestId),
    #[error(
        "there is no `end` line of `{0}` yet, so nothing says which recording is genuine: it still runs, or its proxy was killed"
    )]
    Unvouched(RequestId),
    #[error("the line names `{0}`, which is no file of a folder of recordings")]
    Name(String),
    #[error("the recording `{}` cannot be read: {source}; name the folder with --recordings", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("`{}` is not the recording that the audit line names: it has another digest, so it was changed or replaced", .0.display())]
    Digest(PathBuf),
    #[error("`{}` cannot be opened with this key", path.display())]
    Open { path: PathBuf, source: OpenError },
    #[error("`{}` holds no recording of `{request}`", path.display())]
    Content { path: PathBuf, request: RequestId },
    #[error("`{}` holds no private key of age", .0.display())]
    Key(PathBuf),
}

impl Show {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let path = trail(self.file.clone(), connection);
        let identities = self.key.as_deref().map(|key| identities(key, connection)).transpose()?.flatten();
        let lines = lines(&path, self.request)
            .map_err(|source| Failure::failed(ShowError::Trail { path: path.clone(), source }))?;
        if lines.is_empty() {
            return Err(Failure::failed(ShowError::NoLine { request: self.request, path }));
        }
        let folder = self.recordings.clone().unwrap_or_else(|| {
            let known = connection.local().filter(|_| self.file.is_none()).and_then(|state| state.recordings);
            known.unwrap_or_else(|| path.with_file_name("recordings"))
        });
        let recording = identities.map(|keys| self.open(&lines, &folder, &keys)).transpose();
        match (output, recording) {
            (Output::Json, recording) => {
                let lines: Vec<&Value> = lines.iter().map(|line| &line.value).collect();
                output::json(&json!({"lines": lines, "recording": recording.map_err(Failure::failed)?}))
            }
            (Output::Table, recording) => {
                for line in &lines {
                    output::fields(fields(line))?;
                    output::line("")?;
                }
                recording.map_err(Failure::failed)?.map_or(Ok(()), |recording| print(&recording))
            }
        }
    }

    /// The document, once the end line vouches for it.
    fn open(&self, lines: &[Line], folder: &Path, keys: &[AgeIdentity]) -> Result<Value, ShowError> {
        let end = lines.iter().find(|line| line.text("kind") == "end");
        let end = end.ok_or(ShowError::Unvouched(self.request))?;
        let name = end.value.get("recording").and_then(Value::as_str);
        let name = name.ok_or(ShowError::NotRecorded(self.request))?;
        let wanted = end.value.get("recording_sha256").and_then(Value::as_str);
        let wanted = wanted.ok_or(ShowError::Lost(self.request))?;
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(ShowError::Name(name.to_owned()));
        }
        let path = folder.join(name);
        let file = std::fs::read(&path).map_err(|source| ShowError::File { path: path.clone(), source })?;
        let found = digest(&SHA256, &file);
        if found.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>() != wanted {
            return Err(ShowError::Digest(path));
        }
        let plain =
            age::open(keys, &file).map_err(|source| ShowError::Open { path: path.clone(), source })?;
        let document: Option<Value> = serde_json::from_slice(&plain).ok();
        let of = |document: &Value| document["request_id"] == self.request.to_string();
        document.filter(of).ok_or(ShowError::Content { path, request: self.request })
    }
}

/// The keys of a file. `None` for the key of a certificate: the environment may name one for all verbs.
fn identities(path: &Path, connection: &Connection) -> Result<Option<Vec<AgeIdentity>>, Failure> {
    let text = keyfile::read(path, Secrecy::Private).map_err(Failure::usage)?;
    match crate::model::age::identities(&String::from_utf8_lossy(&text)) {
        Ok(keys) => Ok(Some(keys)),
        Err(_) if text.starts_with(b"-----BEGIN") && connection.has_certificate() => Ok(None),
        Err(_) => Err(Failure::usage(ShowError::Key(path.to_owned()))),
    }
}

/// The lines of a request, oldest first.
pub(super) fn lines(trail: &Path, request: RequestId) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let wanted = Conditions::default().with(Field::RequestId, request.to_string());
    let found = search::search(trail, &wanted, Order::Oldest, usize::MAX, |hit| {
        lines.push(Line::from(hit));
        ControlFlow::Continue(())
    })?;
    // What is missing may be the line that matters.
    found.damaged.into_iter().next().map_or(Ok(lines), |(_, error)| Err(error))
}

fn fields(line: &Line) -> Vec<(&str, String)> {
    let members = line.value.as_object().into_iter().flatten();
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    members.map(|(name, value)| (name.as_str(), text(value))).collect()
}

/// For people: whatever callers sent cannot act on the terminal.
fn print(recording: &Value) -> Result<(), Failure> {
    output::line(&format!("recorded ({})", recording["level"].as_str().unwrap_or_default()))?;
    for part in ["query", "arguments", "inputs", "request", "response"] {
        let body = &recording[part];
        if body.is_null() {
            continue;
        }
        output::line(&format!("\n{part}: {}", about(body)))?;
        let content = body["text"].as_str().or_else(|| body["base64"].as_str()).unwrap_or_default();
        for line in content.lines() {
            output::line(&format!("  {}", escaped(line)))?;
        }
    }
    Ok(())
}

fn about(body: &Value) -> String {
    let mut about = format!("{} bytes", body["length"]);
    match body["recorded"].as_str() {
        Some("text") if body["redacted"] == 0 => {}
        Some("text") => about.push_str(&format!(", {} redacted", body["redacted"])),
        Some("raw") => about.push_str(", not redacted, base64"),
        Some(_) | None => about.push_str(&format!(
            ", cannot be redacted, so only a digest of {} bytes: {}",
            body["digested"],
            body["sha256"].as_str().unwrap_or_default()
        )),
    }
    if body["truncated"] == true {
        about.push_str(", truncated");
    }
    about
}
