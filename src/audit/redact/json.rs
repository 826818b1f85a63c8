//! JSON, token by token: what is taken out depends on the place that a reader would give it, and each of several members with one
//! name has its place. A text that was cut is good up to the last token that is whole.

use super::{Clean, Extent, REDACTED, Rules, Unclear, text};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Deeper texts are not read: each level takes a stack frame.
const DEPTH: u16 = 64;
/// JSON inside of strings inside of JSON.
const NESTED: u8 = 4;

/// One document.
pub(super) fn clean(rules: &Rules, text: &str, extent: Extent) -> Result<Clean, Unclear> {
    scan(rules, text, extent, NESTED, |scan| scan.value())
}

/// Documents one after the other.
pub(super) fn clean_many(rules: &Rules, text: &str, extent: Extent) -> Result<Clean, Unclear> {
    scan(rules, text, extent, NESTED, |scan| {
        while scan.peek().is_some() {
            scan.value()?;
            scan.out.push('\n');
        }
        Ok(())
    })
}

/// A string that is no document of its own: it may hold one all the same.
pub(super) fn clean_string<'a>(rules: &Rules, value: &'a str) -> (Cow<'a, str>, u32) {
    nested(rules, value, NESTED)
}

fn scan(
    rules: &Rules,
    text: &str,
    extent: Extent,
    nested: u8,
    read: impl FnOnce(&mut Scan<'_>) -> Result<(), Stop>,
) -> Result<Clean, Unclear> {
    let mut scan = Scan {
        text,
        at: 0,
        depth: DEPTH,
        rules,
        nested,
        extent,
        path: Vec::new(),
        out: String::with_capacity(text.len()),
        redacted: 0,
    };
    match (read(&mut scan), extent) {
        (Ok(()), _) if scan.peek().is_none() => {}
        (Err(Stop::End), Extent::Cut) => {}
        (Ok(()) | Err(_), _) => return Err(Unclear),
    }
    Ok(Clean { text: scan.out, redacted: scan.redacted })
}

fn nested<'a>(rules: &Rules, value: &'a str, left: u8) -> (Cow<'a, str>, u32) {
    if value.trim_start().starts_with(['{', '[']) {
        let Some(left) = left.checked_sub(1) else { return (Cow::Borrowed(REDACTED), 1) };
        // Pointers are places of the whole document.
        match scan(rules, value, Extent::Whole, left, |scan| scan.value()) {
            Ok(Clean { redacted: 0, .. }) => return (Cow::Borrowed(value), 0),
            Ok(Clean { text, redacted }) => return (Cow::Owned(text), redacted),
            Err(Unclear) => {}
        }
    }
    text::clean(rules, value)
}

/// Why reading ends before the document does.
enum Stop {
    /// It has a flaw.
    Unclear,
    /// Nothing more is there.
    End,
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    depth: u16,
    rules: &'a Rules,
    nested: u8,
    extent: Extent,
    path: Vec<String>,
    out: String,
    redacted: u32,
}

impl<'a> Scan<'a> {
    fn value(&mut self) -> Result<(), Stop> {
        if self.nested == NESTED && self.rules.points_at(&self.path) {
            return self.hidden();
        }
        match self.peek().ok_or(Stop::End)? {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => {
                let (raw, value) = self.string()?;
                match nested(self.rules, &value, self.nested) {
                    (_, 0) => self.out.push_str(raw),
                    (clean, redacted) => {
                        self.redacted += redacted;
                        self.write(&clean);
                    }
                }
                Ok(())
            }
            _ => self.scalar(),
        }
    }

    /// Reads a value and records that there was one.
    fn hidden(&mut self) -> Result<(), Stop> {
        let (mark, before, path) = (self.out.len(), self.redacted, self.path.len());
        // Nothing below is looked for: all of it goes.
        let pointers = std::mem::replace(&mut self.nested, 0);
        let read = match self.peek().ok_or(Stop::End)? {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => self.string().map(drop),
            _ => self.scalar(),
        };
        self.nested = pointers;
        self.out.truncate(mark);
        self.path.truncate(path);
        self.redacted = before + 1;
        read?;
        self.write(REDACTED);
        Ok(())
    }

