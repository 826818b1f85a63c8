//! What must not be in a recording is not there, however it is spelt.

use super::body::Recorded;
use super::{Body, Clean, Extent, REDACTED, Reading, Rules, form, json};
use crate::config::{JsonPointer, KeyName, Pattern, Redaction};
use http::HeaderMap;
use proptest::prelude::*;

fn rules() -> Rules {
    let default = Redaction::default();
    let keys = default.keys.iter().cloned().chain(KeyName::new("iban"));
    let patterns = default.patterns.iter().cloned().chain(Pattern::new("sk-[a-z0-9]{8}"));
    let pointers = ["/user/pin", "/list/*/ssn"].iter().filter_map(|text| JsonPointer::new(text));
    Rules::new(&Redaction {
        pointers: pointers.collect(),
        keys: keys.collect(),
        patterns: patterns.collect(),
    })
}

fn body(reading: Reading, text: &str) -> Recorded {
    Body::of(&rules(), reading, text.as_bytes(), (text.len() as u64, Extent::Whole), false).recorded
}

fn text(reading: Reading, from: &str) -> String {
    match body(reading, from) {
        Recorded::Text { text, .. } => text,
        other @ (Recorded::Raw { .. } | Recorded::Digest { .. }) => panic!("{from}: {other:?}"),
    }
}

fn is_digest(reading: Reading, from: &str) -> bool {
    matches!(body(reading, from), Recorded::Digest { .. })
}

#[test]
fn names_lose_what_is_matched_and_parameters_that_are_named() {
    let rules = rules();
    for (from, to) in [
        ("restart_service", "restart_service"),
        ("secret://vault/billing", "secret://vault/billing"),
        ("log://a?x=1&y=2#z", "log://a?x=1&y=2#z"),
        ("log://a%2", "log://a%2"),
        ("keys://sk-abcd1234/a", "keys://[redacted]/a"),
        ("keys://%73k-abcd1234/a%20b", "keys://[redacted]/a b"),
        ("keys://a%2/sk-abcd1234", "keys://a%2/[redacted]"),
        ("log://a?x=1&access_token=hunter2&y=2", "log://a?x=1&access_token=[redacted]&y=2"),
        ("log://a?tok%65n=hunter2?3#z", "log://a?tok%65n=[redacted]#z"),
        ("log://a?token=hunter2&b=sk-abcd1234", "log://a?token=[redacted]&b=[redacted]"),
        ("app://cb#access_token=x", "app://cb#access_token=[redacted]"),
        ("app://cb#part", "app://cb#part"),
    ] {
        assert_eq!(rules.clean_name(from), to, "{from}");
    }
}

