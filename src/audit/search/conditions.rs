//! Which conditions a line meets, and what of its bytes tells that it cannot.

use crate::model::Time;
use memchr::memmem::Finder;
use serde_json::Value;

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
pub(in crate::audit) const FIELDS: [Field; 9] = [
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
    pub(in crate::audit) const fn name(self) -> &'static str {
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
    pub(super) equal: Vec<(Field, String)>,
    pub(super) since: Option<Time>,
    pub(super) until: Option<Time>,
    pub(super) text: Option<String>,
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

    pub(in crate::audit) fn equal(&self) -> &[(Field, String)] {
        &self.equal
    }

    pub(in crate::audit) const fn since(&self) -> Option<Time> {
        self.since
    }

    pub(in crate::audit) const fn until(&self) -> Option<Time> {
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

    /// Bytes that every line has that fits, the ones that few lines have first.
    fn needles(&self) -> Vec<&str> {
        let of = |wanted: &Field| {
            let found = self.equal.iter().find(|(field, _)| field == wanted)?;
            Some(plain(&found.1))
        };
        let text = plain(self.text.as_deref().unwrap_or_default());
        let (rare, common) = FIELDS.split_at(5);
        let mut all: Vec<&str> = rare.iter().filter_map(of).collect();
        // Two letters are everywhere; a longer text may be rarer than a service.
        let at = if text.len() > 2 { all.len() } else { usize::MAX };
        all.extend(common.iter().filter_map(of));
        all.insert(at.min(all.len()), text);
        all.retain(|needle| !needle.is_empty());
        all
    }
}

/// The longest part that stands in a line as it is: the writer escapes no other printable ASCII.
fn plain(value: &str) -> &str {
    let plain = |c: char| (c == ' ' || c.is_ascii_graphic()) && c != '"' && c != '\\';
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

/// Says of one line after the other whether it fits; for whoever reads the lines anyway.
#[derive(Debug)]
pub struct Matcher<'a> {
    conditions: &'a Conditions,
    /// What few lines have.
    pub(super) finder: Option<Finder<'a>>,
    /// What is looked for where that was found, before a line is parsed.
    others: Vec<Finder<'a>>,
    since: Option<String>,
    until: Option<String>,
}

/// Bytes of a time as the writer writes it, which sort as the times do.
const TIME_LEN: usize = "2026-11-22T10:00:00.000000Z".len();

impl<'a> Matcher<'a> {
    /// For these conditions.
    #[must_use]
    pub fn new(conditions: &'a Conditions) -> Self {
        let mut needles = conditions.needles().into_iter().map(Finder::new);
        let written = |time: Option<Time>| {
            let text = time.map(|time| time.to_string());
            text.filter(|text| text.len() == TIME_LEN && text.starts_with(|c: char| c.is_ascii_digit()))
        };
        let (since, until) = (written(conditions.since), written(conditions.until));
        Self { conditions, finder: needles.next(), others: needles.collect(), since, until }
    }

    /// Whether it may, by a look at its bytes alone.
    #[must_use]
    pub fn may_fit(&self, line: &[u8]) -> bool {
        self.finder.as_ref().is_none_or(|finder| finder.find(line).is_some()) && self.is_worth_parsing(line)
    }

    /// The line, if it fits.
    #[must_use]
    pub fn hit(&self, line: &[u8]) -> Option<Hit> {
        if self.may_fit(line) { self.parsed(line) } else { None }
    }

    pub(super) fn is_worth_parsing(&self, line: &[u8]) -> bool {
        let in_time = || {
            // Where it is not as the writer writes it, parsing tells.
            let Some(time) = time(line) else { return true };
            self.since.as_ref().is_none_or(|since| time >= since.as_bytes())
                && self.until.as_ref().is_none_or(|until| time < until.as_bytes())
        };
        self.others.iter().all(|finder| finder.find(line).is_some())
            && (self.since.is_none() && self.until.is_none() || in_time())
    }

    pub(super) fn parsed(&self, line: &[u8]) -> Option<Hit> {
        let raw = std::str::from_utf8(line).ok()?;
        let value: Value = serde_json::from_str(raw).ok()?;
        (value.is_object() && self.conditions.fit(&value)).then(|| Hit { raw: raw.to_owned(), value })
    }
}

/// The time of a line, if it stands where the writer puts it, in the form in which the writer writes it.
fn time(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let rest = rest.get(rest.iter().position(|byte| !byte.is_ascii_digit())?..)?;
    let (time, rest) = rest.strip_prefix(b",\"time\":\"")?.split_at_checked(TIME_LEN)?;
    let written = time.iter().zip(b"0000-00-00T00:00:00.000000Z").all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    });
    (written && rest.starts_with(b"\"")).then_some(time)
}
