//! A reader of JSON text (RFC 8259) that knows one reading only: what another parser could take in another way is refused.
//!
//! It goes over the text once, by place, and copies nothing that it is not asked for: a member can be read as a value, or stepped
//! over with its place remembered. It refuses to know JSON-RPC.
//!
//! Invariants: the text is UTF-8 without a byte order mark; nesting and the number of values are bounded, so that neither stack
//! nor memory is the sender's to choose.

use super::fault::Fault;
use super::number;
use crate::model::json::{Object, Value};
use std::borrow::Cow;
use std::ops::Range;

mod token;

pub(super) use token::plain;

/// Values in one text: an empty list takes two bytes to send and 32 to keep, an object of one member 8 and 80, of two 14 and 440.
const MAX_VALUES: u32 = 100_000;
/// Room for so many members is made at once, when there is a second one.
const USUAL: usize = 8;
/// The deepest nesting that can be configured; each level takes a stack frame.
pub(super) const MAX_DEPTH: u16 = 128;

/// What begins at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Number,
    /// `true`, `false` or `null`.
    Word,
}

/// A place in a JSON text.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u16,
    values: u32,
}

impl<'a> Reader<'a> {
    /// `depth`: how many objects and lists may be inside of each other.
    pub(super) fn new(bytes: &'a [u8], depth: u16) -> Result<Self, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|_| Fault::malformed("the body is not UTF-8"))?;
        if text.starts_with('\u{feff}') {
            return Err(Fault::ambiguous("the body begins with a byte order mark"));
        }
        Ok(Self { text, at: 0, depth: depth.min(MAX_DEPTH), values: MAX_VALUES })
    }

    /// What comes next, after white space.
    pub(super) fn kind(&mut self) -> Result<Kind, Fault> {
        self.space();
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f' | b'n') => Ok(Kind::Word),
            Some(_) => Err(Fault::malformed("the body is not JSON")),
            None => Err(Fault::malformed("the JSON text is cut short")),
        }
    }

    /// The text ends here.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.space();
        match self.at == self.text.len() {
            true => Ok(()),
            false => Err(Fault::ambiguous("something follows the JSON text")),
        }
    }

    /// The place of whatever `read` reads, without the white space before it.
    pub(super) fn place(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<(), Fault>,
    ) -> Result<Range<usize>, Fault> {
        self.space();
        let start = self.at;
        read(self)?;
        Ok(start..self.at)
    }

    /// An object, member by member; `member` reads the value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.within([b'{', b'}'], "an object is expected", |reader| {
            let name = reader.string()?;
            reader.expect(b':')?;
            member(reader, name)
        })
    }

    /// A list, item by item; `item` reads it.
    pub(super) fn array(&mut self, item: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.within([b'[', b']'], "a list is expected", item)
    }

    /// A number that every reader takes for the same one.
    pub(super) fn number(&mut self) -> Result<serde_json::Number, Fault> {
        number::read(self.digits()?)
    }

    /// Steps over a value: well-formed, and nothing more is known about it. Nothing of it is kept, so that it may hold as many values
    /// as it likes, and strings that not every reader can read: NUL, half of a surrogate pair.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        let values = std::mem::replace(&mut self.values, u32::MAX);
        let skipped = self.step_over();
        self.values = values;
        skipped
    }

    fn step_over(&mut self) -> Result<(), Fault> {
        match self.kind()? {
            Kind::Object => self.within([b'{', b'}'], "an object is expected", |reader| {
                reader.step_over_string()?;
                reader.expect(b':')?;
                reader.step_over()
            }),
            Kind::Array => self.array(Self::step_over),
            Kind::Text => self.step_over_string(),
            Kind::Number => self.digits().map(drop),
            Kind::Word => self.word().map(drop),
        }
    }

    /// A value with one reading: see [`super::body`] for what that means.
    pub(super) fn value(&mut self) -> Result<Value, Fault> {
        match self.kind()? {
            Kind::Object => self.members().map(Value::Object),
            Kind::Array => {
                let mut items = Vec::new();
                self.array(|reader| {
                    items.push(reader.value()?);
                    Ok(())
                })?;
                Ok(Value::Array(items))
            }
            Kind::Text => Ok(Value::String(self.string()?.into())),
            Kind::Number => self.number().map(Value::Number),
            Kind::Word => self.word(),
        }
    }

    /// An object with one reading.
    pub(super) fn members(&mut self) -> Result<Object, Fault> {
        self.members_with(|_, _| {})
    }

    /// The same; `see` is told the place of each member's value.
    pub(super) fn members_with(&mut self, mut see: impl FnMut(&str, Range<usize>)) -> Result<Object, Fault> {
        let mut members = Vec::new();
        self.object(|reader, name| {
            reader.space();
            let start = reader.at;
            let value = reader.value()?;
            see(&name, start..reader.at);
            // An object of one member keeps no room for more: a body may hold very many of them.
            match members.len() {
                0 => members.reserve_exact(1),
                1 => members.reserve_exact(USUAL - 1),
                _ => {}
            }
            members.push((name.into(), value));
            Ok(())
        })?;
        let members = Object::new(members).map_err(|_| TWICE)?;
        super::fold::no_twins(members.keys())?;
        Ok(members)
    }

    /// What stands between two brackets, element by element.
    fn within(
        &mut self,
        [open, close]: [u8; 2],
        expected: &'static str,
        mut element: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.count()?;
        self.space();
        if self.next() != Some(open) {
            return Err(Fault::malformed(expected));
        }
        self.depth = self.depth.checked_sub(1).ok_or(Fault::too_large("the body is nested too deep"))?;
        if !self.closes(close) {
            loop {
                element(self)?;
                if !self.goes_on(close)? {
                    break;
                }
            }
        }
        self.depth += 1;
        Ok(())
    }

    /// Whether the bracket closes at once.
    fn closes(&mut self, bracket: u8) -> bool {
        self.space();
        self.takes(&[bracket])
    }

    /// After an element: whether another follows.
    fn goes_on(&mut self, bracket: u8) -> Result<bool, Fault> {
        self.space();
        match self.next() {
            Some(b',') => Ok(true),
            Some(byte) if byte == bracket => Ok(false),
            Some(_) => Err(Fault::malformed("the body is not JSON")),
            None => Err(Fault::malformed("the JSON text is cut short")),
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        self.space();
        match self.next() {
            Some(found) if found == byte => Ok(()),
            Some(_) | None => Err(Fault::malformed("the body is not JSON")),
        }
    }
}

/// One name, two values: first-wins and last-wins readers differ.
pub(super) const TWICE: Fault = Fault::ambiguous("an object has two members with one name");
