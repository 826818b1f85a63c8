//! Waiting for a decision: long polls that outlive a restart of the control plane, and a line that says for whom.

use crate::cli::Failure;
use crate::cli::client::{Client, query};
use crate::cli::grants::text;
use crate::cli::requests::whom;
use crate::cli::shown::escaped;
use crate::runtime::clock::Mono;
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// One long poll. Short enough that a change of who is waited for shows soon.
const STEP: Duration = Duration::from_secs(15);
/// How long a control plane may be away before waiting for it makes no sense.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries while it is away.
const AGAIN: Duration = Duration::from_millis(500);

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Outcome {
    /// Nobody has decided.
    Pending,
    /// There is a grant.
    Granted,
    /// Denied, expired, withdrawn, or something that this version does not know.
    Refused,
}

impl Outcome {
    /// Of a request as the API shows it. What is not surely granted or pending is refused.
    pub(in crate::cli) fn of(request: &Value) -> Self {
        let has_grant = request.get("grant").is_some_and(Value::is_string);
        match text(request, "state").as_str() {
            "pending" => Self::Pending,
            "approved" if has_grant => Self::Granted,
            _ => Self::Refused,
        }
    }
}

/// The request when somebody has decided, or as it stands when the time is over.
pub(in crate::cli) async fn decided(
    client: &mut Client,
    mut request: Value,
    until: Option<Mono>,
    progress: &mut Progress,
) -> Result<Value, Failure> {
    let path = format!("/v1/requests/{}", text(&request, "id"));
    let mut silent_since: Option<Mono> = None;
    client.set_patience(STEP.saturating_mul(2));
    while Outcome::of(&request) == Outcome::Pending {
        let now = Mono::now();
        let left = until.map_or(STEP, |until| until.since(now));
        if left.is_zero() {
            break;
        }
        progress.show(&waiting_for(&request));
        let wait = format!("{}ms", left.min(STEP).as_millis().max(1));
        match client.get(&query(&path, [("wait", Some(wait))])).await {
            Ok(answer) => (request, silent_since) = (answer, None),
            Err(error) if error.is_passing() => {
                let since = *silent_since.get_or_insert(now);
                if Mono::now().since(since) > PATIENCE {
                    progress.end();
                    return Err(error.into());
                }
                progress.show("the control plane does not answer; trying again");
                tokio::time::sleep(AGAIN.min(left)).await;
            }
            Err(error) => {
                progress.end();
                return Err(error.into());
            }
        }
    }
    progress.end();
    Ok(request)
}

/// For whom a pending request waits, on one line.
fn waiting_for(request: &Value) -> String {
    let stages = request.get("waiting_for").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let count = |stage: &Value, key: &str| stage.get(key).and_then(Value::as_u64).unwrap_or_default();
    let stage = |stage: &Value| {
        let (have, want) = (count(stage, "approved"), count(stage, "approvals"));
        format!("{} ({have} of {want})", whom(stage))
    };
    let stages: Vec<String> = stages.iter().map(stage).collect();
    let whom = if stages.is_empty() { "a decision".to_owned() } else { stages.join(", then ") };
    format!("{} waits for {whom}, until {}", text(request, "id"), text(request, "expires_at"))
}

/// A line on standard error that is replaced where a terminal can do that, and printed when it changes elsewhere.
#[derive(Debug)]
pub(in crate::cli) struct Progress {
    last: String,
    terminal: bool,
}

impl Progress {
    /// Shows nothing yet.
    pub(in crate::cli) fn new() -> Self {
        Self { last: String::new(), terminal: std::io::stderr().is_terminal() }
    }

    /// Shows this in place of what was shown before.
    pub(in crate::cli) fn show(&mut self, text: &str) {
        if self.last == text {
            return;
        }
        text.clone_into(&mut self.last);
        let text = escaped(text);
        let text = if self.terminal { within(&text, columns()) } else { text };
        let mut out = std::io::stderr().lock();
        // Nobody reads it: nothing is lost.
        let _ = if self.terminal { write!(out, "\r\u{1b}[K{text}") } else { writeln!(out, "{text}") };
        let _ = out.flush();
    }

    /// Takes the line away.
    pub(in crate::cli) fn end(&mut self) {
        if self.terminal && !self.last.is_empty() {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\u{1b}[K");
            let _ = out.flush();
        }
        self.last.clear();
    }
}

/// How wide the terminal is; a line that wraps could not be replaced.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.map(|size| usize::from(size.ws_col)).ok().filter(|width| *width > 0).unwrap_or(80)
}

/// The beginning of a text, as far as it fits.
fn within(text: &str, width: usize) -> String {
    if text.chars().count() < width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(2)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_line_says_for_whom() {
        let request = json!({
            "id": "rq_1", "state": "pending", "expires_at": "T",
            "waiting_for": [
                {"stage": 0, "approvals": 2, "approved": 1, "from": ["owner", "role:approver"]},
                {"stage": 1, "approvals": 1, "approved": 0, "from": ["group:risk"]},
            ],
        });
        assert_eq!(
            waiting_for(&request),
            "rq_1 waits for owner or role:approver (1 of 2), then group:risk (0 of 1), until T"
        );
        assert_eq!(
            waiting_for(&json!({"id": "rq_1", "expires_at": "T"})),
            "rq_1 waits for a decision, until T"
        );
    }

    #[test]
    fn a_line_fits_the_terminal() {
        assert_eq!((within("abc", 4), within("abcd", 4)), ("abc".to_owned(), "ab…".to_owned()));
        assert_eq!(within("abcd", 0), "…");
    }

    #[test]
    fn only_a_grant_is_granted() {
        let of = |state: &str, grant: Value| Outcome::of(&json!({"state": state, "grant": grant}));
        assert_eq!(of("approved", json!("gr_1")), Outcome::Granted);
        assert_eq!(of("pending", Value::Null), Outcome::Pending);
        for (state, grant) in [
            ("approved", Value::Null),
            ("denied", Value::Null),
            ("expired", Value::Null),
            ("cancelled", json!("gr_1")),
            ("blessed", json!("gr_1")),
            ("", json!("gr_1")),
        ] {
            assert_eq!(of(state, grant), Outcome::Refused, "{state}");
        }
    }
}
