//! Path and query: refuses every byte sequence that somebody may read in another way, also after decoding twice or more.

use super::Unclear;

/// The longest path, in bytes.
pub const MAX_PATH: usize = 8 * 1024;
/// The most segments of a path.
pub const MAX_SEGMENTS: usize = 64;

/// What a byte of a path is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself.
    Plain,
    Slash,
    Percent,
    /// Means something else to some reader: `\` (a slash on Windows and in browsers), `;` (path parameters).
    TwoFaced,
    /// Not allowed in a path as it is.
    Foreign,
}

const fn class(byte: u8) -> Class {
    match byte {
        b'/' => Class::Slash,
        b'%' => Class::Percent,
        b'\\' | b';' => Class::TwoFaced,
        // RFC 3986 `pchar`, and `[ ] ^ |`, which browsers send as they are.
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => Class::Plain,
        b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' => Class::Plain,
        b',' | b'=' | b':' | b'@' | b'[' | b']' | b'^' | b'|' => Class::Plain,
        _ => Class::Foreign,
    }
}

/// Whether a path has exactly one reading.
pub(super) fn check(path: &str) -> Result<(), Unclear> {
    if path == "*" {
        return Err(Unclear::ambiguous("the asterisk form names no path"));
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Unclear::malformed("the path does not start with a slash"));
    };
    if path.len() > MAX_PATH {
        return Err(Unclear::too_large("the path is longer than 8 KiB"));
    }
    // By bytes: segments are short, and a byte-wise split is the fastest there.
    let mut segments = rest.as_bytes().split(|byte| *byte == b'/').peekable();
    let mut count = 0;
    while let Some(segment) = segments.next() {
        count += 1;
        if count > MAX_SEGMENTS {
            return Err(Unclear::too_large("the path has more than 64 segments"));
        }
        if segment.is_empty() && segments.peek().is_some() {
            return Err(Unclear::ambiguous("the path has an empty segment"));
        }
        check_segment(segment)?;
    }
    Ok(())
}

fn check_segment(segment: &[u8]) -> Result<(), Unclear> {
    if matches!(segment, b"." | b"..") {
        return Err(Unclear::ambiguous("the path has a dot segment"));
    }
    let mut rest = segment;
    while let Some((byte, tail)) = rest.split_first() {
        rest = match class(*byte) {
            Class::Plain => tail,
            Class::Percent => check_escape(tail)?,
            Class::TwoFaced => return Err(Unclear::ambiguous("the path has a `\\` or `;`")),
            Class::Slash | Class::Foreign => {
                return Err(Unclear::ambiguous("the path has a character that must be percent-encoded"));
            }
        };
    }
    Ok(())
}

const BAD_ESCAPE: &str = "a `%` is not followed by two hexadecimal digits";

/// Checks what an escape stands for, once its `%` was taken; returns what follows.
fn check_escape(after: &[u8]) -> Result<&[u8], Unclear> {
    let (byte, tail) = hex(after).ok_or(Unclear::ambiguous(BAD_ESCAPE))?;
    match byte {
        0x80.. => check_utf8(byte, tail),
        b'%' => check_second_decoding(tail).map(|()| tail),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
            Err(Unclear::ambiguous("the path encodes a character that needs no encoding"))
        }
        _ if is_two_faced(byte) => {
            Err(Unclear::ambiguous("the path has an encoded `/`, `\\`, `.`, `;` or control character"))
        }
        _ => Ok(tail),
    }
}

/// What changes the reading of a path when it appears by decoding.
fn is_two_faced(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\' | b'.' | b';' | 0..0x20 | 0x7f)
}

/// After `%25`: what a second decoding, or one of any depth, would make of what follows.
///
/// Encoded letters and digits are refused, so that the two digits after a decoded `%` always stand there as they are: looking at
/// the bytes of the request is enough.
fn check_second_decoding(after: &[u8]) -> Result<(), Unclear> {
    let mut rest = after;
    while let Some((byte, tail)) = hex(rest) {
        if is_two_faced(byte) {
            return Err(Unclear::ambiguous("the path turns into another when it is decoded twice"));
        }
        if byte != b'%' {
            return Ok(());
        }
        rest = tail;
    }
    Ok(())
}

/// After the first escape of a multi-byte character: its other bytes, each an escape, must complete one character in its one
/// encoding (RFC 3629), and not a control character.
fn check_utf8(first: u8, after: &[u8]) -> Result<&[u8], Unclear> {
    const BAD: &str = "the path is not UTF-8 when it is decoded";
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Err(Unclear::ambiguous(BAD)),
    };
    let mut bytes = [first, 0, 0, 0];
    let mut rest = after;
    for place in bytes.iter_mut().take(length).skip(1) {
        let escape = rest.strip_prefix(b"%").and_then(hex);
        let (byte, tail) = escape.ok_or(Unclear::ambiguous(BAD))?;
        *place = byte;
        rest = tail;
    }
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match text {
        Some(text) if text.chars().any(char::is_control) => {
            Err(Unclear::ambiguous("the path has an encoded `/`, `\\`, `.`, `;` or control character"))
        }
        Some(_) => Ok(rest),
        None => Err(Unclear::ambiguous(BAD)),
    }
}

/// Two hexadecimal digits, and what follows them.
fn hex(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (pair, rest) = bytes.split_first_chunk::<2>()?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let [high, low] = *pair;
    let value = digit(high)? * 16 + digit(low)?;
    Some((u8::try_from(value).ok()?, rest))
}

/// Whether a query has one reading as far as it goes for all: visible ASCII, whole escapes, no NUL. What its parameters mean is
/// between the caller and the service; a permission with `query` reads them strictly.
pub(super) fn check_query(query: &str) -> Result<(), Unclear> {
    let mut rest = query.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = match byte {
            b'%' => match hex(tail) {
                Some((0, _)) => return Err(Unclear::ambiguous("the query has an encoded NUL")),
                Some((_, tail)) => tail,
                None => return Err(Unclear::ambiguous(BAD_ESCAPE)),
            },
            0x21..=0x7e => tail,
            _ => return Err(Unclear::ambiguous("the query has a character that must be percent-encoded")),
        };
    }
    Ok(())
}
