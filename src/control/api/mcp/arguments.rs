//! The arguments of a tool, read as strictly as bodies of the REST API: what is not known is refused, with what to change. Scopes may
//! stand in text form, as agents and people write them.

use crate::control::api::problem::Problem;
use crate::model::strict::Object;
use crate::model::{Scope, Ttl};
use rmcp::model::Tool;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::time::Duration;

/// The longest wait of one call: real clients give up after a minute.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(50);

/// Refuses what the tool does not take.
pub(super) fn check(tool: &Tool, arguments: &Map<String, Value>) -> Result<(), Problem> {
    let known = tool.input_schema.get("properties").and_then(Value::as_object);
    let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let Some(other) = arguments.keys().find(|name| !names.contains(&name.as_str())) else {
        return known.map_or(Ok(()), |known| check_types(known, arguments));
    };
    let near = names.iter().map(|name| (strsim::damerau_levenshtein(name, other), name)).min();
    let meant = match near {
        Some((distance, name)) if distance <= 2 => format!("did you mean `{name}`?"),
        Some(_) | None => format!("it takes {}", names.join(", ")),
    };
    let shown: String = other.chars().take(64).collect();
    Err(Problem::malformed(format!("`{}` takes no argument `{shown}`: {meant}", tool.name)))
}

/// What the readers of the values would refuse as well, without saying which value it was.
fn check_types(known: &Map<String, Value>, arguments: &Map<String, Value>) -> Result<(), Problem> {
    for (name, value) in arguments {
        let wanted = known.get(name).and_then(|schema| schema.get("type")?.as_str());
        let fits = match wanted {
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some(_) | None => true,
        };
        if !fits {
            return Err(Problem::malformed(format!("`{name}` is a {}", wanted.unwrap_or_default())));
        }
    }
    Ok(())
}

/// The arguments as `T`.
pub(super) fn read<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, Problem> {
    let Object(value) = serde_json::from_value(Value::Object(arguments))
        .map_err(|error| Problem::malformed(format!("arguments: {error}")))?;
    Ok(value)
}

/// Takes out a text.
pub(super) fn text(arguments: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match arguments.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::malformed(format!("`{name}` is a string"))),
    }
}

/// Takes out a text without which there is nothing to do.
pub(super) fn needed(arguments: &mut Map<String, Value>, name: &str) -> Result<String, Problem> {
    text(arguments, name)?.ok_or_else(|| Problem::malformed(format!("`{name}` is missing")))
}

/// Takes out how long to wait; absent: not at all.
pub(super) fn wait(arguments: &mut Map<String, Value>) -> Result<Duration, Problem> {
    let Some(text) = text(arguments, "wait")? else { return Ok(Duration::ZERO) };
    let length = text.parse::<Ttl>().map_err(|error| Problem::malformed(format!("`wait`: {error}")))?.get();
    if length > MAX_WAIT {
        return Err(Problem::malformed("`wait` is at most `50s`: call `access_status` again after that"));
    }
    Ok(length)
}

/// Writes a scope in JSON where it, or an entry of it, is in text form.
pub(super) fn spell_out(scope: &mut Value) -> Result<(), Problem> {
    let entries = match std::mem::take(scope) {
        Value::String(text) => vec![Value::String(text)],
        Value::Array(entries) => entries,
        Value::Object(entry) => vec![Value::Object(entry)],
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            return Err(Problem::malformed("`scope` is a list of entries, each in text form or an object"));
        }
    };
    let mut written = Vec::with_capacity(entries.len());
    for (number, entry) in entries.into_iter().enumerate() {
        if let Value::String(text) = &entry {
            let wrong =
                |why| Problem::malformed(format!("`scope`, entry {}: {why}", number.saturating_add(1)));
            written.extend(entries_of(text).map_err(wrong)?);
        } else {
            written.push(entry);
        }
    }
    *scope = Value::Array(written);
    Ok(())
}

/// The text form of an entry, or JSON in a text, as models write it too.
fn entries_of(text: &str) -> Result<Vec<Value>, String> {
    let scope = Scope::parse_all(&[text]).map_err(|error| error.to_string())?;
    serde_json::from_str(&scope.canonical_json()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::schema::tools;
    use super::*;
    use serde_json::json;

    fn detail<T: std::fmt::Debug>(result: Result<T, Problem>) -> String {
        result.unwrap_err().detail
    }

    #[test]
    fn a_scope_may_be_written_in_either_form() {
        let json = json!({"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/*"]});
        for mut scope in [json!("orders:GET:/v1/*"), json!(["orders:GET:/v1/*"]), json!([json]), json] {
            spell_out(&mut scope).unwrap();
            assert_eq!(scope[0]["paths"], json!(["/v1/*"]), "{scope}");
        }
        assert!(
            detail(spell_out(&mut json!(["orders:GET:/v1", "orders"]))).starts_with("`scope`, entry 2: ")
        );
        assert!(detail(spell_out(&mut json!(7))).contains("a list of entries"));
    }

    #[test]
    fn an_unknown_argument_is_refused_with_what_was_meant() {
        let tool = &tools()[0];
        let arguments = |name: &str| json!({ name: 1 }).as_object().unwrap().clone();
        assert!(detail(check(tool, &arguments("scop"))).contains("did you mean `scope`?"));
        let other = detail(check(tool, &arguments("administrator")));
        assert!(other.contains("it takes ") && other.contains("scope"), "{other}");
        assert!(check(tool, &arguments("scope")).is_ok());
    }

    #[test]
    fn a_wait_is_bounded() {
        let wait = |text: &str| wait(json!({"wait": text}).as_object_mut().unwrap());
        assert_eq!(wait("50s").unwrap(), MAX_WAIT);
        assert!(detail(wait("51s")).contains("at most `50s`"));
        assert!(wait("soon").is_err());
    }
}
