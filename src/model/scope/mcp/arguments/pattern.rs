//! Patterns: what the regular expressions of JSON Schema (ECMA 262) and an engine in linear time have in common.
//!
//! `^ $ . | ( ) (?: ) [ ] [^ ] * + ? {n} {n,} {n,m}` and lazy forms, `\d \w \s` and their opposites (ASCII, but `\s`, as ECMA 262 has
//! them), `\t \n \r \f \v \xHH \uHHHH`, `\b` and any punctuation after `\`. What means something else to one of the two is refused:
//! look-around, references back, named groups, flags, `\p`, sets in sets.
//!
//! Equal patterns are compiled once and shared, whoever holds them: a million grants name a handful.

use regex::{Regex, RegexBuilder};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

const MAX_BYTES: usize = 1_024;
/// Bytes of the compiled program.
const MAX_PROGRAM: usize = 1 << 18;
/// Bytes that a thread keeps for matching one pattern.
const MAX_CACHE: usize = 1 << 18;

/// A pattern, to be found anywhere in a text.
pub(super) struct Pattern(Arc<Regex>);

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// Something that ECMA 262 and a linear engine do not have in common.
    #[error(
        "has a construct outside the subset (no look-around, references, named groups, flags, `\\p` or sets in sets)"
    )]
    Construct,
    /// Not well-formed.
    #[error("is no regular expression")]
    Malformed,
    /// Too long as it is written, or as a program.
    #[error("is too large: at most {MAX_BYTES} bytes, and few and small repetitions")]
    TooLarge,
}

type Known = HashMap<Box<str>, Weak<Regex>>;
static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();

/// A panic elsewhere cannot leave it half-changed: each change is one call.
fn known() -> MutexGuard<'static, Known> {
    KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, PatternFault> {
        if text.len() > MAX_BYTES {
            return Err(PatternFault::TooLarge);
        }
        if let Some(regex) = known().get(text).and_then(Weak::upgrade) {
            return Ok(Self(regex));
        }
        let regex = RegexBuilder::new(&translated(text)?)
            .size_limit(MAX_PROGRAM)
            .dfa_size_limit(MAX_CACHE)
            .build()
            .map_err(|error| match matches!(error, regex::Error::CompiledTooBig(_)) {
                true => PatternFault::TooLarge,
                false => PatternFault::Malformed,
            })?;
        let regex = Arc::new(regex);
        let mut known = known();
        if known.len() == known.capacity() {
            known.retain(|_, regex| regex.strong_count() > 0);
        }
        known.insert(text.into(), Arc::downgrade(&regex));
        Ok(Self(regex))
    }

    pub(super) fn finds(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// In the unit of the check's fuel; an engine takes time for each byte.
    pub(super) fn cost(&self, text: &str) -> usize {
        1 + text.len() / 8
    }
}

/// White space of ECMA 262, without brackets.
const SPACE: &str =
    r"\t\n\x0B\x0C\r \u{A0}\u{1680}\u{2000}-\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}";

/// The same pattern in the language of the engine.
fn translated(text: &str) -> Result<String, PatternFault> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    let mut in_class = false;
    let mut first = false;
    let mut item = Item::Other;
    while let Some(c) = chars.next() {
        let at_start = std::mem::take(&mut first);
        if in_class && c != ']' {
            item = item.then(c, chars.peek().copied())?;
        }
        match c {
            '\\' => escape(&mut chars, in_class, &mut out)?,
            '[' if in_class => return Err(PatternFault::Construct),
            '[' => {
                (in_class, first, item) = (true, true, Item::Other);
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            // `[]` and `[^]` are sets in ECMA 262.
            ']' if at_start => return Err(PatternFault::Construct),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' | '-' if in_class && chars.peek() == Some(&c) => return Err(PatternFault::Construct),
            '(' if !in_class => {
                out.push('(');
                if chars.next_if_eq(&'?').is_some() {
                    match chars.next() {
                        Some(':') => out.push_str("?:"),
                        Some(_) | None => return Err(PatternFault::Construct),
                    }
                }
            }
            '.' if !in_class => out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            ']' | '{' | '}' | '^' | '$' | '|' | ')' | '*' | '+' | '?' if !in_class => {
                quantifier(c, &mut chars, &mut out)?
            }
            // The engine leaves white space alone without its flag `x`.
            _ => out.push(c),
        }
    }
    match in_class {
        true => Err(PatternFault::Malformed),
        false => Ok(out),
    }
}

