//! Finding lines in a trail: which conditions a line meets, and how few lines are looked at to tell.
//!
//! Three sieves, each of which may only let through too much: the index of a segment says that it cannot hold a line that fits; a
//! search on raw bytes skips the lines that lack a value's longest plain part, which the writer leaves as it is in every line; what is
//! left is parsed, and every condition is checked exactly. Order: newest first with a limit, in memory for no more lines than that;
//! or oldest first, as a stream.

use super::index::Index;
use super::segments::{self, Segment};
use crate::model::Time;
use memchr::memmem::Finder;
use serde_json::Value;
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// A member of a line that is compared as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `kind`.
    Kind,
    /// `request_id`.
    RequestId,
    /// `principal`.
    Principal,
    /// `service`.
    Service,
    /// `tool`.
    Tool,
    /// `grant`.
    Grant,
    /// `task`.
    Task,
    /// `decision`.
    Decision,
    /// `reason`.
    Reason,
}

/// Each once, the ones that few lines share first.
pub(super) const FIELDS: [Field; 9] = [
    Field::RequestId,
    Field::Grant,
    Field::Task,
    Field::Principal,
    Field::Tool,
    Field::Reason,
    Field::Service,
    Field::Decision,
    Field::Kind,
];

impl Field {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::RequestId => "request_id",
            Self::Principal => "principal",
            Self::Service => "service",
            Self::Tool => "tool",
            Self::Grant => "grant",
            Self::Task => "task",
            Self::Decision => "decision",
            Self::Reason => "reason",
        }
    }
}

/// What a line must meet, all of it. None at all: every line fits.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    equal: Vec<(Field, String)>,
    since: Option<Time>,
    until: Option<Time>,
    text: Option<String>,
}

impl Conditions {
    /// And this member has exactly this value.
    #[must_use]
    pub fn with(mut self, field: Field, value: impl Into<String>) -> Self {
        self.equal.push((field, value.into()));
        self
    }

    /// And it was written at or after `since` and before `until`.
    #[must_use]
    pub fn between(self, since: Option<Time>, until: Option<Time>) -> Self {
        Self { since, until, ..self }
    }

    /// And some value in it contains `text`, as it is, in this case.
    #[must_use]
    pub fn containing(self, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..self }
    }

    pub(super) fn equal(&self) -> &[(Field, String)] {
        &self.equal
    }

    pub(super) const fn since(&self) -> Option<Time> {
        self.since
    }

    pub(super) const fn until(&self) -> Option<Time> {
        self.until
    }

    /// Whether a line fits.
    #[must_use]
    pub fn fit(&self, line: &Value) -> bool {
        let text = |name: &str| line.get(name).and_then(Value::as_str);
        let in_time = || {
            let time = text("time").and_then(|time| time.parse::<Time>().ok());
            time.is_some_and(|time| {
                self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
            })
        };
        self.equal.iter().all(|(field, value)| text(field.name()) == Some(value))
            && (self.since.is_none() && self.until.is_none() || in_time())
            && self.text.as_ref().is_none_or(|text| contains(line, text))
    }

    /// Bytes that every line has that fits; empty if nothing can be said.
    fn needle(&self) -> &str {
        let of = |wanted: Field| {
            let found = self.equal.iter().find(|(field, _)| *field == wanted)?;
            Some(plain(&found.1)).filter(|part| !part.is_empty())
        };
        let text = plain(self.text.as_deref().unwrap_or_default());
        // Two letters are everywhere; a longer text may be rarer than a service.
        let rare = FIELDS.iter().take(5).find_map(|field| of(*field));
        let common = || FIELDS.iter().skip(5).find_map(|field| of(*field));
        rare.or_else(|| Some(text).filter(|text| text.len() > 2)).or_else(common).unwrap_or(text)
    }
}

/// The longest part that stands in a line as it is, whoever escapes.
fn plain(value: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | ' ');
    value.split(|c| !plain(c)).max_by_key(|part| part.len()).unwrap_or_default()
}

