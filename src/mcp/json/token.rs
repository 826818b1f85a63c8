//! The tokens of JSON: strings, numbers, words, and the steps from one to the next.

use super::Reader;
use crate::mcp::fault::Fault;
use crate::model::json::Value;
use std::borrow::Cow;

const NO_ESCAPE: Fault = Fault::malformed("an escape is none of JSON's");

/// How many bytes there are before one that does not stand for itself in a string: a quotation mark, a backslash, a control character.
pub(in crate::mcp) fn plain(bytes: &[u8]) -> usize {
    // Most strings are short: a few words find their ends.
    const WORDS: usize = 4;
    // A text of control characters must not be looked through to its end for each of them.
    const AT_ONCE: usize = 1_024;
    let (words, _) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().take(WORDS).enumerate() {
        let ends = ends(u64::from_le_bytes(*word));
        if ends != 0 {
            // The lowest of these bits is that of the first such byte.
            return 8 * at + (ends.trailing_zeros() / 8) as usize;
        }
    }
    let mut before = 8 * words.len().min(WORDS);
    for piece in bytes.get(before..).unwrap_or_default().chunks(AT_ONCE) {
        let end = memchr::memchr2(b'"', b'\\', piece).unwrap_or(piece.len());
        let run = piece.get(..end).unwrap_or_default();
        if holds_control(run) {
            return before + run.iter().position(|byte| *byte < b' ').unwrap_or_default();
        }
        before += end;
        if end < piece.len() {
            break;
        }
    }
    before
}

/// Of eight bytes, the first lowest: the top bit of the first one that ends a run is the lowest bit that is set. Above it there may be
/// bits of others, which a borrow has set.
fn ends(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let below = |word: u64, byte: u8| word.wrapping_sub(ONES * u64::from(byte)) & !word & TOPS;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, b' ') | is(b'"') | is(b'\\')
}

/// Without a branch for each byte, so that the compiler looks at many of them at once.
fn holds_control(bytes: &[u8]) -> bool {
    const AT_ONCE: usize = 32;
    let (pieces, rest) = bytes.as_chunks::<AT_ONCE>();
    let least = pieces.iter().fold([u8::MAX; AT_ONCE], |mut least, piece| {
        least.iter_mut().zip(piece).for_each(|(least, byte)| *least = (*least).min(*byte));
        least
    });
    let any = |bytes: &[u8]| bytes.iter().fold(false, |any, byte| any | (*byte < b' '));
    any(&least) | any(rest)
}

impl<'a> Reader<'a> {
    /// A string. No lone surrogates, no NUL: readers in C end there.
    pub(in crate::mcp) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.count()?;
        self.space();
        if self.next() != Some(b'"') {
            return Err(Fault::malformed("a string is expected"));
        }
        let plain = self.run()?;
        if self.next() == Some(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = String::with_capacity(plain.len() + 16);
        text.push_str(plain);
        loop {
            text.push(self.escape()?);
            text.push_str(self.run()?);
            if self.next() == Some(b'"') {
                return Ok(Cow::Owned(text));
            }
        }
    }

    /// Steps over a string: whatever the grammar allows, also what [`Self::string`] does not.
    pub(super) fn step_over_string(&mut self) -> Result<(), Fault> {
        self.space();
        if self.next() != Some(b'"') {
            return Err(Fault::malformed("a string is expected"));
        }
        loop {
            self.run()?;
            if self.next() == Some(b'"') {
                return Ok(());
            }
            match self.next() {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                Some(b'u') => drop(self.hex()?),
                Some(_) | None => return Err(NO_ESCAPE),
            }
        }
    }

    /// `true`, `false` or `null`.
    pub(super) fn word(&mut self) -> Result<Value, Fault> {
        self.count()?;
        self.space();
        let rest = self.rest();
        for (word, value) in
            [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)]
        {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(Fault::malformed("the body is not JSON"))
    }

    /// A number as it is written: the grammar of RFC 8259 section 6.
    pub(super) fn digits(&mut self) -> Result<&'a str, Fault> {
        self.count()?;
        self.space();
        let start = self.at;
        self.takes(b"-");
        let whole = self.at;
        if self.many_digits()? > 1 && self.text.as_bytes().get(whole) == Some(&b'0') {
            return Err(Fault::ambiguous("a number begins with a zero"));
        }
        if self.takes(b".") {
            self.many_digits()?;
        }
        if self.takes(b"eE") {
            self.takes(b"+-");
            self.many_digits()?;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn many_digits(&mut self) -> Result<usize, Fault> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.at += count;
        match count {
            0 => Err(Fault::malformed("the body is not JSON")),
            count => Ok(count),
        }
    }

    /// The characters up to a quotation mark or an escape.
    fn run(&mut self) -> Result<&'a str, Fault> {
        let rest = self.rest();
        let length = plain(rest.as_bytes());
        match rest.as_bytes().get(length) {
            None => Err(Fault::malformed("the JSON text is cut short")),
            Some(..0x20) => Err(Fault::malformed("a control character stands in a string")),
            Some(_) => {
                self.at += length;
                Ok(rest.get(..length).unwrap_or_default())
            }
        }
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        Ok(match self.next() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => self.code_point()?,
            Some(_) | None => return Err(NO_ESCAPE),
        })
    }

    /// `XXXX` of `\uXXXX`, with the second half where there are two.
    fn code_point(&mut self) -> Result<char, Fault> {
        const LONE: Fault = Fault::ambiguous("a string holds half of a surrogate pair");
        let first = self.hex()?;
        let code = match first {
            0 => return Err(Fault::ambiguous("a string holds a NUL")),
            0xd800..=0xdbff => {
                if self.next() != Some(b'\\') || self.next() != Some(b'u') {
                    return Err(LONE);
                }
                let second = self.hex()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(LONE);
                }
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or(LONE)
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        self.at += 4;
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or(NO_ESCAPE)
    }

    pub(super) fn count(&mut self) -> Result<(), Fault> {
        self.values = self.values.checked_sub(1).ok_or(Fault::too_large("the body holds too many values"))?;
        Ok(())
    }

    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn takes(&mut self, any: &[u8]) -> bool {
        let taken = self.peek().is_some_and(|byte| any.contains(&byte));
        self.at += usize::from(taken);
        taken
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn obvious(bytes: &[u8]) -> usize {
        bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20)).unwrap_or(bytes.len())
    }

    #[test]
    fn a_run_ends_where_it_does_wherever_that_is() {
        for length in [0, 1, 15, 16, 17, 31, 33, 100, 1_023, 1_024, 1_025, 2_050] {
            for end in [b'"', b'\\', 0, 0x1f, b' ', 0x7f, 0x80, 0xff] {
                for at in [0, 1, 15, 16, 17, 40, 1_022, 1_023, 1_024, 1_040, 2_049] {
                    let mut bytes = vec![b'a'; length];
                    if let Some(place) = bytes.get_mut(at) {
                        *place = end;
                    }
                    assert_eq!(plain(&bytes), obvious(&bytes), "{length} {end} {at}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_what_a_look_at_each_byte_finds(bytes in proptest::collection::vec(prop_oneof![20 => 0x20_u8..0x7f, 1 => any::<u8>()], 0..3_000)) {
            prop_assert_eq!(plain(&bytes), obvious(&bytes));
        }
    }
}
