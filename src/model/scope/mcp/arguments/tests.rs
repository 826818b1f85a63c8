//! Schemas: what is in the subset, what fits, and that the reference implementation of JSON Schema says the same.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn own(arguments: &Value) -> Option<Object> {
    arguments.as_object().cloned().map(Object::from)
}

fn schema(value: Value) -> Schema {
    let shown = value.to_string();
    match Arguments::new(value).unwrap_or_else(|error| panic!("{shown}: {error}")) {
        Arguments::Fit(schema) => schema,
        Arguments::Any => panic!("{shown} is any"),
    }
}

fn refused(value: Value) -> String {
    let shown = value.to_string();
    Arguments::new(value).expect_err(&shown).to_string()
}

fn fits(schema_of: &Value, arguments: &Value) -> bool {
    schema(schema_of.clone()).fits(own(arguments).as_ref())
}

/// A schema for the argument `a` alone.
fn a(of: Value) -> Value {
    json!({"properties": {"a": of}})
}

#[test]
fn what_is_outside_the_subset_is_refused_with_its_place() {
    for (value, says) in [
        (json!(null), "`arguments` is no schema"),
        (json!("true"), "is no schema"),
        (json!([]), "is no schema"),
        (json!(1), "is no schema"),
        (json!(false), "permits nothing"),
        (json!({}), "restricts nothing"),
        (json!({"$ref": "#"}), "`$ref` is no keyword"),
        (json!({"$defs": {}, "type": "object"}), "`$defs`"),
        (json!({"$id": "x", "type": "object"}), "`$id`"),
        (json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}), "`$schema`"),
        (json!({"$dynamicRef": "#x"}), "`$dynamicRef`"),
        (json!({"not": {}}), "`not`"),
        (json!({"unevaluatedProperties": false}), "`unevaluatedProperties`"),
        (json!({"unevaluatedItems": false}), "`unevaluatedItems`"),
        (json!({"patternProperties": {}}), "`patternProperties`"),
        (json!({"if": true, "then": true}), "is no keyword"),
        (json!({"description": "harmless"}), "`description`"),
        (json!({"format": "uri"}), "`format`"),
        (json!({"Type": "object"}), "`Type`"),
        (a(json!({"$ref": "#"})), "`arguments/properties/a/$ref` `$ref`"),
        (a(json!({"items": {"x": 1}})), "`arguments/properties/a/items/x`"),
        (a(json!(null)), "`arguments/properties/a` is no schema"),
        (json!({"type": "objects"}), "`type`"),
        (json!({"type": []}), "`type`"),
        (json!({"type": ["object", "object"]}), "`type`"),
        (json!({"type": null}), "`type`"),
        (json!({"enum": []}), "`enum`"),
        (json!({"enum": [1, 1.0]}), "`enum`"),
        (json!({"enum": {}}), "`enum`"),
        (json!({"allOf": []}), "`allOf`"),
        (json!({"anyOf": {}}), "`anyOf`"),
        (json!({"oneOf": [1]}), "is no schema"),
        (json!({"required": ["a", "a"]}), "`required`"),
        (json!({"required": [1]}), "`required`"),
        (json!({"required": "a"}), "`required`"),
        (json!({"properties": []}), "`properties`"),
        (json!({"minProperties": -1}), "`minProperties`"),
        (json!({"minLength": 1.5}), "`minLength`"),
        (json!({"maxItems": "1"}), "`maxItems`"),
        (json!({"minimum": "1"}), "`minimum`"),
        (json!({"minimum": 9_007_199_254_740_992_i64}), "beyond"),
        (json!({"maximum": 1e300}), "beyond"),
        (json!({"exclusiveMaximum": u64::MAX}), "beyond"),
        (a(json!({"const": 9_007_199_254_740_993_i64})), "beyond"),
        (a(json!({"const": [-0.0]})), "`-0`"),
        (json!({"multipleOf": 0}), "`multipleOf`"),
        (json!({"multipleOf": 0.5}), "`multipleOf`"),
        (json!({"multipleOf": -2}), "`multipleOf`"),
        (json!({"pattern": 1}), "`pattern`"),
        (json!({"pattern": "("}), "is no regular expression"),
        (json!({"pattern": "(?=a)"}), "outside the subset"),
        (json!({"pattern": "(a+){900}{900}"}), "`pattern`"),
        (json!({"pattern": "a".repeat(2_000)}), "too large"),
    ] {
        let error = refused(value.clone());
        assert!(error.contains(says), "{value}: {error}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let nested = |levels: usize| (1..levels).fold(json!({"type": "string"}), |inner, _| a(inner));
    assert!(Arguments::new(nested(MAX_SCHEMA_DEPTH)).is_ok());
    assert!(refused(nested(MAX_SCHEMA_DEPTH + 1)).contains("more than 8 deep"));
    let value = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    assert!(Arguments::new(a(json!({"const": value(MAX_SCHEMA_DEPTH - 2)}))).is_ok());
    assert!(refused(a(json!({"const": value(MAX_SCHEMA_DEPTH - 1)}))).contains("more than 8 deep"));
    assert!(refused(a(json!({"enum": [value(MAX_SCHEMA_DEPTH)]}))).contains("more than 8 deep"));
    let frame = schema(json!({"const": {"a": ""}})).canonical.len();
    let long = |bytes: usize| json!({"const": {"a": "x".repeat(bytes - frame)}});
    assert!(Arguments::new(long(MAX_SCHEMA_BYTES)).is_ok());
    assert!(refused(long(MAX_SCHEMA_BYTES + 1)).contains("more than 8192 bytes"));
    assert!(refused(long(10 * MAX_SCHEMA_BYTES)).contains("more than 8192 bytes"));
}

#[test]
fn one_canonical_form() {
    for (given, canonical) in [
        (
            json!({"type": ["object"], "required": ["b", "a"], "properties": {"b": {}, "a": {"type": ["string", "null"]}}}),
            r#"{"properties":{"a":{"type":["null","string"]},"b":true},"required":["a","b"],"type":"object"}"#,
        ),
        (a(json!({"enum": ["b", 2.0, "a", null]})), r#"{"properties":{"a":{"enum":["a","b",2,null]}}}"#),
        (a(json!({"minimum": 1.0, "maximum": 2.50})), r#"{"properties":{"a":{"maximum":2.5,"minimum":1}}}"#),
        (json!({"properties": {}, "required": [], "type": "object"}), r#"{"type":"object"}"#),
        (a(json!({"properties": {}})), r#"{"properties":{"a":true}}"#),
        (json!({"additionalProperties": {"const": 1e-6}}), r#"{"additionalProperties":{"const":0.000001}}"#),
    ] {
        let schema = schema(given);
        assert_eq!(&*schema.canonical, canonical);
        let again = serde_json::from_str(canonical).unwrap();
        assert_eq!(Arguments::new(again).unwrap(), Arguments::Fit(schema));
    }
}

#[test]
fn what_fits() {
    for (of, fitting, others) in [
        (json!({"type": "string"}), vec![json!(""), json!("x")], vec![json!(1), json!(null), json!(["x"])]),
        (json!({"type": "integer"}), vec![json!(1), json!(1.0), json!(-7)], vec![json!(1.5), json!("1")]),
        (json!({"type": ["number", "null"]}), vec![json!(1.5), json!(null)], vec![json!(true)]),
        // Readers do not agree about these: nothing is known to fit.
        (json!({"type": "integer"}), vec![], vec![json!(9_007_199_254_740_993_i64), json!(u64::MAX)]),
        (json!({"minimum": 0}), vec![json!("x"), json!(0), json!(1e20)], vec![json!(-1), json!(u64::MAX)]),
        (json!({"const": 1}), vec![json!(1), json!(1.0)], vec![json!(true), json!("1"), json!(2)]),
        (
            json!({"const": {"x": [1, 2]}}),
            vec![json!({"x": [1.0, 2]})],
            vec![json!({"x": [2, 1]}), json!({"x": [1, 2], "y": 1})],
        ),
        (
            json!({"enum": ["a", "b", 3, {"k": 1}]}),
            vec![json!("b"), json!(3.0), json!({"k": 1})],
            vec![json!("c"), json!({})],
        ),
        (
            json!({"minLength": 2, "maxLength": 3}),
            vec![json!("é𝄞"), json!("abc"), json!(1)],
            vec![json!("a"), json!("abcd")],
        ),
        (
            json!({"pattern": "^srv-\\d+$"}),
            vec![json!("srv-7"), json!(7)],
            vec![json!("srv-"), json!("srv-7\n"), json!("srv-٣")],
        ),
        (json!({"pattern": "b"}), vec![json!("abc")], vec![json!("ac")]),
        (
            json!({"exclusiveMinimum": 0, "multipleOf": 5}),
            vec![json!(5), json!(10.0)],
            vec![json!(0), json!(7), json!(2.5)],
        ),
        (
            json!({"prefixItems": [{"type": "string"}], "items": false}),
            vec![json!(["a"]), json!([]), json!({})],
            vec![json!([1]), json!(["a", 1])],
        ),
        (
            json!({"items": {"type": "integer"}, "maxItems": 2}),
            vec![json!([1, 2])],
            vec![json!([1, 2, 3]), json!(["a"])],
        ),
        (
            json!({"oneOf": [{"minimum": 0}, {"maximum": 5}], "type": "number"}),
            vec![json!(7), json!(-1)],
            vec![json!(3)],
        ),
        (json!({"anyOf": [{"const": 1}, {"const": 2}]}), vec![json!(2)], vec![json!(3)]),
        (json!({"allOf": [{"minimum": 0}, {"maximum": 5}]}), vec![json!(3)], vec![json!(6)]),
    ] {
        let schema_of = json!({"properties": {"a": of}, "required": ["a"]});
        for value in fitting {
            assert!(fits(&schema_of, &json!({"a": value})), "{of} {value}");
        }
        for value in others {
            assert!(!fits(&schema_of, &json!({"a": value})), "{of} {value}");
        }
    }
    for (of, arguments, expected) in [
        (json!({"type": "object"}), json!(null), true),
        (json!({"type": "string"}), json!({}), false),
        (json!({"required": ["a"]}), json!(null), false),
        (json!({"maxProperties": 1}), json!({"a": 1, "b": 2}), false),
        (json!({"additionalProperties": {"type": "string"}}), json!({"a": "x"}), true),
        (json!({"additionalProperties": {"type": "string"}}), json!({"a": 1}), false),
        (json!({"properties": {"a": false}}), json!({"b": 1}), true),
        (json!({"properties": {"a": false}}), json!({"a": 1}), false),
    ] {
        assert_eq!(fits(&of, &arguments), expected, "{of} {arguments}");
    }
}

#[test]
fn a_check_ends_in_time_and_says_no() {
    let branch = |n: usize| json!({"items": {"pattern": format!("^(a|b|ab)*{n}$")}});
    let wide = json!({"properties": {"a": {"anyOf": (0..150).map(branch).collect::<Vec<_>>()}}});
    let schema = schema(wide);
    let long: Vec<Value> = (0..3).map(|_| Value::from("ab".repeat(200_000))).collect();
    let arguments = json!({"a": long});
    let mut fuel = Fuel::default();
    assert!(!schema.fits(own(&arguments).as_ref()));
    assert!(!schema.node.holds_object(&own(&arguments).unwrap(), &mut fuel) && fuel.is_spent());
    // Not even where a spent check would have come out as a fit.
    let many: Vec<Value> = (0..100_000).map(Value::from).collect();
    let either = json!({"properties": {"a": {"oneOf": [{"items": {"type": "integer", "minimum": 0}}, {"items": {"type": "integer"}}]}}});
    assert!(!fits(&either, &json!({"a": many})));
}

#[test]
fn patterns() {
    for (pattern, found, others) in [
        ("^a.c$", vec!["abc", "aéc"], vec!["a\nc", "a\u{2028}c", "abcd"]),
        ("^[^/]+/(?:x|y){2}$", vec!["a/xy"], vec!["/xy", "a/x"]),
        (r"^\w+\s\S+$", vec!["a_1 é", "a\u{a0}b"], vec!["é b", "a  "]),
        (r"^[\d\-.]+$", vec!["1-2.3"], vec!["a", "٣"]),
        (r"^[\w.-]+$", vec!["a-1.b"], vec!["a/b", "]"]),
        (r"^[-\w.]+$", vec!["a-1.b"], vec!["a/b", "]"]),
        (r"^[+\-\d]+$", vec!["+4-9"], vec!["A", "/"]),
        (r"^[a-f\d]+$", vec!["a9f"], vec!["g", "-"]),
        (r"^[\x61-\u0066x]+$", vec!["afx"], vec!["g", "-"]),
        (r"^\u00e9\x41\/\.\*$", vec!["éA/.*"], vec!["eA/.*"]),
        (r"\bdrop\b", vec!["a drop b"], vec!["dropped"]),
        ("^a{2,3}?$", vec!["aa", "aaa"], vec!["a", "aaaa"]),
        ("^$", vec![""], vec!["\n"]),
    ] {
        let pattern = pattern::Pattern::new(pattern).unwrap_or_else(|fault| panic!("{pattern}: {fault}"));
        assert!(found.iter().all(|text| pattern.finds(text)), "{found:?}");
        assert!(!others.iter().any(|text| pattern.finds(text)), "{others:?}");
    }
    use PatternFault as F;
    for (text, fault) in [
        ("(?=a)", F::Construct),
        ("(?!a)", F::Construct),
        ("(?<=a)", F::Construct),
        ("(?<n>a)", F::Construct),
        ("(?i)a", F::Construct),
        (r"(a)\1", F::Construct),
        (r"\p{L}", F::Construct),
        (r"\A", F::Construct),
        (r"\z", F::Construct),
        (r"\B", F::Construct),
        (r"\ud800", F::Construct),
        ("[a[b]]", F::Construct),
        ("[a&&b]", F::Construct),
        ("[a--b]", F::Construct),
        ("[a~~b]", F::Construct),
        (r"^[\w.-\d]*$", F::Construct),
        (r"[+-\d]", F::Construct),
        (r"[.-\w]", F::Construct),
        (r"[\x2e-\W]", F::Construct),
        (r"[\s-x]", F::Construct),
        (r"[\d-\w]", F::Construct),
        ("[]", F::Construct),
        ("[^]", F::Construct),
        ("[a", F::Malformed),
        ("a)", F::Malformed),
        ("a]", F::Malformed),
        ("a}", F::Malformed),
        ("a{x}", F::Malformed),
        ("a**", F::Malformed),
        ("a+*", F::Malformed),
        ("*a", F::Malformed),
        (r"a\", F::Malformed),
        (r"\u12", F::Malformed),
        ("((((((a{99}){99}){99}){99}){99}){99})", F::TooLarge),
    ] {
        assert_eq!(pattern::Pattern::new(text).err(), Some(fault), "{text}");
    }
}

/// What Python's jsonschema says about a thousand schemas of the subset: see `vectors.py`.
#[test]
fn a_schema_means_what_json_schema_says() {
    let (mut fitting, mut others) = (0, 0);
    for line in include_str!("vectors.jsonl").lines() {
        let (written, verdicts): (Value, Vec<(Value, bool)>) = serde_json::from_str(line).unwrap();
        let of = schema(written.clone());
        let again = schema(serde_json::from_str(&of.canonical).unwrap());
        assert_eq!(of, again);
        for (value, expected) in verdicts {
            let arguments = json!({ "a": value });
            assert_eq!(of.fits(own(&arguments).as_ref()), expected, "{written} {arguments}");
            assert_eq!(again.fits(own(&arguments).as_ref()), expected, "{} {arguments}", of.canonical);
            if expected { fitting += 1 } else { others += 1 }
        }
    }
    assert!(fitting > 500 && others > 500, "{fitting} {others}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3_000) })]

    #[test]
    fn no_pattern_panics(text in "[\\\\\\[\\](){}|^$.*+?a-c0-9,&~:=-]{0,12}") {
        let _ = pattern::Pattern::new(&text);
    }
}
