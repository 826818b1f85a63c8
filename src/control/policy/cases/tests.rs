//! Table tests themselves: what is refused, and whether those that are shipped would notice a policy that changes.

use super::*;
use cedar_policy::{Policy, PolicyId, PolicySet as CedarSet};
use serde_json::Value;

fn file(name: &str, text: &str) -> PolicyFile {
    PolicyFile { path: name.into(), name: name.into(), text: text.into() }
}

fn shipped() -> (Vec<PolicyFile>, PolicyTests) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies");
    let tests = PolicyTests::load(&folder).unwrap_or_else(|errors| panic!("{errors}"));
    (folder::read(&folder).unwrap(), tests)
}

fn failures(tests: &PolicyTests, set: &PolicySet) -> Vec<String> {
    let failed = tests.run(set).into_iter().filter(|result| !result.differences.is_empty());
    let shown = |result: TestResult| {
        format!("{}:{}: {}: {:?}", result.file.display(), result.line, result.name, result.differences)
    };
    failed.map(shown).collect()
}

#[test]
fn the_policies_that_are_shipped_pass_their_tests() {
    let (files, tests) = shipped();
    let set = PolicySet::of(&files, TimeZone::UTC).unwrap();
    let failed = failures(&tests, &set);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Every way to change one policy a little: left out, without one of its terms, for more actions, for anybody, without a
/// condition, without one part of a condition.
fn changes(policy: &Value) -> Vec<(String, Option<Value>)> {
    let mut all = vec![("left out".to_owned(), None)];
    let terms = policy["annotations"].as_object().unwrap().keys();
    for name in terms.filter(|name| !matches!(name.as_str(), "id" | "because" | "description")) {
        let mut changed = policy.clone();
        changed["annotations"].as_object_mut().unwrap().remove(name);
        all.push((format!("without @{name}"), Some(changed)));
    }
    for part in ["principal", "action", "resource"] {
        if policy[part]["op"] != "All" {
            let mut changed = policy.clone();
            changed[part] = serde_json::json!({"op": "All"});
            all.push((format!("for every {part}"), Some(changed)));
        }
    }
    for (at, condition) in policy["conditions"].as_array().unwrap().iter().enumerate() {
        let mut changed = policy.clone();
        changed["conditions"].as_array_mut().unwrap().remove(at);
        all.push((format!("without condition {at}"), Some(changed)));
        for (what, body) in shorter(&condition["body"]) {
            let mut changed = policy.clone();
            changed["conditions"][at]["body"] = body;
            all.push((format!("condition {at} without {what}"), Some(changed)));
        }
    }
    all
}

/// An expression with one side of an `&&` or `||` left out, each in turn.
fn shorter(body: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for operator in ["&&", "||"] {
        let Some(sides) = body.get(operator) else { continue };
        for (dropped, kept) in [("left", "right"), ("right", "left")] {
            all.push((sides[dropped].to_string(), sides[kept].clone()));
        }
        for side in ["left", "right"] {
            for (what, less) in shorter(&sides[side]) {
                let mut changed = body.clone();
                changed[operator][side] = less;
                all.push((what, changed));
            }
        }
    }
    all
}

/// A change that changes nothing: a method names its protocol already.
fn is_idle(what: &str) -> bool {
    what.contains(r#""attr":"protocol""#)
}

#[test]
fn every_change_of_a_policy_that_is_shipped_fails_a_test() {
    let (files, tests) = shipped();
    let (mut tried, mut unnoticed) = (0, Vec::new());
    for (at, file) in files.iter().enumerate() {
        let all: CedarSet = file.text.parse().unwrap();
        for policy in all.policies() {
            let name = policy.annotation("id").unwrap();
            for (what, change) in changes(&policy.to_json().unwrap()) {
                let others = all.policies().filter(|other| other.id() != policy.id()).cloned();
                let changed =
                    change.map(|json| Policy::from_json(Some(PolicyId::new("changed")), json).unwrap());
                let text: Vec<String> =
                    others.chain(changed).map(|policy| policy.to_cedar().unwrap()).collect();
                let mut files = files.clone();
                files[at].text = text.join("\n");
                // What the schema refuses is noticed at load.
                let Ok(set) = PolicySet::of(&files, TimeZone::UTC) else { continue };
                tried += 1;
                if !is_idle(&what) && failures(&tests, &set).is_empty() {
                    unnoticed.push(format!("{name}: {what}"));
                }
            }
        }
    }
    assert!(unnoticed.is_empty(), "{} of {tried}:\n{}", unnoticed.len(), unnoticed.join("\n"));
    assert!(tried > 100, "only {tried} changes were tried");
}

const WORLD: &str = r#"
[given]
scope = ["orders:GET:/v1/orders/*"]
time = "2026-11-25T10:00:00Z"
[given.requester]
id = "spiffe://d/a"
[given.services.orders]
owner = "group:payments"
"#;

fn wrong(text: &str) -> Vec<String> {
    let errors = PolicyTests::of(&[file("t.toml", text)]).expect_err(text);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_not_understood_is_an_error_with_its_line() {
    let expect = |case: &str, errors: &[&str]| {
        let found = wrong(&format!("{WORLD}{case}"));
        assert_eq!(found.len(), errors.len(), "{case}: {found:#?}");
        for (found, error) in found.iter().zip(errors) {
            assert!(found.contains(error), "{case}: {found} has no {error}");
        }
    };
    expect("", &["case: missing: write `[[case]]`"]);
    expect("[[case]]", &["t.toml:9: case[0].name: missing", "t.toml:9: case[0].expect: missing"]);
    let case = "[[case]]\nname = \"a\"\n";
    expect(
        &format!("{case}expect = {{}}"),
        &["case[0].expect.outcome: missing: `granted`, `approval` or `denied`"],
    );
    let denied = format!("{case}expect = {{ outcome = \"denied\" }}\n");
    expect(&format!("{denied}{denied}"), &["t.toml:13: case[1].name: is the name of a test before it"]);
    for (line, error) in [
        ("without = [\"source\"]", "t.toml:12: case[0].without[0]: is not given"),
        ("without = [\"requester.id\"]", "is not given"),
        (
            "given.tme = \"2026-11-25T10:00:00Z\"",
            "t.toml:12: case[0].given.tme: unknown key; did you mean `time`?",
        ),
        ("given.time = \"yesterday\"", "t.toml:12: case[0].given.time: `yesterday`: expected a time"),
        ("given.scope = [\"orders\"]", "t.toml:12: case[0].given.scope[0]"),
        ("given.source = \"here\"", "expected an address"),
        ("given.requester.risk = \"none\"", "t.toml:12: case[0].given.requester.risk"),
        ("given.action = \"read\"", "t.toml:12: case[0].given.action"),
        ("given.services.stock = {}", "`given.services.stock.owner` is missing"),
        ("given.history.refusals = 1", "t.toml:12: case[0].given.history.refusals: unknown key"),
        ("given.principal.kind = \"human\"", "`given.principal.id` is missing"),
        ("given = { action = \"extend\", plan_step = 1 }", "goes with the action `request` only"),
    ] {
        expect(&format!("{denied}{line}"), &[error]);
    }
    for (expected, error) in [
        ("outcome = \"allowed\"", "t.toml:11: case[0].expect.outcome"),
        ("outcome = \"granted\", because = \"x\"", "case[0].expect.because: only what is denied"),
        ("outcome = \"denied\", terms = {}", "case[0].expect.terms: what is denied has no terms"),
        ("outcome = \"approval\", terms = {}", "an approval has `approvers`"),
        ("outcome = \"granted\", terms = { approvers = \"1 of owner\" }", "expect `approval`"),
        (
            "outcome = \"granted\", terms = { max_tll = \"5m\" }",
            "case[0].expect.terms.max_tll: @max_tll is not known",
        ),
        ("outcome = \"granted\", terms = { pin_source = false }", "expected what the annotation says"),
        ("outcome = \"granted\", terms = { because = \"x\" }", "belongs on a `forbid`"),
    ] {
        expect(&format!("{case}expect = {{ {expected} }}"), &[error]);
    }
    let nothing = wrong("[[case]]\nname = \"a\"\nexpect.outcome = \"denied\"");
    assert_eq!(nothing.len(), 3, "{nothing:#?}");
    assert!(wrong("given =")[0].contains("not TOML"), "a file that is no TOML");
}

#[test]
fn what_is_decided_otherwise_fails_and_says_how() {
    let text = format!(
        "{WORLD}[[case]]\nname = \"a\"\nexpect = {{ outcome = \"granted\", policies = [\"x\"], terms = {{}} }}\n\
         [[case]]\nname = \"b\"\ngiven.scope = [\"orders:PUT:/x\"]\nexpect = {{ outcome = \"denied\", because = \"never\" }}"
    );
    let tests = PolicyTests::of(&[file("t.toml", &text)]).unwrap_or_else(|problems| panic!("{problems:?}"));
    let policies =
        "@id(\"p\") @max_ttl(\"5m\") permit(principal, action, resource) when { context.method == \"GET\" };";
    let set = PolicySet::of(&[file("a.cedar", policies)], TimeZone::UTC).unwrap();
    let results = tests.run(&set);
    let lines: Vec<usize> = results.iter().map(|result| result.line).collect();
    assert_eq!(lines, [9, 12]);
    assert_eq!(
        results[0].differences,
        ["expected the policies x, was p", "expected the terms {}, was {\"max_ttl\":\"5m\"}"]
    );
    assert_eq!(
        results[1].differences,
        ["expected because of `never`, was no policy permits `PUT` at `orders`"]
    );
    assert_eq!((results[0].outcome(), results[1].outcome()), (Outcome::Granted, Outcome::Denied));
}
