//! Headers that repeat what the body says (MCP 2026-07-28): each is there where it must be, and says the same. They are never
//! believed: the body decides.
//!
//! Which argument an `Mcp-Param-NAME` repeats is said by the tool's schema, which is not known here. So its value must be one of the
//! texts, integers and booleans that can be reached in `arguments` through objects alone, as the specification has it; no header
//! can say what the body does not.

use super::fault::Fault;
use super::header::{self, single};
use super::message::Request;
use super::number;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Map, Value};
use std::borrow::Cow;

const DIFFERS: Fault = Fault::ambiguous("a header does not say what the body says");

/// Whether there are headers that repeat the body.
pub(super) fn has_any(headers: &HeaderMap) -> bool {
    headers.contains_key(header::METHOD)
        || headers.contains_key(header::NAME)
        || headers.keys().any(|name| name.as_str().starts_with(header::PARAM))
}

/// `Mcp-Method`; `must`: it has to be there.
pub(super) fn check_method(headers: &HeaderMap, method: &str, must: bool) -> Result<(), Fault> {
    match single(headers, &header::METHOD)? {
        None if must => Err(Fault::malformed("`Mcp-Method` is missing")),
        Some(value) if value != method => Err(DIFFERS),
        None | Some(_) => Ok(()),
    }
}

/// `Mcp-Name` and `Mcp-Param-*`.
pub(super) fn check(headers: &HeaderMap, request: &Request) -> Result<(), Fault> {
    let call = request.call();
    let needed = matches!(call.method, "tools/call" | "resources/read" | "prompts/get");
    let task =
        request.params().get("taskId").and_then(Value::as_str).filter(|_| call.method.starts_with("tasks/"));
    match single(headers, &header::NAME)?.map(decoded).transpose()? {
        None if needed => return Err(Fault::malformed("`Mcp-Name` is missing")),
        Some(value) if Some(&*value) != call.name.or(task) => return Err(DIFFERS),
        None | Some(_) => {}
    }
    for name in headers.keys().filter(|name| name.as_str().starts_with(header::PARAM)) {
        let Some(value) = single(headers, name)? else { continue };
        let value = decoded(value)?;
        match call.arguments {
            Some(arguments) if call.method == "tools/call" && holds(arguments, &value) => {}
            Some(_) | None => return Err(DIFFERS),
        }
    }
    Ok(())
}

fn holds(arguments: &Map<String, Value>, wanted: &str) -> bool {
    arguments.values().any(|value| match value {
        Value::String(text) => text == wanted,
        Value::Bool(flag) => wanted == if *flag { "true" } else { "false" },
        // `42` and `42.0` are one integer.
        Value::Number(number) => {
            number::of_text(wanted).is_some_and(|wanted| Some(wanted) == number.as_f64())
        }
        Value::Object(members) => holds(members, wanted),
        Value::Null | Value::Array(_) => false,
    })
}

/// What a value says: itself, or what `=?base64?…?=` holds.
fn decoded(value: &str) -> Result<Cow<'_, str>, Fault> {
    const WRONG: Fault = Fault::malformed("a header's `=?base64?…?=` does not hold UTF-8 in base64");
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(inner).map_err(|_| WRONG)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| WRONG)
}
