//! Search against a filter that reads every line.

use super::*;
use crate::audit::pack;
use crate::model::Time;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

const VALUES: [&str; 6] = ["a", "b", "orders", "spiffe://d/agent/x", "é\"\\\n=x", ""];

fn member() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => proptest::sample::select(&VALUES[..]).prop_map(|text| json!(text)),
        2 => Just(Value::Null),
        // What no writer of ours writes: it is found all the same, and spoils the index.
        1 => Just(json!(7)).prop_filter("seldom", |_| true),
    ]
}

fn line() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let names = FIELDS.map(Field::name);
    let members = proptest::collection::vec(member(), names.len());
    (members, 0..50_i64, any::<bool>()).prop_map(move |(values, second, odd)| {
        let mut all: Vec<_> = names.into_iter().zip(values).collect();
        if !odd {
            all.iter_mut().for_each(|(_, value)| {
                if value.is_number() {
                    *value = Value::Null;
                }
            });
        }
        // Where the writer puts it, or elsewhere.
        let at = if odd { all.len() } else { 0 };
        all.insert(at, ("time", json!(time(second).to_string())));
        all.push(("path", json!(format!("/v1/{second}"))));
        all
    })
}

fn time(second: i64) -> Time {
    Time::from_micros(1_795_341_600_000_000 + second * 1_000_000)
}

/// As our writer does: in this order, numbered, on one line.
fn text(seq: usize, line: &[(&str, Value)]) -> String {
    let members: Vec<_> = line.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{\"seq\":{seq},{}}}\n", members.join(","))
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let equal = proptest::collection::vec(
        (proptest::sample::select(&FIELDS[..]), proptest::sample::select(&VALUES[..])),
        0..3,
    );
    let second = || proptest::option::of(0..50_i64);
    let text =
        proptest::option::of(proptest::sample::select(&["/v1/1", "é", "orders", "x", "\"", "7", ""][..]));
    (equal, second(), second(), text).prop_map(|(equal, since, until, text)| {
        let conditions =
            equal.into_iter().fold(Conditions::default(), |all, (field, value)| all.with(field, value));
        let conditions = conditions.between(since.map(time), until.map(time));
        match text {
            Some(text) => conditions.containing(text),
            None => conditions,
        }
    })
}

/// Said again, in the plainest way.
fn naive(conditions: &Conditions, raw: &str) -> bool {
    let line: Value = serde_json::from_str(raw).unwrap();
    let at: Time = line["time"].as_str().unwrap().parse().unwrap();
    let mut texts = Vec::new();
    for value in line.as_object().unwrap().values() {
        match value {
            Value::String(text) => texts.push(text.clone()),
            Value::Number(number) => texts.push(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
    conditions.equal.iter().all(|(field, value)| line[field.name()] == json!(value))
        && conditions.since.is_none_or(|since| since <= at)
        && conditions.until.is_none_or(|until| at < until)
        && conditions.text.as_ref().is_none_or(|text| texts.iter().any(|value| value.contains(text)))
}

fn found(trail: &Path, conditions: &Conditions, order: Order, limit: usize) -> (Vec<String>, Found) {
    let mut hits = Vec::new();
    let found = search(trail, conditions, order, limit, |hit| {
        hits.push(hit.raw);
        ControlFlow::Continue(())
    });
    (hits, found.unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_search_finds_what_a_naive_filter_finds_and_no_index_hides_a_line(
        lines in proptest::collection::vec(line(), 1..40),
        cuts in proptest::collection::btree_set(1..40_usize, 0..4),
        packed in any::<bool>(),
        conditions in conditions(),
        limit in 1..50_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let trail = dir.path().join("audit.jsonl");
        let all: Vec<String> = lines.iter().enumerate().map(|(at, line)| text(at + 1, line)).collect();
        let mut from = 0;
        for cut in cuts.into_iter().filter(|cut| *cut < all.len()) {
            let name = format!("audit-20261122T100000Z-{cut:012}.jsonl");
            std::fs::write(dir.path().join(name), all[from..cut].concat()).unwrap();
            from = cut;
        }
        std::fs::write(&trail, all[from..].concat()).unwrap();
        if packed {
            pack::pack(&trail, &|| false).unwrap();
        }
        let mut wanted: Vec<String> = all.iter().filter(|raw| naive(&conditions, raw)).map(|raw| raw.trim_end().to_owned()).collect();
        let (oldest, told) = found(&trail, &conditions, Order::Oldest, limit);
        prop_assert_eq!(&oldest[..], &wanted[..limit.min(wanted.len())]);
        prop_assert!(told.damaged.is_empty() && (wanted.len() <= limit || told.limited));
        wanted.reverse();
        let (newest, told) = found(&trail, &conditions, Order::Newest, limit);
        prop_assert_eq!(&newest[..], &wanted[..limit.min(wanted.len())]);
        prop_assert!(wanted.len() <= limit || told.limited);
    }
}

fn packed_trail() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let trail = dir.path().join("audit.jsonl");
    for part in 0..3_usize {
        let lines = (1..=100).map(|n| {
            let seq = part * 100 + n;
            text(
                seq,
                &[
                    ("time", json!(time(0).to_string())),
                    ("grant", json!(format!("gr_{seq}"))),
                    ("decision", json!("permit")),
                ],
            )
        });
        let name = format!("audit-20261122T100000Z-{:012}.jsonl", part * 100 + 100);
        std::fs::write(dir.path().join(name), lines.collect::<String>()).unwrap();
    }
    std::fs::write(&trail, "").unwrap();
    pack::pack(&trail, &|| false).unwrap();
    (dir, trail)
}

#[test]
fn segments_are_skipped_by_their_index_and_read_when_it_is_damaged() {
    let (dir, trail) = packed_trail();
    let wanted = Conditions::default().with(Field::Grant, "gr_150");
    let (hits, told) = found(&trail, &wanted, Order::Newest, 10);
    assert_eq!((hits.len(), told.skipped, told.limited), (1, 2, false));
    let index = dir.path().join("audit-20261122T100000Z-000000000200.jsonl.idx");
    let mut bytes = std::fs::read(&index).unwrap();
    // A filter that denies everything, without a digest that vouches for it.
    let end = bytes.len() - 32;
    bytes[56..end].fill(0);
    std::fs::write(&index, bytes).unwrap();
    let (hits, told) = found(&trail, &wanted, Order::Newest, 10);
    assert_eq!((hits.len(), told.skipped), (1, 2));
    std::fs::remove_file(index).unwrap();
    assert_eq!(found(&trail, &wanted, Order::Oldest, 10).0.len(), 1);
}

#[test]
fn a_damaged_segment_is_named_and_the_others_are_searched() {
    let (dir, trail) = packed_trail();
    let packed = dir.path().join("audit-20261122T100000Z-000000000200.jsonl.zst");
    let mut bytes = std::fs::read(&packed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&packed, bytes).unwrap();
    let (hits, told) = found(&trail, &Conditions::default(), Order::Oldest, 1_000);
    assert!(hits.len() >= 200);
    assert_eq!(told.damaged.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&packed]);
}
