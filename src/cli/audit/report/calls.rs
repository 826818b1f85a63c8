//! What was done: the lines of a trail that a report is about, counted and listed.
//!
//! Pure. Whatever is above the limit is counted and not listed. An `admit` line is listed only while no `end` line has come. Of what is
//! behind the time that is asked for, only the ends of calls that began in it count.

use crate::cli::audit::Line;
use crate::model::Time;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// Different kinds of calls that are counted apart.
const KINDS: usize = 1_000;
/// Calls without an end that are told apart beyond those that are listed.
const UNLISTED: usize = 100_000;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Calls {
    limit: usize,
    /// Lines from then on are not asked for.
    until: Option<Time>,
    listed: Vec<Line>,
    /// Have ended, and are not listed.
    left_out: u64,
    /// Admitted and not ended, by request id.
    running: BTreeMap<String, Line>,
    /// The same, above the limit.
    unlisted: BTreeSet<String>,
    pub(super) totals: Totals,
    kinds: BTreeMap<[String; 4], Totals>,
}

/// How many, and how much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub(super) permitted: u64,
    pub(super) denied: u64,
    /// Of those permitted: not allowed to go on to their end.
    pub(super) cut: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Totals {
    fn add(&mut self, line: &Line) {
        match line.text("decision") {
            "permit" => self.permitted += 1,
            "deny" => self.denied += 1,
            // The client was gone before a decision.
            _ => {}
        }
        self.cut += u64::from(line.text("end") == "cut");
        let bytes = |name: &str| line.value.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
        self.bytes_in = self.bytes_in.saturating_add(bytes("bytes_in"));
        self.bytes_out = self.bytes_out.saturating_add(bytes("bytes_out"));
    }
}

impl Calls {
    /// That lists so many at most.
    pub(super) fn at_most(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// That go on up to a time.
    pub(super) fn until(self, until: Option<Time>) -> Self {
        Self { until, ..self }
    }

    /// Fit, and are not listed.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.saturating_add(self.unlisted.len() as u64)
    }

    /// The next line of a trail.
    pub(super) fn take(&mut self, line: Line) {
        let id = line.text("request_id").to_owned();
        let time = || line.text("time").parse::<Time>().ok();
        let is_late = self.until.is_some_and(|until| time().is_none_or(|time| time >= until));
        let is_end = line.text("kind") == "end";
        let began = is_end && (self.running.remove(&id).is_some() || self.unlisted.remove(&id));
        if is_late && !began {
            return;
        }
        match line.text("kind") {
            "admit" => {
                if self.running.len() < self.limit {
                    self.running.insert(id, line);
                } else if self.unlisted.len() < UNLISTED {
                    self.unlisted.insert(id);
                } else {
                    self.left_out += 1;
                }
                return;
            }
            "end" => {
                self.totals.add(&line);
                let kind = [line.text("service"), &line.what(), line.text("decision"), &line.why()];
                let kind = kind.map(str::to_owned);
                if self.kinds.len() < KINDS || self.kinds.contains_key(&kind) {
                    self.kinds.entry(kind).or_default().add(&line);
                } else {
                    let others = ["(others)", "", "", ""].map(str::to_owned);
                    self.kinds.entry(others).or_default().add(&line);
                }
            }
            // Refused handshakes, and lines that were not written.
            _ => {}
        }
        if self.listed.len() < self.limit {
            self.listed.push(line);
        } else {
            self.left_out += 1;
        }
    }

    /// Everything that is listed, in the order of time; of several trails mixed.
    pub(super) fn lines(&self) -> Vec<&Line> {
        let mut all: Vec<&Line> = self.listed.iter().chain(self.running.values()).collect();
        // RFC 3339 of one length, in UTC.
        all.sort_by(|a, b| a.text("time").cmp(b.text("time")));
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.running.is_empty()
    }

    /// Service, call, decision, why, how many, bytes in and out.
    pub(super) fn kinds(&self) -> impl Iterator<Item = [String; 7]> {
        self.kinds.iter().map(|([service, what, decision, why], totals)| {
            let count = (totals.permitted + totals.denied).to_string();
            let parts = [service, what, decision, why].map(Clone::clone);
            let [service, what, decision, why] = parts;
            [service, what, decision, why, count, totals.bytes_in.to_string(), totals.bytes_out.to_string()]
        })
    }
}

