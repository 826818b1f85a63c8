//! The canonical text of arguments (RFC 8785): what is hashed for the audit trail.
//!
//! It writes what `serde_json_canonicalizer` writes, which its tests compare it with, straight from the values that the strict reader
//! made: no map is built anew, and strings are copied in one piece.

use super::json::plain;
use super::number::MAX_SAFE;
use crate::model::json::{Object, Value};
use serde_json::Number;
use std::cmp::Ordering;

/// The canonical text of an object. `sent`: bytes of it as it was sent, which is about as many.
///
/// None for a number that has no canonical text; the strict reader lets none in.
#[must_use]
pub fn text(members: &Object, sent: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(sent);
    object(&mut out, members)?;
    Some(out)
}

/// The canonical text of any value. None where [`text`] would have none.
#[must_use]
pub fn of(given: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    value(&mut out, given)?;
    Some(out)
}

/// As deep as the values are, which the reader bounds.
fn value(out: &mut Vec<u8>, value: &Value) -> Option<()> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(value) => number(out, value)?,
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                self::value(out, item)?;
            }
            out.push(b']');
        }
        Value::Object(members) => object(out, members)?,
    }
    Some(())
}

fn object(out: &mut Vec<u8>, members: &Object) -> Option<()> {
    if members.keys().all(str::is_ascii) {
        // The order of bytes, in which they are.
        return sorted(out, members.iter());
    }
    let mut own: Vec<(&str, &Value)> = members.iter().collect();
    own.sort_unstable_by(|(one, _), (other, _)| order(one, other));
    sorted(out, own.into_iter())
}

fn sorted<'m>(out: &mut Vec<u8>, members: impl Iterator<Item = (&'m str, &'m Value)>) -> Option<()> {
    out.push(b'{');
    for (at, (name, inner)) in members.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        value(out, inner)?;
    }
    out.push(b'}');
    Some(())
}

/// By UTF-16 code units (section 3.2.3).
fn order(one: &str, other: &str) -> Ordering {
    one.encode_utf16().cmp(other.encode_utf16())
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (run, after) = rest.split_at_checked(plain(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(run);
        let Some((byte, after)) = after.split_first() else { break };
        escape(out, *byte);
        rest = after;
    }
    out.push(b'"');
}

/// A quotation mark, a backslash or a control character (section 3.2.2.2).
fn escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend(
                [byte >> 4, byte & 15].into_iter().filter_map(|nibble| DIGITS.get(usize::from(nibble))),
            );
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

fn number(out: &mut Vec<u8>, number: &Number) -> Option<()> {
    match number.as_i64() {
        Some(integer) if integer.unsigned_abs() <= MAX_SAFE.unsigned_abs() => {
            out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
            Some(())
        }
        // As ECMAScript prints a double.
        Some(_) | None => serde_json_canonicalizer::to_writer(number, out).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Content, Limits, Message, body};
    use proptest::prelude::*;
    use serde_json::json;

    fn canonical(members: &Object) -> String {
        String::from_utf8(text(members, 0).unwrap()).unwrap()
    }

    #[test]
    fn it_is_that_of_the_rfc() {
        // RFC 8785 sections 3.2.2 and 3.2.3.
        let given = json!({
            "numbers": [333_333_333.333_333_3_f64, 1e30, 4.50, 2e-3, 0.000_000_000_000_000_000_000_000_001],
            "string": "\u{20ac}$\u{f}\nA'B\"\\\\\"/",
            "literals": [null, true, false],
        });
        assert_eq!(
            canonical(&given.as_object().cloned().unwrap().into()),
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        let given = json!({"\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh", "1": "One",
            "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis"});
        let texts = ["Carriage Return", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"];
        let canonical = canonical(&given.as_object().cloned().unwrap().into());
        let places: Vec<_> = texts.iter().map(|text| canonical.find(text).unwrap()).collect();
        assert!(places.is_sorted(), "{canonical}");
    }

    fn any() -> impl Strategy<Value = serde_json::Value> {
        let text = prop_oneof!["[a-z]{0,40}", "[\\x00-\\x7f]{0,40}", "[\\x00-\\x1f\"\\\\]{0,4}", any_text(),];
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            proptest::bool::ANY.prop_map(serde_json::Value::from),
            (-MAX_SAFE..=MAX_SAFE).prop_map(serde_json::Value::from),
            proptest::num::f64::NORMAL.prop_map(serde_json::Value::from),
            text.clone().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                proptest::collection::vec((text.clone(), inner), 0..8)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Characters on both sides of where UTF-8 and UTF-16 sort differently.
    fn any_text() -> impl Strategy<Value = String> {
        let some = prop_oneof![
            proptest::char::range('\u{d000}', '\u{d7ff}'),
            proptest::char::range('\u{e000}', '\u{ffff}'),
            proptest::char::range('\u{1_0000}', '\u{1_0fff}'),
            proptest::char::any(),
        ];
        proptest::collection::vec(some, 0..6).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn it_is_what_the_library_writes(given in proptest::collection::btree_map("[a-zA-Z\u{e000}\u{10000}]{0,3}", any(), 0..8)) {
            let members: serde_json::Map<String, serde_json::Value> = given.into_iter().collect();
            let wanted = serde_json_canonicalizer::to_string(&members).unwrap();
            prop_assert_eq!(canonical(&members.clone().into()), wanted.clone());
            let value = Value::from(serde_json::Value::Object(members));
            prop_assert_eq!(of(&value), Some(wanted.into_bytes()));
        }
    }

    #[test]
    fn it_is_the_same_however_the_arguments_were_written() {
        let of = |arguments: &str| {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
            );
            let Content::One(Message::Request(request)) =
                body::read(body.as_bytes(), Limits::default()).unwrap()
            else {
                panic!("no request");
            };
            canonical(request.call().arguments.unwrap())
        };
        let one = of(r#"{"b":1.0,"a":"\u00e9\/","c":{"y":[],"x":{}}}"#);
        assert_eq!(one, of("{ \"c\" : {\"x\":{ },\"y\":[ ]},\n\"a\":\"é/\",\"b\":1}"));
        assert_eq!(one, r#"{"a":"é/","b":1,"c":{"x":{},"y":[]}}"#);
    }
}
