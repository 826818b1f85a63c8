//! Streams in any split, against a reader that sees the whole.

use super::*;
use crate::mcp::{Id, Limits, ListKind, Version, answer, list};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::borrow::Cow;

type Seen = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Passes everything; what was seen and what came out.
fn pass(chunks: &[&[u8]]) -> (Vec<Seen>, Vec<u8>) {
    let (mut filter, mut out, mut seen) = (Filter::new(1_000), Vec::new(), Vec::new());
    for chunk in chunks {
        let look = |event: Event<'_>| {
            seen.push((event.data.map(<[u8]>::to_vec), event.id.map(<[u8]>::to_vec)));
            Ok(Step::Pass)
        };
        filter.push(chunk, &mut out, look).unwrap();
    }
    (seen, out)
}

fn data(text: &str) -> Seen {
    (Some(text.into()), None)
}

#[test]
fn events() {
    for (stream, expected) in [
        ("data: a\n\n", vec![data("a")]),
        ("data:a\ndata: b\r\ndata:  c\r\rdata\n\n", vec![data("a\nb\n c"), data("")]),
        ("\u{feff}data: a\n\n", vec![data("a")]),
        (
            "id: 1\ndata:\n\nid:2\r\nevent: message\r\ndata: {}\r\n\r\n",
            vec![(Some(vec![]), Some("1".into())), (Some("{}".into()), Some("2".into()))],
        ),
        (": hi\n\n:\r\nretry: 5\n\n", vec![(None, None), (None, None)]),
        ("data: a\n: c\ndata: b\n\ndata: not complete\n", vec![data("a\nb")]),
    ] {
        assert_eq!(pass(&[stream.as_bytes()]).0, expected, "{stream:?}");
    }
}

#[test]
fn comments_and_events_do_not_wait() {
    let (mut filter, mut out) = (Filter::new(100), Vec::new());
    let mut push = |text: &str| {
        out.clear();
        filter.push(text.as_bytes(), &mut out, |_| Ok(Step::Pass)).unwrap();
        String::from_utf8(out.clone()).unwrap()
    };
    assert_eq!(push(": alive\n"), ": alive\n");
    assert_eq!(push("data: 1"), "");
    assert_eq!(push("\n"), "");
    assert_eq!(push("\r"), "data: 1\n\r");
    assert_eq!(push("\n"), "\n", "it belongs to the line end before it");
    assert_eq!(push("\n"), "\n");
    assert_eq!(push("data: 2\r\n\r"), "data: 2\r\n\r");
    assert_eq!(push("\ndata: 3\r"), "\n");
    assert_eq!(push("\n\r\n"), "data: 3\r\n\r\n");
}

#[test]
fn data_is_replaced_and_everything_else_stays() {
    let stream = ": c\nid: 7\ndata: a\ndata: b\nevent: x\n\ndata: keep\r\n\r\ndata: drop\n\n";
    let (mut filter, mut out) = (Filter::new(100), Vec::new());
    let look = |event: Event<'_>| {
        Ok(match event.data {
            Some(b"a\nb") => Step::Replace(b"1\n2".to_vec()),
            Some(b"drop") => Step::Drop,
            Some(_) | None => Step::Pass,
        })
    };
    filter.push(stream.as_bytes(), &mut out, look).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        ": c\nid: 7\ndata: 1\ndata: 2\nevent: x\n\ndata: keep\r\n\r\n"
    );
}

#[test]
fn what_ends_a_stream() {
    let push = |text: &str, bound| {
        let mut out = Vec::new();
        Filter::new(bound).push(text.as_bytes(), &mut out, |_| Ok(Step::Pass)).map(|()| out.len())
    };
    assert_eq!(push("data: 1234\n\n", 12), Ok(12));
    assert!(push("data: 1234\n\n", 11).is_err());
    assert!(push("data: 12345", 10).is_err());
    for twin in ["Data: a\n", "DATA\n", "d\u{200b}ata: x\n", "data : x\n", "\u{feff}\u{feff}data: a\n"] {
        assert!(push(twin, 100).is_err(), "{twin:?}");
    }
    let look = |_: Event<'_>| Err(Fault::malformed("no"));
    assert!(Filter::new(9).push(b"data: a\n\n", &mut Vec::new(), look).is_err());
}

