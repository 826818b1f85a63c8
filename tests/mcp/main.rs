//! The strict reader of MCP bodies against readers that others use: whatever it accepts, they accept, and read the same.
//!
//! Some thousand bodies are made from a fixed seed: honest ones, and the same with one thing wrong. Node (`JSON.parse`, last member
//! wins), Python (`json.loads`: last wins; first wins; names folded) and serde_json read those that were accepted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking; clippy's exceptions for tests do not reach helpers outside #[test]"
)]

mod corpus;

use corpus::Body;
use jitgate::mcp::{Content, Limits, Message, Request, body};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

const BODIES: usize = 6_000;

fn read(body: &Body) -> Option<Request> {
    match body::read(&body.bytes, Limits::default()).ok()? {
        Content::One(Message::Request(request)) => Some(request),
        Content::One(_) | Content::Batch(_) => panic!("only requests are made here: {body}"),
    }
}

/// What the reader says of an accepted body, as one value.
fn own(request: &Request) -> Value {
    let call = request.call();
    serde_json::json!({"id": request.id(), "method": call.method, "params": request.params()})
}

/// Numbers by value: readers print one number in several ways.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        (one, other) => one == other,
    }
}

/// Gives each body to a program, one line of hexadecimal digits each, and takes one line of JSON for each.
fn asked(program: &str, arguments: &[&str], bodies: &[&Body]) -> Vec<Value> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("`{program}` is needed for this test: {error}"));
    let lines: String = bodies.iter().map(|body| format!("{}\n", body.hex())).collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), bodies.len(), "{program}");
    answers
}

const NODE: &str = r"
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
for (const line of require('fs').readFileSync(0, 'utf8').split('\n').slice(0, -1)) {
  let out = null;
  try {
    const { id, method, params } = JSON.parse(decoder.decode(Buffer.from(line, 'hex')));
    out = { id, method, params };
  } catch (error) {}
  console.log(JSON.stringify(out));
}";

const PYTHON: &str = r"
import json, sys, unicodedata
def first(pairs):
    members = {}
    for name, value in pairs:
        members.setdefault(name, value)
    return members
def folded(pairs):
    return {unicodedata.normalize('NFKC', unicodedata.normalize('NFKC', name).casefold()): value for name, value in pairs}
def shown(text, hook):
    message = json.loads(text, object_pairs_hook=hook)
    return {'id': message['id'], 'method': message['method'], 'params': message.get('params')}
for line in sys.stdin:
    try:
        text = bytes.fromhex(line.strip()).decode('utf-8')
        out = [shown(text, None), shown(text, first), shown(text, folded)]
    except Exception:
        out = None
    print(json.dumps(out))
";

#[test]
fn whatever_is_accepted_reads_the_same_in_node_in_python_and_in_serde() {
    let bodies = corpus::bodies(BODIES);
    let accepted: Vec<(&Body, Value)> =
        bodies.iter().filter_map(|body| read(body).map(|request| (body, own(&request)))).collect();
    let share = accepted.len() * 100 / bodies.len();
    assert!((35..95).contains(&share), "{share} % are accepted: the corpus shows one side alone");
    let only: Vec<&Body> = accepted.iter().map(|(body, _)| *body).collect();
    for ((body, own), node) in accepted.iter().zip(asked("node", &["-e", NODE], &only)) {
        assert!(same(own, &node), "{body}\n{own}\n{node}");
    }
    for ((body, own), python) in accepted.iter().zip(asked("python3", &["-c", PYTHON], &only)) {
        let Value::Array(readings) = &python else { panic!("Python does not read {body}") };
        assert!(same(own, &readings[0]) && same(own, &readings[1]), "{body}\n{own}\n{python}");
        // A reader that folds names finds the same under the names of the protocol.
        let by_folding = &readings[2];
        assert!(same(&own["id"], &by_folding["id"]) && own["method"] == by_folding["method"], "{body}");
        let (ours, theirs) = (&own["params"], &by_folding["params"]);
        assert!(ours["name"] == theirs["name"] && ours["uri"] == theirs["uri"], "{body}");
    }
    for (body, own) in &accepted {
        let serde: Value =
            serde_json::from_slice(&body.bytes).unwrap_or_else(|error| panic!("{error}: {body}"));
        let shown =
            serde_json::json!({"id": serde["id"], "method": serde["method"], "params": serde["params"]});
        assert_eq!(*own, shown, "{body}");
    }
}

#[test]
fn honest_bodies_are_accepted_and_each_wrong_is_refused() {
    for body in corpus::bodies(BODIES) {
        match body.wrong {
            None => {
                assert!(read(&body).is_some(), "{body}: {:?}", body::read(&body.bytes, Limits::default()))
            }
            Some(_) if body.must_be_refused => assert!(read(&body).is_none(), "{body}"),
            Some(_) => {}
        }
    }
}
