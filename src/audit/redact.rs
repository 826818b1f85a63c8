//! What is taken out of bodies, queries and arguments before they are recorded, and out of names before they are in a line.
//!
//! Pure: bytes go in, text without secrets or nothing comes out. Refuses to know files and requests.
//! Invariant: what cannot be read with certainty (no UTF-8, another content coding, JSON with a flaw, a text that was cut) is not
//! recorded as text at all. Values are judged as they are read, whatever the spelling: escapes in JSON, percent encoding in forms,
//! JSON inside of strings; of several members with one name each is judged.

mod body;
mod events;
mod form;
mod json;
mod name;
mod text;

#[cfg(test)]
mod tests;

pub(super) use body::{Body, Reading};

use crate::config::recording::letters;
use crate::config::{JsonPointer, Pattern, Redaction};
use regex::{Regex, RegexSet, RegexSetBuilder};
use std::borrow::Cow;

/// What stands where something was taken out.
pub(super) const REDACTED: &str = "[redacted]";

/// It has more than one reading, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclear;

/// A text without secrets, and how many were taken out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Clean {
    pub(super) text: String,
    pub(super) redacted: u32,
}

/// Whether all of a body is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// It is.
    Whole,
    /// It goes on after what is there, or may.
    Cut,
}

/// The rules, compiled.
pub(super) struct Rules {
    pointers: Box<[JsonPointer]>,
    keys: Box<[String]>,
    patterns: Box<[Pattern]>,
    /// A key, a colon or equals sign, and what follows on the line.
    fields: Option<Regex>,
    /// All of these expressions: most texts match none, which one look tells.
    any: Option<RegexSet>,
}

impl Rules {
    pub(super) fn new(redaction: &Redaction) -> Self {
        let keys: Box<[String]> = redaction.keys.iter().map(|key| key.letters().to_owned()).collect();
        let fields = text::fields(&keys);
        let all = redaction.patterns.iter().map(|pattern| pattern.0.as_str());
        let all = all.chain(fields.as_ref().map(Regex::as_str));
        Self {
            pointers: redaction.pointers.clone(),
            // Where they do not fit into one, each is tried.
            any: RegexSetBuilder::new(all).size_limit(text::SIZE).build().ok(),
            fields,
            keys,
            patterns: redaction.patterns.clone(),
        }
    }

    /// The name of a tool or a prompt, or the URI of a resource, as it is in an audit line.
    pub(super) fn clean_name<'t>(&self, name: &'t str) -> Cow<'t, str> {
        name::clean(self, name)
    }

    /// Whether what is called so is never recorded: its letters end in those of a key, as `db_password` does.
    fn hides(&self, name: &str) -> bool {
        let letters = letters(name);
        // `password2` is one as well.
        let unnumbered = letters.trim_end_matches(|c: char| c.is_ascii_digit());
        self.keys.iter().any(|key| letters.ends_with(key.as_str()) || unnumbered.ends_with(key.as_str()))
    }

    fn points_at(&self, path: &[String]) -> bool {
        self.pointers.iter().any(|pointer| pointer.is_at(path))
    }
}
