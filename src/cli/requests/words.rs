//! What a request is and what its plan holds, in words: an approver decides on each step, not on their sum.

use super::{length, text};
use crate::cli::scopes;
use serde_json::Value;

/// Where a request comes from; nothing for what every request is unless it says otherwise.
pub(super) fn kind(request: &Value) -> String {
    let Some(kind) = request.get("kind") else { return String::new() };
    let part = |name: &str| kind.get(name);
    match (part("step"), part("extension"), part("delegation")) {
        (Some(step), _, _) => format!("step {} of {}", text(step, "number"), text(step, "of")),
        (_, Some(extension), _) => format!("more time for {}", text(extension, "of")),
        (_, _, Some(delegation)) => format!("a part of {} for another", text(delegation, "of")),
        (None, None, None) => match text(request, "kind").as_str() {
            "access" => String::new(),
            other => other.to_owned(),
        },
    }
}

/// A stage of approval: how far it is, and whom it needs.
pub(super) fn stage(stage: &Value) -> String {
    format!("{} of {} from {}", text(stage, "approved"), text(stage, "approvals"), whom(stage))
}

/// Whom a stage needs. Owners of several services: those of whom nobody has approved.
pub(in crate::cli) fn whom(stage: &Value) -> String {
    let list = |key: &str| {
        let list = stage.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let still = match list("services").join(" and ").as_str() {
        "" => String::new(),
        services => format!(", still of {services}"),
    };
    match list("from").join(" or ").as_str() {
        "" => "nobody".to_owned(),
        from => format!("{from}{still}"),
    }
}

/// An approval: by whom, of how much less, why.
pub(super) fn approval(approval: &Value) -> String {
    let narrower = scopes::shown(approval, " ");
    let shorter = length(approval, "ttl_seconds");
    let mut out = text(approval, "by");
    for (word, less) in [("only", narrower), ("only for", shorter)] {
        if !less.is_empty() {
            out = format!("{out}, {word} {less}");
        }
    }
    format!("{out}: {}", text(approval, "reason"))
}

/// The steps of a plan: where each stands, what it may do, and how often.
pub(super) fn steps(request: &Value) -> String {
    let list = |key: &str| request.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let planned = list("plan");
    let step = |(at, stands): (usize, &Value)| match planned.get(at) {
        Some(planned) => format!("{}: {}", stand(stands), step(planned)),
        None => stand(stands),
    };
    list("steps").iter().enumerate().map(step).collect::<Vec<_>>().join("; ")
}

/// The entries of an envelope: what each may do, and how much.
pub(super) fn envelope(request: &Value) -> String {
    let entries = request.get("envelope").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let entry = |entry: &Value| {
        let limits = entry.get("limits").map(|limits| format!(", {limits}")).unwrap_or_default();
        format!("{}{limits}", scopes::shown(entry, " "))
    };
    entries.iter().map(entry).collect::<Vec<_>>().join("; ")
}

/// How often something may be used, where that is limited.
pub(super) fn uses(of: &Value) -> String {
    match text(of, "max_uses").as_str() {
        "" => String::new(),
        "1" => "at most 1 use".to_owned(),
        uses => format!("at most {uses} uses"),
    }
}

fn stand(step: &Value) -> String {
    format!("{} {}", text(step, "number"), text(step, "state"))
}

fn step(planned: &Value) -> String {
    let mut out = scopes::shown(planned, " ");
    match uses(planned).as_str() {
        "" => {}
        uses => out.push_str(&format!(", {uses}")),
    }
    if planned.get("reassess").and_then(Value::as_bool) == Some(true) {
        out.push_str(", decided anew");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_narrowed_approval_says_what_was_left() {
        let approved = json!({
            "by": "spiffe://d/op", "reason": "ok", "ttl_seconds": 300.0,
            "scope": [{"type":"http","locations":["orders"],"actions":["GET"],"paths":["/v1/orders/1"]}],
        });
        assert_eq!(approval(&approved), "spiffe://d/op, only orders:GET:/v1/orders/1, only for 5m: ok");
    }

    #[test]
    fn each_step_says_what_it_may_do_and_how_often() {
        let scope =
            |path: &str| json!([{"type": "http", "locations": ["o"], "actions": ["GET"], "paths": [path]}]);
        let plan = json!({
            "plan": [{"scope": scope("/a"), "max_uses": 2}, {"scope": scope("/b"), "max_uses": 1, "reassess": true}, {"scope": scope("/c")}],
            "steps": [{"number": 0, "state": "left"}, {"number": 1, "state": "open"}, {"number": 2, "state": "waiting"}],
        });
        let said = "0 left: o:GET:/a, at most 2 uses; 1 open: o:GET:/b, at most 1 use, decided anew; 2 waiting: o:GET:/c";
        assert_eq!(steps(&plan), said);
        assert_eq!(steps(&json!({})), "");
    }

    #[test]
    fn what_a_request_comes_from_is_said_in_words() {
        let said = |value: Value| kind(&json!({ "kind": value }));
        assert_eq!(said(json!("access")), "");
        assert_eq!(said(json!({"step": {"of": "rq_1", "number": 2}})), "step 2 of rq_1");
        assert_eq!(said(json!({"extension": {"of": "gr_1"}})), "more time for gr_1");
        assert_eq!(said(json!({"delegation": {"of": "gr_1"}})), "a part of gr_1 for another");
        assert_eq!(said(json!({"later": 1})), "{\"later\":1}", "of another version");
    }
}