/// As deep as the line is, which the reader of JSON bounds.
fn contains(value: &Value, text: &str) -> bool {
    match value {
        Value::Object(members) => members.values().any(|value| contains(value, text)),
        Value::Array(list) => list.iter().any(|value| contains(value, text)),
        Value::String(value) => value.contains(text),
        Value::Number(number) => number.to_string().contains(text),
        Value::Null | Value::Bool(_) => false,
    }
}

/// A line that fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// As it stands in the trail.
    pub raw: String,
    /// What it says.
    pub value: Value,
}

/// In which order lines are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The last line first, and no more than the limit.
    Newest,
    /// The first line first, and no more than the limit.
    Oldest,
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Found {
    /// How many lines.
    pub lines: usize,
    /// It stopped at the limit: there may be more.
    pub limited: bool,
    /// Segments that an index spared.
    pub skipped: usize,
    /// Segments that could not be read to their end: what they hold is missing.
    pub damaged: Vec<(std::path::PathBuf, io::Error)>,
}

/// Finds the lines of a trail that fit, at most `limit`, and hands each to `each` until that wants no more.
///
/// # Errors
/// When the trail cannot be listed. A segment that cannot be read does not end the search: [`Found::damaged`].
pub fn search(
    trail: &Path,
    conditions: &Conditions,
    order: Order,
    limit: usize,
    mut each: impl FnMut(Hit) -> ControlFlow<()>,
) -> io::Result<Found> {
    let mut segments = segments::list(trail)?;
    if order == Order::Newest {
        segments.reverse();
    }
    let needle = conditions.needle();
    let finder = (!needle.is_empty()).then(|| Finder::new(needle));
    let mut found = Found::default();
    for segment in &segments {
        if found.lines >= limit {
            found.limited = true;
            break;
        }
        if Index::of(segment).is_some_and(|index| !index.may_hold(conditions)) {
            found.skipped += 1;
            continue;
        }
        let left = limit - found.lines;
        let mut last = VecDeque::new();
        let mut lines = 0;
        let read = scan(segment, finder.as_ref(), |line| {
            let Some(hit) = fitting(conditions, line) else { return ControlFlow::Continue(()) };
            lines += 1;
            match order {
                Order::Newest => {
                    last.push_back(hit);
                    if last.len() > left {
                        last.pop_front();
                    }
                    ControlFlow::Continue(())
                }
                Order::Oldest if lines > left => ControlFlow::Break(()),
                Order::Oldest => each(hit),
            }
        });
        found.limited |= lines > left;
        found.lines += lines.min(left);
        let stopped = match read {
            Ok(stopped) => stopped,
            Err(error) => {
                found.damaged.push((segment.path().to_owned(), error));
                ControlFlow::Continue(())
            }
        };
        let stopped = match stopped {
            ControlFlow::Continue(()) => last.into_iter().rev().try_for_each(&mut each),
            ControlFlow::Break(()) => stopped,
        };
        if stopped.is_break() {
            break;
        }
    }
    Ok(found)
}

fn fitting(conditions: &Conditions, line: &[u8]) -> Option<Hit> {
    let raw = std::str::from_utf8(line).ok()?;
    let value: Value = serde_json::from_str(raw).ok()?;
    (value.is_object() && conditions.fit(&value)).then(|| Hit { raw: raw.to_owned(), value })
}

/// Hands each line of a segment to `each` that may fit.
fn scan(
    segment: &Segment,
    finder: Option<&Finder<'_>>,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut lines = segment.open()?;
    while let Some(mut rest) = lines.block()? {
        while let Some(at) = finder.map_or(Some(0), |finder| finder.find(rest)) {
            let (before, after) = rest.split_at_checked(at).unwrap_or_default();
            let start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
            let end = at + memchr::memchr(b'\n', after).unwrap_or(after.len());
            if each(rest.get(start..end).unwrap_or_default()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            rest = rest.get(end + 1..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests;
