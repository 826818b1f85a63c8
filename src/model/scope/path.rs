//! The `paths` of an `http` permission.
//!
//! A pattern is written like the path of a request: `/` and segments between `/`. A segment `*` stands for exactly one segment
//! that is not empty; a final segment `**` stands for any rest, also none. Everything else is literal and compared byte for
//! byte. An empty last segment (a trailing slash) is a literal of its own:
//!
//! | pattern | matches | does not match |
//! |---|---|---|
//! | `/a` | `/a` | `/a/` |
//! | `/a/*` | `/a/x` | `/a`, `/a/`, `/a/x/`, `/a/x/y` |
//! | `/a/**` | `/a/`, `/a/x`, `/a/x/y/` | `/a`, `/ab` |
//! | `/**` | every path, `/` too | `*` (the asterisk form of OPTIONS) |
//!
//! There is one spelling: a pattern is canonical by the rules by which a request's path is (no empty segment but the last, no
//! `.` or `..`, no `;` or `\`, nothing encoded that further decoding would turn into one of these), its percent-encodings
//! have upper-case digits, and unreserved characters are not encoded. A literal `*` is written `%2A`, which matches `%2A`
//! only: percent-encodings are compared as written, never decoded.

use std::fmt;

/// The longest pattern, in bytes: the longest path that the proxy takes.
const MAX_BYTES: usize = 8 * 1024;
/// The most segments that a pattern may have.
const MAX_SEGMENTS: usize = 64;

/// A canonical path pattern.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPattern(Box<str>);

/// One segment of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Segment<'a> {
    /// These bytes; empty only as the last segment, for a trailing slash.
    Literal(&'a str),
    /// `*`: exactly one segment that is not empty.
    One,
    /// `**`: all that is left, also an empty last segment; always the last.
    Rest,
}

/// Why a text is not a path pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// No slash at the start.
    #[error("starts with `/` (write `/**` for every path)")]
    Relative,
    /// Too many bytes or segments.
    #[error("is too long: at most {MAX_BYTES} bytes and {MAX_SEGMENTS} segments")]
    TooLong,
    /// An empty segment that is not the last.
    #[error("has an empty segment: write one `/`")]
    EmptySegment,
    /// A segment `.` or `..`.
    #[error("has a segment `.` or `..`: write the path without it")]
    DotSegment,
    /// `*` inside a segment, or `**` before the end.
    #[error(
        "uses `*` inside a segment or `**` before the end: `*` is a whole segment, `**` the whole last segment, \
         a literal `*` is `%2A`"
    )]
    Wildcard,
    /// A query or a fragment.
    #[error("has a `?` or `#`: restrict the query with `query` in the JSON form")]
    Query,
    /// A character that a request's path cannot have or that has two readings there.
    #[error(
        "has a character that a path cannot have: percent-encode it (`;`, `\\` and control characters not even so)"
    )]
    Character,
    /// `%` without two upper-case hexadecimal digits.
    #[error("has a `%` that is not followed by two upper-case hexadecimal digits")]
    Percent,
    /// An encoded letter, digit, `-`, `.`, `_` or `~`.
    #[error("encodes a letter, digit, `-`, `.`, `_` or `~`: write it as it is")]
    Unreserved,
    /// An encoded `/`, `\`, `;` or control character, or what further decoding would turn into one or into `.`.
    #[error("encodes (once or more) a `/`, `\\`, `;`, `.` or control character, which has two readings")]
    Ambiguous,
    /// Not UTF-8 when decoded.
    #[error("is not UTF-8 when decoded")]
    Utf8,
}

impl PathPattern {
    /// From its text.
    ///
    /// # Errors
    /// [`PathFault`] when the text is not the one canonical spelling of a pattern.
    pub fn new(text: &str) -> Result<Self, PathFault> {
        if text.len() > MAX_BYTES {
            return Err(PathFault::TooLong);
        }
        let rest = text.strip_prefix('/').ok_or(PathFault::Relative)?;
        let mut left = rest.split('/').count();
        if left > MAX_SEGMENTS {
            return Err(PathFault::TooLong);
        }
        for segment in rest.split('/') {
            left -= 1;
            check_segment(segment, left == 0)?;
        }
        Ok(Self(text.into()))
    }

    /// The pattern that matches exactly this path of a request, if it can be written as one.
    #[must_use]
    pub fn literal(path: &str) -> Option<Self> {
        (!path.contains('*')).then(|| Self::new(path).ok()).flatten()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments after the first slash, at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment<'_>> {
        self.0.strip_prefix('/').unwrap_or_default().split('/').map(|segment| match segment {
            "*" => Segment::One,
            "**" => Segment::Rest,
            literal => Segment::Literal(literal),
        })
    }