proptest! {
    /// However a stream is cut into chunks, the same events are seen and the same bytes leave, and a replacement lands the same.
    #[test]
    fn any_split(
        parts in proptest::collection::vec(proptest::sample::select(vec!["data: a", "data:b", "data", "id: 1", ": c", "\r", "\n", "\r\n", "\n\n", "event: e", "\r\r", "retry: 1"]), 0..30),
        cuts in proptest::collection::vec(0_usize..200, 0..20), marked: bool,
    ) {
        let stream = format!("{}{}", if marked { "\u{feff}" } else { "" }, parts.concat()).into_bytes();
        // Two fields on one line may be a twin of a known one: that stream ends either way.
        let whole = run(&[&stream]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let split = run(&chunks);
        prop_assert_eq!(&split, &whole);
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&run(&single), &whole);
        let (seen, out) = pass_or_stop(&chunks);
        prop_assert!(stream.starts_with(&out), "what leaves is what came");
        let _ = seen;
    }
}

/// Replaces data that is `a`; the events, what leaves, and whether the stream had to end.
fn run(chunks: &[&[u8]]) -> (Vec<Seen>, Vec<u8>, bool) {
    let (mut filter, mut out, mut seen) = (Filter::new(1_000), Vec::new(), Vec::new());
    for chunk in chunks {
        let look = |event: Event<'_>| {
            seen.push((event.data.map(<[u8]>::to_vec), event.id.map(<[u8]>::to_vec)));
            Ok(if event.data == Some(b"a") { Step::Replace(b"x\ny".to_vec()) } else { Step::Pass })
        };
        if filter.push(chunk, &mut out, look).is_err() {
            return (seen, out, true);
        }
    }
    (seen, out, false)
}

fn pass_or_stop(chunks: &[&[u8]]) -> (usize, Vec<u8>) {
    let (mut filter, mut out, mut seen) = (Filter::new(1_000), Vec::new(), 0);
    for chunk in chunks {
        let look = |_: Event<'_>| {
            seen += 1;
            Ok(Step::Pass)
        };
        if filter.push(chunk, &mut out, look).is_err() {
            break;
        }
    }
    (seen, out)
}

proptest! {
    /// However a stream with a list is cut into chunks, the same of the list is shown: what is permitted.
    #[test]
    fn what_a_list_shows_does_not_depend_on_where_its_stream_is_split(
        names in proptest::collection::vec("[a-c\"\\\\é]{1,3}", 0..5), others in proptest::collection::vec("[a-cé]{1,2}", 0..3),
        end in proptest::sample::select(vec!["\n", "\r\n", "\r"]),
        cuts in proptest::collection::vec(0_usize..800, 0..20), pretty: bool,
    ) {
        let allowed = [others, names.iter().step_by(2).cloned().collect()].concat();
        let tools: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        let mut list = json!({"jsonrpc": "2.0", "id": 7, "result": {"tools": tools}});
        let told = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "é"}});
        let text = if pretty { serde_json::to_string_pretty(&list) } else { serde_json::to_string(&list) }.unwrap();
        let lines: String = text.lines().map(|line| format!("data: {line}{end}")).collect();
        let stream = format!(": c{end}id: 1{end}{lines}{end}event: message{end}data: {told}{end}{end}").into_bytes();
        let whole = shown(&[&stream], &allowed);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&shown(&chunks, &allowed), &whole);
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&shown(&single, &allowed), &whole);
        let messages = pass(&[&whole]).0.into_iter().filter_map(|(data, _)| data);
        let messages: Vec<Value> = messages.map(|data| serde_json::from_slice(&data).unwrap()).collect();
        list["result"]["tools"].as_array_mut().unwrap().retain(|item| allowed.iter().any(|name| item["name"] == name.as_str()));
        prop_assert_eq!(messages, vec![list, told]);
    }
}

/// What leaves of a stream in which lists show what is allowed.
fn shown(chunks: &[&[u8]], allowed: &[String]) -> Vec<u8> {
    let limits = Limits::default();
    let (mut filter, mut out) = (Filter::new(1_000), Vec::new());
    for chunk in chunks {
        let pushed = filter.push(chunk, &mut out, |event| {
            let Some(data) = event.data.filter(|data| !data.is_empty()) else { return Ok(Step::Pass) };
            let answers = answer::read(data, Version::V20251125, limits)?;
            let listed = |id: &Id| (*id == Id::Number(7)).then_some(ListKind::Tools);
            let permits = |_: ListKind, name: &str| allowed.iter().any(|allowed| allowed == name);
            Ok(match list::filter(data, &answers, limits, listed, permits)? {
                Cow::Borrowed(_) => Step::Pass,
                Cow::Owned(data) => Step::Replace(data),
            })
        });
        pushed.unwrap();
    }
    out
}
