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

/// Longest scope in a row of a table, in characters: a long one must not bury the other rows.
const ROW: usize = 120;

/// The beginning of a scope, for a row of a table; whatever shows one thing shows all of it.
pub(super) fn brief(of: &Value) -> String {
    let all = shown(of, " ");
    if all.chars().count() <= ROW {
        return all;
    }
    let count = of.get("scope").and_then(Value::as_array).map_or(0, Vec::len);
    let begin: String = all.chars().take(ROW).collect();
    format!("{begin}… ({count} permissions in all)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_shows_as_much_as_fits() {
        let one =
            |path: String| json!({"type": "http", "locations": ["o"], "actions": ["GET"], "paths": [path]});
        let short = json!({"scope": [one("/a".to_owned())]});
        assert_eq!(brief(&short), "o:GET:/a");
        let long = json!({"scope": (0..1_000).map(|at| one(format!("/{at}"))).collect::<Vec<_>>()});
        let row = brief(&long);
        assert!(row.starts_with("o:GET:/0 ") && row.ends_with("… (1000 permissions in all)"), "{row}");
        assert!(row.chars().count() < 200, "{row}");
    }
}