impl Serialize for Calls {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            #[serde(flatten)]
            totals: Totals,
            still_running: usize,
            left_out: u64,
            lines: Vec<Box<RawValue>>,
        }
        let lines = self.lines();
        let lines = lines.iter().filter_map(|line| RawValue::from_string(line.raw.clone()).ok()).collect();
        let (totals, left_out) = (self.totals, self.left_out());
        let still_running = self.running.len() + self.unlisted.len();
        Shown { totals, still_running, left_out, lines }.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(seq: u64, kind: &str, id: &str, more: serde_json::Value) -> Line {
        let mut line = json!({"seq": seq, "time": format!("2026-11-22T10:00:{seq:02}.000000Z"), "kind": kind,
            "request_id": id, "service": "orders", "method": "GET", "path": "/v1", "decision": "permit", "end": "complete", "bytes_out": 5});
        for (name, value) in more.as_object().unwrap() {
            line[name] = value.clone();
        }
        Line::parse(line.to_string()).unwrap()
    }

    fn ids(calls: &Calls) -> Vec<String> {
        calls.lines().iter().map(|line| line.text("request_id").to_owned()).collect()
    }

    #[test]
    fn calls_are_counted_and_what_still_runs_is_listed() {
        let mut calls = Calls::at_most(3);
        calls.take(line(1, "admit", "a", json!({"end": null})));
        calls.take(line(2, "admit", "b", json!({"end": null})));
        calls.take(line(4, "end", "a", json!({"end": "cut", "cause": "revoked"})));
        calls.take(line(3, "end", "c", json!({"decision": "deny", "reason": "revoked", "bytes_out": 0})));
        assert_eq!(ids(&calls), ["b", "c", "a"], "in order of time; `a` once, `b` has no end");
        let totals = Totals { permitted: 1, denied: 1, cut: 1, bytes_in: 0, bytes_out: 5 };
        assert_eq!(calls.totals, totals);
        calls.take(line(5, "end", "d", json!({})));
        calls.take(line(6, "end", "e", json!({})));
        assert_eq!((calls.totals.permitted, calls.left_out()), (3, 1));
        let kinds: Vec<_> = calls
            .kinds()
            .map(|[_, what, decision, why, count, ..]| [what, decision, why, count].join(" "))
            .collect();
        assert_eq!(kinds, ["GET deny revoked 1", "GET permit complete 2", "GET permit cut: revoked 1"]);
        let shown = serde_json::to_value(&calls).unwrap();
        assert_eq!(
            (&shown["still_running"], &shown["left_out"], &shown["lines"][0]["request_id"]),
            (&json!(1), &json!(1), &json!("b"))
        );
    }

    #[test]
    fn a_call_that_began_in_time_has_its_end_though_that_came_later() {
        let mut calls = Calls::at_most(9).until(Some("2026-11-22T10:00:03Z".parse().unwrap()));
        calls.take(line(1, "admit", "a", json!({"end": null})));
        calls.take(line(2, "admit", "b", json!({"end": null})));
        calls.take(line(3, "end", "c", json!({})));
        calls.take(line(4, "admit", "d", json!({"end": null})));
        calls.take(line(5, "handshake", "", json!({})));
        calls.take(line(6, "end", "d", json!({})));
        calls.take(line(7, "end", "a", json!({"end": "cut", "cause": "revoked"})));
        assert_eq!(ids(&calls), ["b", "a"]);
        assert_eq!((calls.totals.permitted, calls.totals.cut, calls.left_out()), (1, 1, 0));
        assert_eq!(serde_json::to_value(&calls).unwrap()["still_running"], 1);
    }

    #[test]
    fn calls_without_an_end_above_the_limit_are_counted_until_they_have_one() {
        let mut calls = Calls::at_most(1);
        for (seq, id) in [(1, "a"), (2, "b"), (3, "c")] {
            calls.take(line(seq, "admit", id, json!({"end": null})));
        }
        assert_eq!((ids(&calls), calls.left_out()), (vec!["a".to_owned()], 2));
        assert_eq!(serde_json::to_value(&calls).unwrap()["still_running"], 3);
        calls.take(line(4, "end", "b", json!({})));
        assert_eq!((ids(&calls).len(), calls.left_out()), (2, 1), "`b` has ended, `c` is left out");
        calls.take(line(5, "end", "c", json!({})));
        assert_eq!((ids(&calls).len(), calls.left_out()), (2, 1), "it ended, and is left out all the same");
    }
}
