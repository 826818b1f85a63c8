//! What a trail says of its own beginning, when that was removed: a `summary` line with a member `removed`.
//!
//! Such a line is written, and vouched for by a checkpoint, before the first file goes. So whoever finds that the first lines are missing
//! can tell a removal that the proxy was told to do from one that somebody else did. Each such line speaks for the whole beginning,
//! from line 1 on: the newest one is enough, those before it may be removed themselves.

use super::segments::{self, Segment};
use memchr::memmem;
use serde::{Deserialize, Serialize};
use std::io;

/// Why lines were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// They were older than `keep`.
    Keep,
    /// Some were younger, but the trail had all the space that it may take.
    MaxTotalBytes,
}

impl Policy {
    /// The name in a line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::MaxTotalBytes => "max_total_bytes",
        }
    }
}

/// The lines that a trail does not have any more, because its proxy removed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The first: 1.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// How many files went this time.
    pub files: u64,
    /// Why they went this time.
    pub policy: Policy,
    /// The last line that ever went before `keep` had passed; 0: none did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub early_to: u64,
}

impl Removed {
    /// The last line that ever went before `keep` had passed; 0: none did. A line of a version that did not say so may speak of all.
    pub(super) fn early(&self) -> u64 {
        match self.policy {
            Policy::MaxTotalBytes if self.early_to == 0 => self.to,
            Policy::Keep | Policy::MaxTotalBytes => self.early_to,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A removal, and the line that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// The number of that line.
    pub line: u64,
    /// What it says.
    #[serde(flatten)]
    pub removed: Removed,
}

const KIND: &[u8] = b"\"kind\":\"summary\",";
const MEMBER: &[u8] = b",\"removed\":{";
/// The number, the time and the kind stand at the beginning of a line.
const HEAD: usize = 96;

#[derive(Deserialize)]
struct Line {
    seq: u64,
    kind: String,
    removed: Removed,
}

/// What a line says of a removal; `None` for all other lines. It is not asked whether the line is proved.
#[must_use]
pub fn of_line(line: &[u8]) -> Option<Recorded> {
    memmem::find(line.get(..HEAD).unwrap_or(line), KIND)?;
    memmem::rfind(line, MEMBER)?;
    let Line { seq, kind, removed } = serde_json::from_slice(line).ok()?;
    let speaks = kind == "summary" && removed.from == 1 && (1..seq).contains(&removed.to);
    speaks.then_some(Recorded { line: seq, removed })
}

/// The newest line of these files that speaks for the lines up to `missing`, for which `proves` is true.
///
/// # Errors
/// When a file cannot be read, or it was stopped.
pub(super) fn covering(
    files: &[Segment],
    missing: u64,
    mut proves: impl FnMut(u64, &[u8]) -> bool,
    stopped: &impl Fn() -> bool,
) -> io::Result<Option<Recorded>> {
    let mut read = 0_u64;
    // It is in one of the newest, as a rule.
    for file in files.iter().rev() {
        let mut found = None;
        let mut lines = file.open()?;
        while let Some(line) = lines.line()? {
            read += 1;
            if read.is_multiple_of(1024) && stopped() {
                return Err(io::Error::other("it was stopped"));
            }
            let said = of_line(line).filter(|said| said.removed.to >= missing);
            if let Some(said) = said.filter(|said| proves(said.line, line)) {
                found = Some(said);
            }
        }
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The number before the first line of these files; 0 where nothing is missing, and where there is no line.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn missing(files: &[Segment]) -> io::Result<u64> {
    for file in files {
        let mut lines = file.open()?;
        while let Some(line) = lines.line()? {
            if let Some(seq) = segments::seq(line) {
                return Ok(seq.saturating_sub(1));
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, kind: &str, removed: &str) -> Vec<u8> {
        format!("{{\"seq\":{seq},\"time\":\"2026-11-22T10:00:00.000000Z\",\"kind\":\"{kind}\",\"path\":null,\"removed\":{removed}}}")
            .into_bytes()
    }

    #[test]
    fn only_a_summary_line_behind_what_it_speaks_of_speaks() {
        let good = "{\"from\":1,\"to\":40,\"files\":2,\"policy\":\"keep\"}";
        let said = of_line(&line(41, "summary", good)).unwrap();
        assert_eq!((said.line, said.removed.to, said.removed.files), (41, 40, 2));
        assert_eq!(said.removed.policy, Policy::Keep);
        for (seq, kind, removed) in [
            (40, "summary", good),
            (41, "end", good),
            (41, "summary", "{\"from\":2,\"to\":40,\"files\":2,\"policy\":\"keep\"}"),
            (41, "summary", "{\"from\":1,\"to\":0,\"files\":2,\"policy\":\"keep\"}"),
            (41, "summary", "{\"from\":1,\"to\":40,\"files\":2,\"policy\":\"because\"}"),
            (41, "summary", "null"),
        ] {
            assert_eq!(of_line(&line(seq, kind, removed)), None, "{seq} {kind} {removed}");
        }
        // A caller cannot say it: what it sends is escaped.
        let said = r#"{"seq":41,"time":"2026-11-22T10:00:00.000000Z","kind":"end","path":"/,\"removed\":{\"from\":1}"}"#;
        assert_eq!(of_line(said.as_bytes()), None);
    }
}
