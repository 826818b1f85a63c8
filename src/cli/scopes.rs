//! Scopes as people write them into files and see them: the text form where there is one, JSON otherwise.

use crate::model::Scope;
use serde_json::Value;
use serde_json::value::RawValue;

/// A scope that stands in a file: a string, an array of strings (text form), or RFC 9396 JSON.
pub(super) fn written(scope: &RawValue) -> Result<Scope, String> {
    match texts(scope) {
        Some(texts) => Scope::parse_all(&texts).map_err(|error| error.to_string()),
        None => Scope::from_json(scope.get()).map_err(|error| error.to_string()),
    }
}

/// The strings of a scope in text form.
pub(super) fn texts(scope: &RawValue) -> Option<Vec<String>> {
    let one = || serde_json::from_str::<String>(scope.get()).ok().map(|text| vec![text]);
    serde_json::from_str::<Vec<String>>(scope.get()).ok().or_else(one)
}

/// The scope of what an API answered, for people.
pub(super) fn shown(of: &Value, separator: &str) -> String {
    let Some(value) = of.get("scope") else { return String::new() };
    match Scope::from_json(&value.to_string()) {
        Ok(scope) => scope.canonical_texts().join(separator),
        Err(_) => value.to_string(),
    }
}
