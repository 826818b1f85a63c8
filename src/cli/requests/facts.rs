//! What the policies saw and which of them made it so, for people: one table for each evaluation of a story.

use crate::cli::Failure;
use crate::cli::grants::text;
use crate::cli::output;
use serde_json::Value;

/// Prints the evaluations of a story, in order.
pub(super) fn show(story: &[Value]) -> Result<(), Failure> {
    for (chapter, evaluation) in evaluations(story) {
        output::line("")?;
        output::fields([
            ("evaluated at", text(chapter, "time")),
            ("policy set", text(evaluation, "policy")),
            ("determined by", determining(evaluation)),
        ])?;
        let facts = facts(evaluation);
        if !facts.is_empty() {
            output::line("")?;
            output::table(["FACT", "VALUE"], facts)?;
        }
    }
    Ok(())
}

fn evaluations(story: &[Value]) -> impl Iterator<Item = (&Value, &Value)> {
    story.iter().filter_map(|chapter| {
        let event = chapter.get("event")?;
        // The body of an event is tagged by its kind.
        Some((chapter, event.get("evaluation")?))
    })
}

fn determining(evaluation: &Value) -> String {
    let policies = evaluation.get("determining").and_then(Value::as_array).map(Vec::as_slice);
    let names: Vec<_> = policies.unwrap_or_default().iter().filter_map(Value::as_str).collect();
    if names.is_empty() { "no policy".to_owned() } else { names.join(", ") }
}

/// Members of the request that stand above already.
const ABOVE: [&str; 17] = [
    "id",
    "requester",
    "principal",
    "on_behalf_of",
    "task",
    "role",
    "scope",
    "ttl",
    "not_before",
    "reason",
    "ticket",
    "emergency",
    "kind",
    "plan",
    "envelope",
    "requested_at",
    "expires_at",
];

/// Name and value of each fact, named by its way through the object.
pub(in crate::cli) fn facts(evaluation: &Value) -> Vec<[String; 2]> {
    let mut found = Vec::new();
    let members = evaluation.get("facts").and_then(Value::as_object);
    for (name, value) in members.into_iter().flatten() {
        match value.as_object().filter(|_| name == "request") {
            Some(request) => {
                for (name, value) in request.iter().filter(|(name, _)| !ABOVE.contains(&name.as_str())) {
                    collect(&format!("request.{name}"), value, &mut found);
                }
            }
            None => collect(name, value, &mut found),
        }
    }
    found.sort();
    found
}

/// As deep as the answer is, which the reader of JSON bounds.
fn collect(name: &str, value: &Value, found: &mut Vec<[String; 2]>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (member, value) in members {
                collect(&format!("{name}.{member}"), value, found);
            }
        }
        Value::String(text) => found.push([name.to_owned(), text.clone()]),
        // Nobody knows, or there is none.
        Value::Null => {}
        Value::Array(list) if list.is_empty() => {}
        Value::Object(_) => {}
        Value::Array(list) if list.iter().all(Value::is_string) => {
            let texts: Vec<_> = list.iter().filter_map(Value::as_str).collect();
            found.push([name.to_owned(), texts.join(", ")]);
        }
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => {
            found.push([name.to_owned(), value.to_string()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_fact_has_a_line_but_for_what_stands_above_and_what_nobody_knows() {
        let evaluation = json!({"determining": ["a", "b"], "facts": {
            "request": {"task": "t", "source": "10.1.2.3", "ticket_open": true},
            "principal": {"id": "spiffe://d/a", "groups": ["x", "y"], "labels": {}, "risk": null},
            "services": {"orders": {"sensitivity": "high"}},
            "history": {"refusals_last_hour": 2, "services": []},
        }});
        let rows = facts(&evaluation);
        let rows: Vec<_> = rows.iter().map(|[name, value]| format!("{name}={value}")).collect();
        assert_eq!(
            rows,
            [
                "history.refusals_last_hour=2",
                "principal.groups=x, y",
                "principal.id=spiffe://d/a",
                "request.source=10.1.2.3",
                "request.ticket_open=true",
                "services.orders.sensitivity=high",
            ]
        );
        assert_eq!(determining(&evaluation), "a, b");
        assert_eq!(determining(&json!({"determining": []})), "no policy");
    }

    #[test]
    fn only_evaluations_of_a_story_are_shown() {
        let story = json!([{"time": "1", "event": {"kind": "access_requested"}}, {"time": "2", "event": {"evaluation": {"policy": "p"}}}]);
        let found: Vec<_> = evaluations(story.as_array().unwrap()).map(|(at, _)| text(at, "time")).collect();
        assert_eq!(found, ["2"]);
    }
}
