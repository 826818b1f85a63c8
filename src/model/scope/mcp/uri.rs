//! The `resources` of an `mcp` permission: patterns of URIs.
//!
//! Like paths: `*` is exactly one segment between slashes, a final `**` is any rest, everything else is literal and compared byte for
//! byte. What a wildcard stands for must have one reading: no dot segments, no query and no fragment, no empty segment but the last,
//! and no encoded `/`, `\`, `.`, `%` or control character, which some server would decode and then resolve.

use super::super::error::{PermissionError, Quoted};
use super::super::list::{List, ListFault};
use super::names::is_unseen;
use std::fmt;

const KEY: &str = "resources";
const MAX_BYTES: usize = 2_048;
const MAX_SEGMENTS: usize = 32;

/// A non-empty set of URI patterns, or every URI.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Uris {
    /// `*`: every one.
    Any,
    /// What one of these matches.
    Only(List<UriPattern>),
}

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UriPattern(Box<str>);

/// One segment of a pattern, between slashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriSegment<'a> {
    /// This text.
    Literal(&'a str),
    /// `*`: one that is not empty.
    One,
    /// `**`: all that follows, at least an empty segment.
    Rest,
}

/// Why a text is not a URI pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriFault {
    /// Before the first slash there is no scheme.
    #[error("is no URI: it begins with a scheme, for instance `file:` (`*` alone is every URI)")]
    Scheme,
    /// `*` within a segment, or `**` before the end.
    #[error("has a `*` that is not a whole segment, or a `**` that is not the last one")]
    Wildcard,
    /// `.` or `..`.
    #[error("has a segment `.` or `..`")]
    Dots,
    /// White space, control characters, what is not seen, or a backslash.
    #[error("has white space, a backslash or characters that are not seen")]
    Character,
    /// Too long.
    #[error("is too long: at most {MAX_BYTES} bytes, with wildcards {MAX_SEGMENTS} segments")]
    TooLong,
}

impl Uris {
    pub(super) fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PermissionError> {
        if patterns.iter().any(|pattern| pattern.as_ref() == "*") {
            return match patterns.len() {
                1 => Ok(Self::Any),
                _ => Err(PermissionError::MixedAny { key: KEY }),
            };
        }
        let pattern = |text: &S| {
            let text = text.as_ref();
            UriPattern::new(text).map_err(|fault| PermissionError::Uri { value: Quoted::of(text), fault })
        };
        let patterns: Result<_, _> = patterns.iter().map(pattern).collect();
        List::new(patterns?).map(Self::Only).map_err(|fault| match fault {
            ListFault::Empty => PermissionError::Empty { key: KEY, example: "`[\"*\"]` for every one" },
            ListFault::TooMany => PermissionError::TooMany { key: KEY },
            ListFault::Duplicate(pattern) => {
                PermissionError::Duplicate { key: KEY, value: Quoted::of(&pattern.0) }
            }
        })
    }

    /// Whether it matches a URI.
    #[must_use]
    pub fn has(&self, uri: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern.matches(uri)),
        }
    }

    /// The patterns; none for any.
    #[must_use]
    pub fn patterns(&self) -> &[UriPattern] {
        match self {
            Self::Any => &[],
            Self::Only(patterns) => patterns,
        }
    }

    /// The patterns as they are written in a scope.
    pub fn texts(&self) -> impl Iterator<Item = &str> + Clone {
        let any = matches!(self, Self::Any).then_some("*");
        any.into_iter().chain(self.patterns().iter().map(UriPattern::as_str))
    }

    /// Whether it is shown that it matches each URI that `other` matches.
    pub(in crate::model::scope) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Only(_), Self::Any) => false,
            (Self::Only(wide), Self::Only(narrow)) => {
                narrow.iter().all(|narrow| wide.iter().any(|wide| wide.covers(narrow)))
            }
        }
    }

    /// Whether both could match one URI.
    pub(in crate::model::scope) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Only(one), Self::Only(two)) => one.iter().any(|one| two.iter().any(|two| one.meets(two))),
        }
    }
}