    fn object(&mut self) -> Result<(), Stop> {
        self.open('{')?;
        if self.peek().ok_or(Stop::End)? == b'}' {
            self.at += 1;
        } else {
            loop {
                self.member()?;
                if !self.goes_on(b'}')? {
                    break;
                }
                self.out.push(',');
            }
        }
        self.close('}');
        Ok(())
    }

    fn member(&mut self) -> Result<(), Stop> {
        if self.peek().ok_or(Stop::End)? != b'"' {
            return Err(Stop::Unclear);
        }
        let (raw, name) = self.string()?;
        if self.peek().ok_or(Stop::End)? != b':' {
            return Err(Stop::Unclear);
        }
        self.at += 1;
        match text::clean(self.rules, &name) {
            (_, 0) => self.out.push_str(raw),
            (clean, redacted) => {
                self.redacted += redacted;
                self.write(&clean);
            }
        }
        self.out.push(':');
        let hides = self.rules.hides(&name);
        self.path.push(name);
        if hides {
            self.hidden()?
        } else {
            self.value()?
        }
        self.path.pop();
        Ok(())
    }

    fn array(&mut self) -> Result<(), Stop> {
        self.open('[')?;
        if self.peek().ok_or(Stop::End)? == b']' {
            self.at += 1;
        } else {
            for index in 0_usize.. {
                self.path.push(index.to_string());
                self.value()?;
                self.path.pop();
                if !self.goes_on(b']')? {
                    break;
                }
                self.out.push(',');
            }
        }
        self.close(']');
        Ok(())
    }

    fn open(&mut self, bracket: char) -> Result<(), Stop> {
        self.depth = self.depth.checked_sub(1).ok_or(Stop::Unclear)?;
        self.at += 1;
        self.out.push(bracket);
        Ok(())
    }

    fn close(&mut self, bracket: char) {
        self.depth += 1;
        self.out.push(bracket);
    }

    /// After an element: whether another follows, or the bracket closes.
    fn goes_on(&mut self, bracket: u8) -> Result<bool, Stop> {
        let next = self.peek().ok_or(Stop::End)?;
        self.at += 1;
        match next {
            b',' => Ok(true),
            next if next == bracket => Ok(false),
            _ => Err(Stop::Unclear),
        }
    }

    /// A number or a word.
    fn scalar(&mut self) -> Result<(), Stop> {
        let rest = self.rest();
        let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let length = rest.bytes().position(|byte| !part(byte)).unwrap_or(rest.len());
        if length == rest.len() && self.extent == Extent::Cut {
            // Who knows how it goes on.
            return Err(Stop::End);
        }
        let token = rest.get(..length).unwrap_or_default();
        serde_json::from_str::<&RawValue>(token).map_err(|_| Stop::Unclear)?;
        self.at += length;
        match text::clean(self.rules, token) {
            (_, 0) => self.out.push_str(token),
            (clean, redacted) => {
                self.redacted += redacted;
                self.write(&clean);
            }
        }
        Ok(())
    }

    /// A string as it is written and as it is read.
    fn string(&mut self) -> Result<(&'a str, String), Stop> {
        let rest = self.rest();
        let mut escaped = false;
        let inside = |byte: &u8| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            !ends
        };
        let length = rest.bytes().skip(1).take_while(inside).count() + 2;
        let raw = rest.get(..length).ok_or(Stop::End)?;
        // Knows every escape, and refuses halves of surrogate pairs.
        let value = serde_json::from_str(raw).map_err(|_| Stop::Unclear)?;
        self.at += length;
        Ok((raw, value))
    }

    fn write(&mut self, value: &str) {
        // A string always has a form in JSON.
        self.out.push_str(&serde_json::to_string(value).unwrap_or_default());
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += self.rest().bytes().take_while(space).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}
