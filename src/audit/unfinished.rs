//! Requests that were open when the process before this one ended: each is owed an `end` line, and gets it at the next start.
//!
//! How such a request ended nobody can say, so its line says `unknown`, and else what its `admit` line says. A request without one is
//! not known: it was `buffered`, and what was in memory is gone. Only lines are read here; writing them is the trail's.

use super::line;
use super::segments::{self, Segment};
use crate::model::Time;
use memchr::memmem;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

const ADMIT: &[u8] = b"\"kind\":\"admit\",";
const END: &[u8] = b"\"kind\":\"end\",";
const ID: &[u8] = b"\"request_id\":\"";
/// The number, the time and the kind stand at the beginning of a line.
const HEAD: usize = 96;

/// The lines that close what is open in the trail at `path`, numbered from `last` on, each with its newline; and how many. What was admitted
/// before line `floor` is closed.
pub(super) fn closing(path: &Path, floor: u64, last: u64, now: Time) -> io::Result<(Vec<u8>, u64)> {
    let mut open = Open::default();
    for segment in segments::list(path)? {
        if segment.last().is_some_and(|last| last < floor) {
            continue;
        }
        if let Err(error) = open.read(&segment) {
            // `jitgate audit verify` names the lines; the rest of the trail is no worse for it.
            tracing::error!(path = %segment.path().display(), %error,
                "a file of the audit trail cannot be read: requests that were open in it are not closed");
        }
    }
    let mut lines = Vec::new();
    let mut count = 0;
    for admit in open.admits.values() {
        if let Some(end) = line::unknown(admit, now) {
            count += 1;
            line::numbered(&mut lines, last + count, &end);
        }
    }
    Ok((lines, count))
}

/// What has an `admit` line and no `end` line.
#[derive(Debug, Default)]
struct Open {
    admits: BTreeMap<u64, Vec<u8>>,
    ids: HashMap<Vec<u8>, u64>,
}

impl Open {
    fn read(&mut self, segment: &Segment) -> io::Result<()> {
        let mut lines = segment.open()?;
        while let Some(line) = lines.line()? {
            self.line(line);
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) {
        let head = line.get(..HEAD).unwrap_or(line);
        let admit = memmem::find(head, ADMIT).is_some();
        if !admit && (self.ids.is_empty() || memmem::find(head, END).is_none()) {
            return;
        }
        let Some(id) = request_id(line) else { return };
        if !admit {
            if let Some(seq) = self.ids.remove(id) {
                self.admits.remove(&seq);
            }
        } else if let Some(seq) = segments::seq(line) {
            self.ids.insert(id.to_owned(), seq);
            self.admits.insert(seq, line.to_owned());
        }
    }
}

/// No text of a caller can hold these bytes: its quotation marks are escaped.
fn request_id(line: &[u8]) -> Option<&[u8]> {
    let rest = line.get(memmem::find(line, ID)? + ID.len()..)?;
    rest.get(..memchr::memchr(b'"', rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const NOW: Time = Time::from_micros(1_795_341_600_000_000);

    fn line(seq: u64, kind: &str, id: &str, path: &str) -> String {
        format!(
            "{{\"seq\":{seq},\"time\":\"2026-11-22T10:00:00.000000Z\",\"kind\":\"{kind}\",\"request_id\":\"{id}\",\"path\":\"{path}\",\
             \"decision\":\"permit\",\"end\":null,\"cause\":null,\"status\":null}}\n"
        )
    }

    fn closed(files: &[(&str, String)], floor: u64, last: u64) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let (lines, count) = closing(&folder.path().join("audit.jsonl"), floor, last, NOW).unwrap();
        let text = String::from_utf8(lines).unwrap();
        assert_eq!(text.lines().count() as u64, count);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn what_has_no_end_gets_one_with_what_is_known() {
        let hostile = r#"/x\",\"end\":null,\"cause\":null,\"kind\":\"admit\",\"request_id\":\"req_a"#;
        let text = [
            line(1, "admit", "req_a", "/a"),
            line(2, "admit", "req_b", hostile),
            line(3, "end", "req_a", "/a"),
            line(4, "end", "req_c", hostile),
            line(5, "admit", "req_d", "/d"),
        ];
        let ends = closed(&[("audit.jsonl", text.concat())], 0, 5);
        let said = |name: &str| ends.iter().map(|end| end[name].clone()).collect::<Vec<_>>();
        assert_eq!(said("seq"), [6, 7]);
        assert_eq!(said("request_id"), ["req_b", "req_d"]);
        assert_eq!(said("kind"), ["end", "end"]);
        assert_eq!(said("end"), ["unknown", "unknown"]);
        assert_eq!(said("time")[0], NOW.to_string());
        assert_eq!(said("decision"), ["permit", "permit"]);
        assert_eq!(ends[0]["path"], serde_json::from_str::<Value>(&format!("\"{hostile}\"")).unwrap());
    }

    #[test]
    fn older_files_are_read_as_far_as_something_may_be_open_in_them() {
        let old = [line(1, "admit", "req_a", "/"), line(2, "admit", "req_b", "/")].concat();
        let active = [line(3, "end", "req_b", "/"), line(4, "admit", "req_c", "/")].concat();
        let files = [("audit-20261122T100000Z-000000000002.jsonl", old), ("audit.jsonl", active)];
        let ids = |floor| {
            let ends = closed(&files, floor, 4);
            ends.iter().map(|end| end["request_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(0), ["req_a", "req_c"]);
        assert_eq!(ids(2), ["req_a", "req_c"]);
        assert_eq!(ids(3), ["req_c"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_nobody_from_starting() {
        let active = line(3, "admit", "req_c", "/");
        let files = [
            ("audit-20261122T100000Z-000000000002.jsonl.zst", "no zstd".to_owned()),
            ("audit.jsonl", active),
        ];
        assert_eq!(closed(&files, 0, 3).len(), 1);
    }
}