impl UriPattern {
    /// From its text.
    ///
    /// # Errors
    /// [`UriFault`].
    pub fn new(text: &str) -> Result<Self, UriFault> {
        if text.len() > MAX_BYTES {
            return Err(UriFault::TooLong);
        }
        if text.chars().any(|c| c == '\\' || c.is_whitespace() || is_unseen(c)) {
            return Err(UriFault::Character);
        }
        let first = text.split('/').next().unwrap_or_default();
        let scheme = first.split_once(':').map_or("", |(scheme, _)| scheme);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(plain) {
            return Err(UriFault::Scheme);
        }
        let count = text.split('/').count();
        for (at, segment) in text.split('/').enumerate() {
            match segment {
                "*" => {}
                "**" if at + 1 == count => {}
                _ if segment.contains('*') => return Err(UriFault::Wildcard),
                _ if is_dots(segment) => return Err(UriFault::Dots),
                _ => {}
            }
        }
        let pattern = Self(text.into());
        match pattern.is_literal() || count <= MAX_SEGMENTS {
            true => Ok(pattern),
            false => Err(UriFault::TooLong),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no wildcard.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// What is between the slashes; never empty.
    pub fn segments(&self) -> impl Iterator<Item = UriSegment<'_>> {
        self.0.split('/').map(|segment| match segment {
            "*" => UriSegment::One,
            "**" => UriSegment::Rest,
            literal => UriSegment::Literal(literal),
        })
    }

    /// Whether it matches a URI.
    #[must_use]
    pub fn matches(&self, uri: &str) -> bool {
        if self.is_literal() {
            return *self.0 == *uri;
        }
        let mut rest = Some(uri);
        for segment in self.segments() {
            let Some(left) = rest else { return false };
            let (given, after) =
                left.split_once('/').map_or((left, None), |(given, after)| (given, Some(after)));
            match segment {
                UriSegment::Rest => return has_one_reading(left),
                UriSegment::One if !given.is_empty() && is_plain(given) => {}
                UriSegment::Literal(literal) if literal == given => {}
                UriSegment::One | UriSegment::Literal(_) => return false,
            }
            rest = after;
        }
        rest.is_none()
    }

    fn covers(&self, narrow: &Self) -> bool {
        if self == narrow {
            return true;
        }
        if narrow.is_literal() {
            return self.matches(&narrow.0);
        }
        let (mut wide, mut narrow) = (self.segments(), narrow.segments());
        loop {
            match (wide.next(), narrow.next()) {
                (None, None) => return true,
                (Some(UriSegment::Rest), Some(first)) => {
                    let mut left = std::iter::once(first).chain(narrow).peekable();
                    while let Some(segment) = left.next() {
                        match segment {
                            UriSegment::Literal("") if left.peek().is_some() => return false,
                            UriSegment::Literal(literal) if !is_plain(literal) => return false,
                            UriSegment::Literal(_) | UriSegment::One | UriSegment::Rest => {}
                        }
                    }
                    return true;
                }
                (Some(UriSegment::One), Some(UriSegment::One)) => {}
                (Some(UriSegment::One), Some(UriSegment::Literal(literal)))
                    if !literal.is_empty() && is_plain(literal) => {}
                (Some(UriSegment::Literal(wide)), Some(UriSegment::Literal(narrow))) if wide == narrow => {}
                (Some(_) | None, Some(_) | None) => return false,
            }
        }
    }

    fn meets(&self, other: &Self) -> bool {
        let (mut left, mut right) = (self.segments(), other.segments());
        loop {
            match (left.next(), right.next()) {
                (None, None) | (Some(UriSegment::Rest), Some(_)) | (Some(_), Some(UriSegment::Rest)) => {
                    return true;
                }
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(UriSegment::Literal(left)), Some(UriSegment::Literal(right))) if left != right => {
                    return false;
                }
                (Some(_), Some(_)) => {}
            }
        }
    }
}

impl fmt::Display for UriPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `**` may stand for.
fn has_one_reading(rest: &str) -> bool {
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        if (segment.is_empty() && segments.peek().is_some()) || !is_plain(segment) {
            return false;
        }
    }
    true
}

/// What `*` may stand for, or a segment of what `**` stands for.
fn is_plain(segment: &str) -> bool {
    // Encoded dots are found below.
    if matches!(segment, "." | "..")
        || segment.chars().any(|c| matches!(c, '?' | '#' | '\\') || c.is_whitespace())
    {
        return false;
    }
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii_control() {
            return false;
        }
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            match digit(bytes.next()).zip(digit(bytes.next())) {
                // `.` `/` `\` `%` `?` `#` and controls.
                Some((high, low)) => match high << 4 | low {
                    0..=0x1f | 0x7f | 0x23 | 0x25 | 0x2e | 0x2f | 0x3f | 0x5c => return false,
                    _ => {}
                },
                None => return false,
            }
        }
    }
    true
}

/// `.` or `..`, also with encoded dots.
fn is_dots(segment: &str) -> bool {
    let bare = |segment: &str| matches!(segment, "." | "..");
    bare(segment) || (segment.contains('%') && bare(&segment.replace("%2e", ".").replace("%2E", ".")))
}