#[test]
fn json_loses_what_is_named_pointed_at_or_matched() {
    for (from, to) in [
        (r#"{"a":1,"password":"hunter2"}"#, r#"{"a":1,"password":"[redacted]"}"#),
        (r#"{ "pass\u0077ord" : "hunter2" }"#, r#"{"pass\u0077ord":"[redacted]"}"#),
        (r#"{"Password":{"is":["hunter2"]}}"#, r#"{"Password":"[redacted]"}"#),
        (r#"{"ｐａｓｓｗｏｒｄ":1}"#, r#"{"ｐａｓｓｗｏｒｄ":"[redacted]"}"#),
        (
            r#"{"dbPassword2":1,"X-API-Key":2,"max_tokens":3}"#,
            r#"{"dbPassword2":"[redacted]","X-API-Key":"[redacted]","max_tokens":3}"#,
        ),
        // Readers differ in which of two counts.
        (r#"{"token":"a","x":1,"token":"b"}"#, r#"{"token":"[redacted]","x":1,"token":"[redacted]"}"#),
        (r#"{"user":{"pin":1},"pin":2}"#, r#"{"user":{"pin":"[redacted]"},"pin":2}"#),
        (r#"{"user":1,"user":{"pin":{"a":1}}}"#, r#"{"user":1,"user":{"pin":"[redacted]"}}"#),
        (
            r#"{"list":[{"ssn":1},{"ssn":"x"},[]]}"#,
            r#"{"list":[{"ssn":"[redacted]"},{"ssn":"[redacted]"},[]]}"#,
        ),
        (r#"["key sk-abcd1234 here"]"#, r#"["key [redacted] here"]"#),
        (r#"["\u0073k-abcd1234"]"#, r#"["[redacted]"]"#),
        (r#"{"sk-abcd1234":1}"#, r#"{"[redacted]":1}"#),
        (
            r#"["DB_PASSWORD2=hunter2", "password1: hunter2"]"#,
            r#"["DB_PASSWORD2=[redacted]","password1: [redacted]"]"#,
        ),
        (r#"["password_2 = hunter2\npassword'3'"]"#, r#"["password_2 = [redacted]\npassword'3'"]"#),
        (r#"["Authorization: Basic dXNlcjpwYXNz"]"#, r#"["Authorization: [redacted]"]"#),
        (r#"["see https://x/?token=abc&y=1"]"#, r#"["see https://x/?token=[redacted]"]"#),
        // JSON inside of strings, as tools give it back.
        (
            r#"{"text":"{\"password\":\"hunter2\",\"a\":1}"}"#,
            r#"{"text":"{\"password\":\"[redacted]\",\"a\":1}"}"#,
        ),
        (r#"{"text":"out: {\"password\": \"hunter2\"}"}"#, r#"{"text":"out: {\"password\": [redacted]"}"#),
        (" [ 1 , -2.5e3 , true , null , \"\" , { } ] ", r#"[1,-2.5e3,true,null,"",{}]"#),
    ] {
        assert_eq!(text(Reading::Json, from), to);
    }
}

#[test]
fn what_has_no_single_reading_is_told_by_its_digest() {
    for from in [
        "{\"password\":\"hunter2\"",
        "{'password':'hunter2'}",
        "{\"a\":1} {\"b\":2}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "[1 2]",
        "{\"a\":01}",
        "{\"a\":nul}",
        "[\"\\ud800\"]",
        "[\"\u{1}\"]",
        "// c\n{}",
        "\u{feff}{}",
        "",
        &"[".repeat(65),
    ] {
        assert!(is_digest(Reading::Json, from), "{from}");
    }
    let latin = [b'"', 0xe9, b'"'];
    let recorded = Body::of(&rules(), Reading::Json, &latin, (3, Extent::Whole), false).recorded;
    assert!(matches!(recorded, Recorded::Digest { digested: 3, .. }));
    let raw = Body::of(&rules(), Reading::Opaque, &latin, (3, Extent::Whole), true).recorded;
    assert!(matches!(raw, Recorded::Raw { .. }), "as the configuration says");
    for (reading, from) in [
        (Reading::Opaque, "hello"),
        (Reading::Untold, "hello"),
        (Reading::Text, "{\"password\":\n {\"is\":\"hunter2\"}"),
        (Reading::Form, "{\"password\":\"hunter2\"}"),
        (Reading::Form, "a=%zz"),
        (Reading::Form, "a=%ff"),
        // UTF-16 that is UTF-8 as well.
        (Reading::Text, "p\0a\0s\0s\0w\0o\0r\0d\0=\0x\0"),
        (Reading::Form, "\0p\0w\0d\0=\0x"),
        (Reading::Events, "d\0a\0t\0a\0:\0x\0\n\0\n\0"),
        (Reading::Documents, "{}\0"),
    ] {
        assert!(is_digest(reading, from), "{from}");
    }
}

#[test]
fn forms_and_queries_are_judged_decoded() {
    for (from, to) in [
        ("a=1&password=hunter2&b", "a=1&password=[redacted]&b"),
        ("p%61ssword=hunter2", "password=[redacted]"),
        ("user%5Bpass+word%5D=x", "user%5Bpass+word%5D=[redacted]"),
        ("q=%73k-abcd1234+x", "q=[redacted]+x"),
        ("q=%7B%22token%22%3A%22x%22%7D", "q=%7B%22token%22:%22[redacted]%22%7D"),
        ("token=a&token=b&=c", "token=[redacted]&token=[redacted]&=c"),
        ("", ""),
    ] {
        assert_eq!(form::clean(&rules(), from).unwrap().text, to);
    }
}

#[test]
fn text_and_events_lose_named_lines_and_matches() {
    let from = "user: ann\nPassword = hunter2 or so\napi-key:\n  abc\n-----BEGIN PRIVATE KEY-----\nAAA\n-----END PRIVATE KEY-----\nend";
    let to = "user: ann\nPassword = [redacted]\napi-key:\n  [redacted]\n[redacted]\nend";
    assert_eq!(text(Reading::Text, from), to);
    let from = "event: message\r\ndata: {\"token\":\r\ndata: \"x\"}\r\n\r\n: token: y\rdata: {no\r\rdata: plain sk-abcd1234\n\n";
    let to = "event: message\ndata: {\"token\":\"[redacted]\"}\n\n: token: [redacted]\ndata: [redacted]\n\ndata: plain [redacted]\n\n";
    assert_eq!(text(Reading::Events, from), to);
}

#[test]
fn a_text_that_was_cut_is_recorded_as_far_as_it_is_certain() {
    let cut = |reading, text: &str| {
        let length = text.len() as u64;
        let beyond = Body::of(&rules(), reading, text.as_bytes(), (length + 1, Extent::Whole), false);
        // It makes no difference to what is read why there is no more.
        let broken = Body::of(&rules(), reading, text.as_bytes(), (length, Extent::Cut), false);
        assert_eq!(beyond.recorded, broken.recorded);
        beyond
    };
    let whole = r#"{"a":"x","password":"hunter2","b":[1,{"c":"sk-abcd1234"}]}"#;
    for end in 0..whole.len() {
        let body = cut(Reading::Json, &whole[..end]);
        assert!(body.truncated);
        let Recorded::Text { text, .. } = body.recorded else { panic!("{end}") };
        for secret in ["hunt", "sk-a", "1234"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert!(matches!(cut(Reading::Text, "user sk-abcd").recorded, Recorded::Digest { .. }));
    assert!(matches!(cut(Reading::Form, "q=sk-abcd").recorded, Recorded::Digest { .. }));
    let Recorded::Text { text, .. } = cut(Reading::Events, "data: a\n\ndata: sk-abcd").recorded else {
        panic!()
    };
    assert_eq!(text, "data: a\n\n");
    let body = cut(Reading::Json, "[\"é").recorded;
    assert!(matches!(body, Recorded::Text { text, .. } if text == "["));
}

#[test]
fn what_is_too_long_in_its_new_form_is_cut() {
    let from = format!("[{}]", vec!["\"a\""; 100].join(","));
    let whole = (from.len() as u64, Extent::Whole);
    let body = Body::of(&rules(), Reading::Json, from.as_bytes(), whole, false).within(100);
    assert!(body.truncated && serde_json::to_string(&body).unwrap().len() < 220);
}

#[test]
fn the_fields_of_a_message_say_how_it_is_read() {
    let reading = |fields: &[(&'static str, &'static str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        Reading::of(&map)
    };
    for (value, wanted) in [
        ("application/json", Reading::Json),
        ("Application/JSON; charset=\"UTF-8\"", Reading::Json),
        ("application/problem+json", Reading::Json),
        ("application/json; charset=utf-16", Reading::Opaque),
        ("text/plain; charset =utf-16", Reading::Opaque),
        ("text/plain; charset = \"utf-8\"", Reading::Text),
        ("text/plain;charset=us-ascii", Reading::Text),
        ("text/html", Reading::Opaque),
        ("application/grpc", Reading::Opaque),
        ("application/grpc+json", Reading::Json),
        ("multipart/form-data; boundary=x", Reading::Opaque),
        ("text/event-stream", Reading::Events),
    ] {
        assert_eq!(reading(&[("content-type", value)]), wanted, "{value}");
    }
    assert_eq!(reading(&[]), Reading::Untold);
    let json = ("content-type", "application/json");
    assert_eq!(reading(&[json, ("content-encoding", "identity")]), Reading::Json);
    assert_eq!(reading(&[json, ("content-encoding", "gzip")]), Reading::Opaque);
    assert_eq!(reading(&[json, json]), Reading::Opaque, "two of them");
}

/// A JSON value, in which every place that must be redacted holds the secret and no other does; with its text in a random spelling.
fn document() -> impl Strategy<Value = String> {
    const SECRET: &str = "hunter2zz";
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("null".to_owned()),
        "[a-z ]{0,8}".prop_map(|text| spelt(&text, 0)),
        any::<u64>().prop_map(|seed| spelt(&format!("see sk-{} now", &SECRET[..8]), seed)),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let name = prop_oneof![
            "[a-f]{1,3}",
            Just("token".to_owned()),
            Just("user_PASSWORD".to_owned()),
            Just("iban".to_owned())
        ];
        let member = (name, inner.clone(), any::<u64>()).prop_map(|(name, value, seed)| {
            let hidden = ["token", "user_PASSWORD", "iban"].contains(&name.as_str());
            let nested = format!("{{\"a\":[{}]}}", spelt(SECRET, seed >> 1));
            let value = match (hidden, seed & 1) {
                (true, 0) => spelt(SECRET, seed),
                (true, _) => nested,
                (false, _) => value,
            };
            format!("{} :{value}", spelt(&name, seed))
        });
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[ {} ]", items.join(" ,"))),
            prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(", "))),
            // JSON in a string.
            inner.prop_map(|value| spelt(&format!("[{value}]"), 0)),
        ]
    })
}

/// A JSON string, with escapes where a bit of `seed` is set.
fn spelt(text: &str, seed: u64) -> String {
    let mut out = "\"".to_owned();
    for (index, c) in text.chars().enumerate() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if seed >> (index % 64) & 1 == 1 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Every string of a text, decoded as often as it can be.
fn strings(text: &str, all: &mut String) {
    fn walk(value: &serde_json::Value, all: &mut String) {
        match value {
            serde_json::Value::String(text) => {
                all.push_str(text);
                all.push('\n');
                strings(text, all);
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, all)),
            serde_json::Value::Object(members) => members.values().for_each(|value| walk(value, all)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
        }
    }
    if let Ok(value) = serde_json::from_str(text) {
        walk(&value, all);
    }
}

proptest! {
    #[test]
    fn a_redacted_secret_is_in_no_spelling_of_what_is_recorded(text in document(), end in any::<prop::sample::Index>()) {
        let rules = rules();
        let Clean { text: clean, .. } = json::clean(&rules, &text, Extent::Whole).unwrap();
        let mut all = clean.clone();
        strings(&clean, &mut all);
        prop_assert!(!all.contains("hunter2"), "{text} -> {clean}");
        // Whatever is said of it elsewhere is as it was.
        let before: serde_json::Value = serde_json::from_str(&text).unwrap();
        let after: serde_json::Value = serde_json::from_str(&clean).unwrap();
        if !text.contains("\\u") && !text.contains("hunter2") && !clean.contains(REDACTED) {
            prop_assert_eq!(before, after);
        }
        // And no part of it is in what is recorded of a part.
        let end = end.index(text.len() + 1);
        if text.is_char_boundary(end) {
            let cut = json::clean(&rules, &text[..end], Extent::Cut).unwrap();
            prop_assert!(!cut.text.contains("hunt"), "{} -> {}", &text[..end], cut.text);
        }
    }

    #[test]
    fn no_text_makes_it_panic_or_say_more(text in "\\PC{0,60}", length in 0_u64..80) {
        let rules = rules();
        for reading in [Reading::Json, Reading::Documents, Reading::Form, Reading::Events, Reading::Text, Reading::Untold] {
            let sent = (length.max(text.len() as u64), Extent::Whole);
            let body = Body::of(&rules, reading, text.as_bytes(), sent, false);
            if let Recorded::Text { text: clean, .. } = body.recorded {
                prop_assert!(!clean.contains("sk-abcd1234"));
            }
        }
    }
}
