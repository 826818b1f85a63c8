//! RFC 5424 messages, framed by their length (RFC 5425). The message is the entry itself; what one filters by is structured data.

use super::otlp::Whose;
use super::record::Record;
use crate::model::shown;
use std::fmt::Write as _;

/// Facility 13, log audit.
const FACILITY: u8 = 13;
const INFORMATIONAL: u8 = 6;
const WARNING: u8 = 4;
/// 32473 is the enterprise number that RFC 5612 sets aside; an element must have one.
const ELEMENT: &str = "jitgate@32473";
/// Longest entry in a message: events of the event log can be about a thousand grants, and no daemon takes what is longer.
const LONGEST: usize = 256 << 10;
const CUT: &str = "…[truncated]";
/// `sequenceId` begins anew after this.
const LAST_SEQUENCE: u64 = 2_147_483_647;
/// What becomes structured data, of whatever log.
const NAMES: [&str; 15] = [
    "request_id",
    "principal",
    "actor",
    "source",
    "service",
    "tool",
    "grant",
    "task",
    "decision",
    "reason",
    "end",
    "status",
    "request",
    "revocation",
    "proxy",
];

/// These records as a stream of frames.
pub(super) fn frames(records: &[Record], whose: &Whose) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        let message = message(record, whose);
        out.extend_from_slice(message.len().to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(message.as_bytes());
    }
    out
}

/// Whether the entry is longer than what a message holds of it.
pub(super) fn is_cut(record: &Record) -> bool {
    record.text.len() > LONGEST
}

fn message(record: &Record, whose: &Whose) -> String {
    let severity = if record.notable { WARNING } else { INFORMATIONAL };
    let mut out = String::with_capacity(record.text.len() + 512);
    let (priority, host, kind) = (FACILITY * 8 + severity, word(&whose.host, 255), word(&record.kind, 32));
    let _ = write!(out, "<{priority}>1 {} {host} jitgate - {kind} ", record.time);
    let sequence = record.seq.saturating_sub(1) % LAST_SEQUENCE + 1;
    let _ = write!(out, "[meta sequenceId=\"{sequence}\"][{ELEMENT} seq=\"{}\" log=\"", record.seq);
    escaped(&mut out, &whose.origin);
    out.push('"');
    for (name, value) in record.fields.iter().filter(|(name, _)| NAMES.contains(&name.as_str())) {
        let _ = write!(out, " {name}=\"");
        match value.as_str() {
            Some(text) => escaped(&mut out, text),
            None => escaped(&mut out, &value.to_string()),
        }
        out.push('"');
    }
    out.push_str("] ");
    if is_cut(record) {
        out.push_str(record.text.get(..record.text.floor_char_boundary(LONGEST)).unwrap_or_default());
        out.push_str(CUT);
    } else {
        out.push_str(&record.text);
    }
    out
}

/// `PARAM-VALUE`.
fn escaped(out: &mut String, text: &str) {
    // Nothing that ends a line for a receiver that reads lines, or that a terminal acts on.
    for character in shown::escaped(text).chars() {
        if matches!(character, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(character);
    }
}

/// A header field: visible ASCII, `-` if there is none.
fn word(text: &str, longest: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_is_framed_by_its_length_and_nothing_in_it_ends_its_data() {
        let record = Record {
            seq: 2_147_483_650,
            time: "2026-11-22T10:00:00.000001Z".parse().unwrap(),
            kind: "end".to_owned(),
            notable: true,
            trace_id: None,
            text: "{\"seq\":7}".to_owned(),
            fields: vec![
                ("task".to_owned(), json!("a\"b]c\\d\ne")),
                ("status".to_owned(), json!(403)),
                ("path".to_owned(), json!("/not/here")),
            ],
            ocsf: Vec::new(),
        };
        let body = "<108>1 2026-11-22T10:00:00.000001Z edge-1 jitgate - end [meta sequenceId=\"3\"][jitgate@32473 \
            seq=\"2147483650\" log=\"d/audit\" task=\"a\\\"b\\]c\\\\d\\\\u{a}e\" status=\"403\"] {\"seq\":7}";
        let whose = Whose { origin: "d/audit".to_owned(), host: "edge-1".to_owned() };
        let frames = frames(&[record.clone(), record], &whose);
        let one = format!("{} {body}", body.len());
        assert_eq!(String::from_utf8(frames).unwrap(), format!("{one}{one}"));
    }

    #[test]
    fn what_is_too_long_ends_with_a_mark_and_is_told_of() {
        let record = |length: usize| Record {
            seq: 7,
            time: "2026-11-22T10:00:00.000001Z".parse().unwrap(),
            kind: "grants_issued".to_owned(),
            notable: false,
            trace_id: None,
            text: "é".repeat(length / 2) + &"x".repeat(length % 2),
            fields: Vec::new(),
            ocsf: Vec::new(),
        };
        let whose = Whose { origin: "d/events".to_owned(), host: "control".to_owned() };
        let whole = record(LONGEST);
        assert!(!is_cut(&whole) && message(&whole, &whose).ends_with(&whole.text));
        for longer in [record(LONGEST + 1), record(LONGEST + 2)] {
            let message = message(&longer, &whose);
            assert!(is_cut(&longer) && message.ends_with(CUT), "{}", message.len());
        }
    }
}
