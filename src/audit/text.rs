//! Writing JSON into a byte buffer by hand: the audit line is on the path of every request, and a serializer costs several times
//! what the line itself does.
//!
//! Owns escaping and the formatting of numbers and times. Refuses to know what is written.
//! Invariant: whatever bytes come in, what [`string`] appends is one valid JSON string in plain ASCII or printable Unicode, with
//! nothing that a terminal or a bidirectional renderer would act on (product law 12).

use crate::model::Time;
use std::cell::RefCell;
use std::fmt::Write as _;

/// Appends the decimal digits of `value`.
pub(crate) fn number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends lower-case hexadecimal digits.
pub(crate) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const fn digit(nibble: u8) -> u8 {
        if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) }
    }
    // By pieces on the stack: one growth check for each instead of one for each byte.
    for piece in bytes.chunks(16) {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(piece) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        out.extend_from_slice(digits.get(..2 * piece.len()).unwrap_or_default());
    }
}

/// Length of the part of a time that [`time`] keeps for a whole second: `2026-11-22T10:00:00.`
const SECOND_LEN: usize = 20;

thread_local! {
    /// The last second that this thread formatted. Almost every line of a thread falls into the same second as the one before.
    static SECOND: RefCell<(i64, [u8; SECOND_LEN])> = const { RefCell::new((i64::MIN, [0; SECOND_LEN])) };
}

/// Appends `time` as RFC 3339 in UTC with microseconds: the bytes of its `Display`, faster.
pub(crate) fn time(out: &mut Vec<u8>, time: Time) {
    let micros = time.as_micros();
    let (second, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let cached = SECOND.with_borrow_mut(|(cached, text)| {
        if *cached != second {
            *text = second_text(Time::from_micros(second.saturating_mul(1_000_000)))?;
            *cached = second;
        }
        out.extend_from_slice(text);
        Some(())
    });
    if cached.is_none() {
        // Outside the years that RFC 3339 can write; nothing real comes here.
        out.extend_from_slice(b"1970-01-01T00:00:00.");
    }
    let mut digits = [b'0'; 6];
    let mut rest = fraction;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend_from_slice(&digits);
    out.push(b'Z');
}

fn second_text(second: Time) -> Option<[u8; SECOND_LEN]> {
    let mut text = String::with_capacity(32);
    write!(text, "{second}").ok()?;
    text.as_bytes().get(..SECOND_LEN)?.try_into().ok().filter(|text: &[u8; SECOND_LEN]| text.ends_with(b"."))
}

/// Whether all of `text` is printable ASCII without quote and backslash, so that a JSON string carries it as it is. Eight bytes at
/// a time: nearly every text is plain, and every request's path comes through here.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let strange = |all, word: &[u8; 8]| all | strange_bytes(u64::from_le_bytes(*word));
    words.iter().fold(strange(0, &last), strange) == 0
}

/// Not zero if a byte of `word` is not plain. The top bit of each byte tells; a borrow only ever reaches bytes above one that told.
const fn strange_bytes(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = EACH * 0x80;
    const fn zero(word: u64) -> u64 {
        word.wrapping_sub(EACH) & !word
    }
    let control = word.wrapping_sub(EACH * 0x20) & !word;
    let named = zero(word ^ (EACH * 0x22)) | zero(word ^ (EACH * 0x5c)) | zero(word ^ (EACH * 0x7f));
    (control | named | word) & TOP
}

/// Appends `text` as a JSON string, quotes included. Invalid UTF-8 becomes U+FFFD; controls, quotes, backslashes, line
/// separators, bidirectional controls and invisible characters become `\u` escapes.
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// What [`string`] puts between the quotes.
pub(crate) fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.extend_from_slice(text);
        return;
    }
    for part in text.utf8_chunks() {
        part.valid().chars().for_each(|c| character(out, c));
        if !part.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends as much of `text` as fits in `limit` bytes once escaped, then `marker` if something had to go.
pub(crate) fn escaped_within(out: &mut Vec<u8>, text: &[u8], limit: usize, marker: &str) {
    let start = out.len();
    // An escape is never longer than 12 bytes, so this much input is all that could fit or matter.
    let head = text.get(..limit.saturating_add(1)).unwrap_or(text);
    escaped(out, head);
    if out.len() - start <= limit && head.len() == text.len() {
        return;
    }
    out.truncate(start);
    for part in head.utf8_chunks() {
        let replacement = if part.invalid().is_empty() { "" } else { "\u{fffd}" };
        for c in part.valid().chars().chain(replacement.chars()) {
            let before = out.len();
            character(out, c);
            if out.len() - start > limit {
                out.truncate(before);
                out.extend_from_slice(marker.as_bytes());
                return;
            }
        }
    }
    out.extend_from_slice(marker.as_bytes());
}

fn character(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        c if is_dangerous(c) => {
            let mut units = [0_u16; 2];
            for unit in c.encode_utf16(&mut units) {
                out.extend_from_slice(b"\\u");
                hex(out, &unit.to_be_bytes());
            }
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// What a terminal obeys, a line reader splits at, or a renderer shows in another order or not at all.
const fn is_dangerous(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &[u8]) -> String {
        let mut out = Vec::new();
        string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_a_terminal_or_a_reader_would_act_on_is_escaped() {
        for (text, wanted) in [
            ("/v1/orders", r#""/v1/orders""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\n\r\t\0\u{1b}[31m\u{7f}", r#""\u000a\u000d\u0009\u0000\u001b[31m\u007f""#),
            ("\u{9b}31m\u{85}", r#""\u009b31m\u0085""#),
            ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
            ("\u{202e}\u{2066}\u{200f}\u{61c}\u{feff}", r#""\u202e\u2066\u200f\u061c\ufeff""#),
            ("\u{e0041}", r#""\udb40\udc41""#),
            ("käse 😀", "\"käse 😀\""),
        ] {
            assert_eq!(written(text.as_bytes()), wanted);
        }
        assert_eq!(written(b"a\xff\xfe\x80b\xc0\xaf"), "\"a\u{fffd}\u{fffd}\u{fffd}b\u{fffd}\u{fffd}\"");
    }

    #[test]
    fn each_byte_is_found_at_each_place() {
        for byte in 0..=u8::MAX {
            let wanted = matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
            for place in 0..19 {
                let mut text = [b'a'; 19];
                text[place] = byte;
                assert_eq!(is_plain(&text), wanted, "{byte:#x} at {place}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_valid_string_that_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read: String = serde_json::from_str(&written(&bytes)).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_text_reads_back_and_holds_nothing_dangerous(text in any::<String>()) {
            let line = written(text.as_bytes());
            prop_assert!(!line.chars().any(is_dangerous));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }

        #[test]
        fn truncation_keeps_the_limit_and_valid_json(bytes in proptest::collection::vec(any::<u8>(), 0..300), limit in 0_usize..100) {
            let mut out = Vec::new();
            escaped_within(&mut out, &bytes, limit, "…");
            prop_assert!(out.len() <= limit + "…".len());
            let json = format!("\"{}\"", std::str::from_utf8(&out).unwrap());
            let read: String = serde_json::from_str(&json).unwrap();
            let whole = String::from_utf8_lossy(&bytes);
            prop_assert!(read == whole || whole.starts_with(read.strip_suffix('…').unwrap()), "{} {}", read, whole);
        }

        #[test]
        fn times_are_those_of_display(micros in 0_i64..4_102_444_800_000_000) {
            let mut out = Vec::new();
            time(&mut out, Time::from_micros(micros));
            prop_assert_eq!(String::from_utf8(out).unwrap(), Time::from_micros(micros).to_string());
        }
    }
}