    /// Whether it has no wildcard: it matches the one path that it spells.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether it ends in `**`.
    #[must_use]
    pub fn has_rest(&self) -> bool {
        self.0.ends_with("/**")
    }

    /// All before the first wildcard, from the first slash: every path that matches starts with it.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }

    /// Whether it matches the path of a request in canonical form, as the caller wrote it, segment by segment.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let both = self.0.strip_prefix('/').zip(path.strip_prefix('/'));
        let Some((pattern, path)) = both else { return false };
        // By bytes: segments are short, and a byte-wise split is the fastest there.
        let mut given = path.as_bytes().split(|byte| *byte == b'/');
        for wanted in pattern.as_bytes().split(|byte| *byte == b'/') {
            let Some(segment) = given.next() else { return false };
            match wanted {
                b"**" => return true,
                b"*" if segment.is_empty() => return false,
                b"*" => {}
                literal if literal != segment => return false,
                _ => {}
            }
        }
        given.next().is_none()
    }

    /// Whether every path that `other` matches is matched, segment by segment.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut narrow = other.segments();
        for wide in self.segments() {
            let covered = match (wide, narrow.next()) {
                (_, None) => false,
                (Segment::Rest, Some(_)) => return true,
                (Segment::One, Some(Segment::One)) => true,
                (Segment::One, Some(Segment::Literal(literal))) => !literal.is_empty(),
                (Segment::Literal(wide), Some(Segment::Literal(narrow))) => wide == narrow,
                (Segment::Literal(_), Some(Segment::One)) => false,
                (Segment::One | Segment::Literal(_), Some(Segment::Rest)) => false,
            };
            if !covered {
                return false;
            }
        }
        narrow.next().is_none()
    }
}

fn check_segment(segment: &str, last: bool) -> Result<(), PathFault> {
    match segment {
        "" if last => return Ok(()),
        "" => return Err(PathFault::EmptySegment),
        "." | ".." => return Err(PathFault::DotSegment),
        "*" => return Ok(()),
        "**" if last => return Ok(()),
        _ => {}
    }
    let decoded = decode(segment)?;
    let text = std::str::from_utf8(&decoded).map_err(|_| PathFault::Utf8)?;
    let now = text.chars().any(|c| c.is_control() || u8::try_from(c).is_ok_and(is_separator));
    let later = decoded.split(|byte| *byte == b'%').skip(1).any(hides_separator);
    if now || later { Err(PathFault::Ambiguous) } else { Ok(()) }
}

/// Whether what follows a decoded `%`, decoded ever again, becomes a separator or a dot.
fn hides_separator(after: &[u8]) -> bool {
    let mut rest = after;
    while let [high, low, tail @ ..] = rest {
        let Some((high, low)) = hex(*high).zip(hex(*low)) else { return false };
        match high << 4 | low {
            b'%' => rest = tail,
            byte => return byte == b'.' || is_separator(byte),
        }
    }
    false
}

/// What splits or ends a path at some decoder.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\' | b';') || byte.is_ascii_control()
}

/// Decodes a segment, refusing every character and encoding but the canonical ones.
fn decode(segment: &str) -> Result<Vec<u8>, PathFault> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let octet = upper_hex(bytes.next()).zip(upper_hex(bytes.next()));
                let octet = octet.map(|(high, low)| high << 4 | low).ok_or(PathFault::Percent)?;
                if is_unreserved(octet) {
                    return Err(PathFault::Unreserved);
                }
                decoded.push(octet);
            }
            b'*' => return Err(PathFault::Wildcard),
            b'?' | b'#' => return Err(PathFault::Query),
            _ if is_unreserved(byte) || b"!$&'()+,=:@[]^|".contains(&byte) => decoded.push(byte),
            _ => return Err(PathFault::Character),
        }
    }
    Ok(decoded)
}