/// What stands before in a set, as far as a `-` behind it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    /// A character: a `-` behind it makes a range.
    One,
    /// `\d`, `\w`, `\s` or the other of one of them.
    Set,
    /// A character and a `-`: the end of the range is missing.
    Range,
    /// Nothing, or a range: a `-` behind it is itself.
    Other,
}

impl Item {
    /// With what follows. A set at either end of a range is an error to some readers, and to the others a `-` that means itself.
    fn then(self, c: char, next: Option<char>) -> Result<Self, PatternFault> {
        let is_set = c == '\\' && next.is_some_and(|next| "dDwWsS".contains(next));
        match (self, c, next) {
            (Self::Range, ..) if is_set => Err(PatternFault::Construct),
            (Self::Range, ..) => Ok(Self::Other),
            // The last character of a set, where it is itself for everybody.
            (Self::One | Self::Set, '-', Some(']')) => Ok(Self::Other),
            (Self::Set, '-', _) => Err(PatternFault::Construct),
            (Self::One, '-', _) => Ok(Self::Range),
            _ if is_set => Ok(Self::Set),
            _ => Ok(Self::One),
        }
    }
}

/// A character with a meaning outside of sets.
fn quantifier(
    c: char,
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    out: &mut String,
) -> Result<(), PatternFault> {
    match c {
        // Readers differ about a bracket that closes nothing.
        ']' | '}' => return Err(PatternFault::Malformed),
        '{' => {
            out.push('{');
            loop {
                match rest.next() {
                    Some(digit) if digit.is_ascii_digit() || digit == ',' => out.push(digit),
                    Some('}') => break,
                    Some(_) | None => return Err(PatternFault::Malformed),
                }
            }
            out.push('}');
        }
        _ => out.push(c),
    }
    // `a**` and `a++` are errors in ECMA 262; a second `?` is the lazy form.
    let repeats = matches!(c, '*' | '+' | '?' | '{');
    if repeats {
        if rest.next_if_eq(&'?').is_some() {
            out.push('?');
        }
        if rest.peek().is_some_and(|next| matches!(next, '*' | '+' | '?' | '{')) {
            return Err(PatternFault::Malformed);
        }
    }
    Ok(())
}

fn escape(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    in_class: bool,
    out: &mut String,
) -> Result<(), PatternFault> {
    let c = rest.next().ok_or(PatternFault::Malformed)?;
    let set = |set: &str, out: &mut String| {
        out.push('[');
        out.push_str(set);
        out.push(']');
    };
    match c {
        'd' => set("0-9", out),
        'D' => set("^0-9", out),
        'w' => set("0-9A-Za-z_", out),
        'W' => set("^0-9A-Za-z_", out),
        's' => set(SPACE, out),
        'S' => set(&format!("^{SPACE}"), out),
        'b' if !in_class => out.push_str(r"(?-u:\b)"),
        't' | 'n' | 'r' | 'f' | 'v' => {
            out.push('\\');
            out.push(c);
        }
        'x' | 'u' => {
            let mut code = 0;
            for _ in 0..if c == 'x' { 2 } else { 4 } {
                let digit =
                    rest.next().and_then(|digit| digit.to_digit(16)).ok_or(PatternFault::Malformed)?;
                code = code << 4 | digit;
            }
            let c = char::from_u32(code).ok_or(PatternFault::Construct)?;
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        _ if c.is_ascii_punctuation() => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        _ => return Err(PatternFault::Construct),
    }
    Ok(())
}
