//! Reading the file into its mirror, with *every* error: where, under which key, and what to do.
//!
//! Serde stops at the first error. So the offending entry is taken out of the parsed tree and reading starts again, until
//! nothing offends; each round removes one entry, which bounds the rounds. What was taken out is remembered, so that it is not
//! reported a second time as missing.

use crate::config::problem::{ConfigErrors, Problem, explain};
use crate::config::tree::{key_at, nearest, take_out, within};
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

/// A file being read: its text, its tree, and what was found wrong so far.
pub(crate) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
    tree: Spanned<DeTable<'a>>,
    problems: Vec<(usize, Problem)>,
    taken_out: Vec<String>,
    broken: bool,
}

impl<'a> Source<'a> {
    /// Parses the text and reads it into the mirror; everything that does not fit is noted and left out.
    pub(crate) fn read<R: DeserializeOwned + Default>(file: &'a Path, text: &'a str) -> (Self, R) {
        let (tree, syntax) = DeTable::parse_recoverable(text);
        let mut source = Self {
            file,
            text,
            tree,
            problems: Vec::new(),
            taken_out: Vec::new(),
            broken: !syntax.is_empty(),
        };
        if source.broken {
            for error in syntax {
                source.at(&error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()));
            }
            // The rest of a broken file reads as something it is not.
            return (source, R::default());
        }
        let raw = source.mirror();
        (source, raw)
    }

    fn mirror<R: DeserializeOwned + Default>(&mut self) -> R {
        let mut tree = self.tree.clone();
        loop {
            let error = match R::deserialize(Deserializer::from(tree.clone())) {
                Ok(raw) => return raw,
                Err(error) => error,
            };
            let span = error.span().unwrap_or(0..0);
            let key = key_at(self.tree.get_ref(), &span);
            self.push(&span, key.clone(), explain(error.message(), &key));
            self.taken_out.push(key);
            if !take_out(tree.get_mut(), &span) {
                return R::default();
            }
        }
    }

    /// Notes that the value at `span` is wrong.
    pub(crate) fn at(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let key = key_at(self.tree.get_ref(), span);
        self.push(span, key, message.into());
    }

    /// Notes that `key` is missing, unless it was there and is reported already.
    pub(crate) fn missing(&mut self, key: &str, message: impl Into<String>) {
        if self.lost(key) {
            return;
        }
        let span = nearest(self.tree.get_ref(), key);
        let message = format!("missing: {}", message.into());
        match span {
            Some(span) => self.push(&span, key.to_owned(), message),
            None => self.whole(key, message),
        }
    }

    /// Notes that the list at `span` is empty, unless it is so because its elements were reported already.
    pub(crate) fn empty_list(&mut self, span: &Range<usize>, message: &str) {
        let key = key_at(self.tree.get_ref(), span);
        if !self.lost(&key) {
            self.push(span, key, message.to_owned());
        }
    }

    /// Notes that something is wrong with the file as a whole.
    pub(crate) fn whole(&mut self, key: &str, message: impl Into<String>) {
        let problem = Problem {
            file: self.file.to_path_buf(),
            line: None,
            key: key.to_owned(),
            message: message.into(),
        };
        self.problems.push((usize::MAX, problem));
    }

    /// Whether `key`, something in it, or what it is in was reported and left out of the mirror.
    pub(crate) fn lost(&self, key: &str) -> bool {
        self.taken_out.iter().any(|taken| within(taken, key) || within(key, taken))
    }

    /// Whether the file is not even TOML.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether anything was noted so far.
    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// A path of the file, from the file's folder.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.file.parent().map_or_else(|| path.to_path_buf(), |folder| folder.join(path))
    }

    /// The value, if nothing was wrong.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, ConfigErrors> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            Some(_) | None => {
                self.problems.sort_by_key(|(offset, _)| *offset);
                Err(ConfigErrors {
                    problems: self.problems.into_iter().map(|(_, problem)| problem).collect(),
                })
            }
        }
    }

    /// The line at which `span` begins, from 1.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    fn push(&mut self, span: &Range<usize>, key: String, message: String) {
        let problem = Problem { file: self.file.to_path_buf(), line: Some(self.line(span)), key, message };
        self.problems.push((span.start, problem));
    }
}