/// RFC 3986 section 2.3.
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The value of an upper-case hexadecimal digit.
pub(super) fn upper_hex(digit: Option<u8>) -> Option<u8> {
    digit.filter(|digit| !digit.is_ascii_lowercase()).and_then(hex)
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl serde::Serialize for PathPattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::new(pattern).unwrap().matches(path)
    }

    #[test]
    fn the_table_of_the_documentation() {
        for (pattern, yes, no) in [
            ("/", &["/"][..], &["/a", "", "*"][..]),
            ("/a", &["/a"], &["/a/", "/ab", "/", "/A", "a", "/%61", "/a?x", "/b/a"]),
            ("/a/", &["/a/"], &["/a", "/a/b", "/a//"]),
            ("/a/*", &["/a/x", "/a/*", "/a/%2A", "/a/x.y"], &["/a", "/a/", "/a/x/", "/a/x/y", "/b/x"]),
            ("/a/*/", &["/a/x/"], &["/a/x", "/a//", "/a/x/y"]),
            ("/*/b", &["/a/b"], &["/b", "//b", "/a/c", "/a/b/"]),
            ("/a/**", &["/a/", "/a/x", "/a/x/y/"], &["/a", "/ab", "/b/a/x"]),
            ("/a/*/**", &["/a/x/", "/a/x/y/z"], &["/a/x", "/a/", "/a"]),
            ("/**", &["/", "/a", "/a/b/"], &["*", "", "a"]),
            ("/%C3%A9", &["/%C3%A9"], &["/%c3%a9", "/é"]),
            ("/%2A", &["/%2A"], &["/*", "/x"]),
        ] {
            yes.iter().for_each(|path| assert!(matches(pattern, path), "{pattern} {path}"));
            no.iter().for_each(|path| assert!(!matches(pattern, path), "{pattern} {path}"));
        }
    }

    #[test]
    fn only_canonical_patterns() {
        use PathFault as F;
        for (text, fault) in [
            ("", F::Relative),
            ("a", F::Relative),
            ("*", F::Relative),
            ("**", F::Relative),
            ("//", F::EmptySegment),
            ("//a", F::EmptySegment),
            ("/a//", F::EmptySegment),
            ("/.", F::DotSegment),
            ("/a/../b", F::DotSegment),
            ("/a*", F::Wildcard),
            ("/*.json", F::Wildcard),
            ("/a/**/b", F::Wildcard),
            ("/**/", F::Wildcard),
            ("/a/***", F::Wildcard),
            ("/a?b=c", F::Query),
            ("/a#b", F::Query),
            ("/a;b", F::Character),
            ("/a\\b", F::Character),
            ("/a b", F::Character),
            ("/a\0", F::Character),
            ("/a\n", F::Character),
            ("/é", F::Character),
            ("/a\"", F::Character),
            ("/{id}", F::Character),
            ("/<a>", F::Character),
            ("/%", F::Percent),
            ("/%4", F::Percent),
            ("/%zz", F::Percent),
            ("/%c3%A9", F::Percent),
            ("/%+1", F::Percent),
            ("/%61", F::Unreserved),
            ("/%2E%2E", F::Unreserved),
            ("/%7E", F::Unreserved),
            ("/%2F", F::Ambiguous),
            ("/%5C", F::Ambiguous),
            ("/%3B", F::Ambiguous),
            ("/%00", F::Ambiguous),
            ("/%7F", F::Ambiguous),
            ("/%C2%85", F::Ambiguous),
            ("/%252F", F::Ambiguous),
            ("/%252f", F::Ambiguous),
            ("/%252e", F::Ambiguous),
            ("/%25252F", F::Ambiguous),
            ("/a%2500", F::Ambiguous),
            ("/%C0%AF", F::Utf8),
            ("/%FF", F::Utf8),
            ("/%ED%A0%80", F::Utf8),
            (&format!("/{}", "a".repeat(MAX_BYTES)), F::TooLong),
            (&"/a".repeat(MAX_SEGMENTS + 1), F::TooLong),
        ] {
            assert_eq!(PathPattern::new(text), Err(fault), "{text}");
        }
        for text in [
            "/a.b/c..d/...",
            "/a%20b",
            "/50%25",
            "/%2561.b",
            "/a:b@c,d",
            "/[x]|^",
            "/%25zz.",
            &"/a".repeat(64),
        ] {
            assert!(PathPattern::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_an_index_asks() {
        let pattern = PathPattern::new("/v1/*/items/**").unwrap();
        let segments: Vec<_> = pattern.segments().collect();
        assert_eq!(
            segments,
            [Segment::Literal("v1"), Segment::One, Segment::Literal("items"), Segment::Rest]
        );
        assert_eq!(
            (pattern.literal_prefix(), pattern.has_rest(), pattern.is_literal()),
            ("/v1/", true, false)
        );
        let slash = PathPattern::new("/v1/").unwrap();
        assert_eq!(slash.segments().collect::<Vec<_>>(), [Segment::Literal("v1"), Segment::Literal("")]);
        assert!(slash.is_literal() && slash.literal_prefix() == "/v1/");
        assert!(PathPattern::literal("/v1/*").is_none() && PathPattern::literal("/v1/x").is_some());
    }

    #[test]
    fn covering_is_segment_by_segment() {
        let covers = |wide: &str, narrow: &str| {
            PathPattern::new(wide).unwrap().covers(&PathPattern::new(narrow).unwrap())
        };
        for (wide, narrow) in [
            ("/**", "/"),
            ("/**", "/**"),
            ("/a/**", "/a/"),
            ("/a/**", "/a/*/**"),
            ("/*", "/a"),
            ("/a/*", "/a/*"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("/*", "/"),
            ("/*", "/**"),
            ("/a/**", "/a"),
            ("/a/**", "/**"),
            ("/a", "/*"),
            ("/a/*", "/a/b/"),
            ("/a", "/a/"),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }
}
