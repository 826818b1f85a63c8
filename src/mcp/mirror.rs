//! Headers that repeat what the body says (MCP 2026-07-28): checked on what comes in ([`check`]), and made for what goes out
//! ([`made`]). Each is there where it must be, and says the same. They are never believed: the body decides.
//!
//! Which argument an `Mcp-Param-NAME` repeats is said by the tool's schema. Where a list of the service has shown it ([`Declared`]), each
//! repeats its own argument ([`check_declared`]). Before that ([`check`] alone) its value must be one of the texts, integers and
//! booleans that can be reached in `arguments` through objects alone, as the specification has it; no header can say what the body
//! does not.

mod declared;

pub use declared::{Declared, Listed};

use super::fault::Fault;
use super::header::{self, single};
use super::message::Request;
use super::number;
use super::refused::Refused;
use crate::model::json::{Object, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

const DIFFERS: Fault = Fault::ambiguous("a header does not say what the body says");
const MISSING: Fault =
    Fault::malformed("an `Mcp-Param-*` that the tool declares is missing: list the tools anew");
const UNDECLARED: Fault = Fault::ambiguous("the tool declares no such `Mcp-Param-*`: list the tools anew");

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
    let task = task(request);
    match single(headers, &header::NAME)?.map(decoded).transpose()? {
        None if needed => return Err(Fault::malformed("`Mcp-Name` is missing")),
        Some(value) if Some(&*value) != call.name.or(task) => return Err(DIFFERS),
        None | Some(_) => {}
    }
    for name in headers.keys().filter(|name| name.as_str().starts_with(header::PARAM)) {
        let Some(value) = single(headers, name)? else { continue };
        let value = decoded(value)?;
        // Once: there may be as many numbers in the arguments as fit into a body.
        let number = number::of_text(&value);
        match call.arguments {
            Some(arguments) if call.method == "tools/call" && holds(arguments, &value, number) => {}
            Some(_) | None => return Err(DIFFERS),
        }
    }
    Ok(())
}

/// `Mcp-Param-*` of a call whose tool declares `params`: each repeats its own argument, is there if that is, and there are no others.
///
/// # Errors
/// [`Refused`] as the version has it, with the id of the request: its client lists the tools anew, and knows.
pub fn check_declared(headers: &HeaderMap, request: &Request, params: &[Param]) -> Result<(), Refused> {
    repeats(headers, request.call().arguments, params)
        .map_err(|fault| Refused::mismatch(fault).with_id(Some(request.id())))
}

fn repeats(headers: &HeaderMap, arguments: Option<&Object>, params: &[Param]) -> Result<(), Fault> {
    let declares = |name: &HeaderName| params.iter().any(|param| param.header == *name);
    if headers.keys().any(|name| name.as_str().starts_with(header::PARAM) && !declares(name)) {
        return Err(UNDECLARED);
    }
    for param in params {
        let said = single(headers, &param.header)?.map(decoded).transpose()?;
        let value = arguments.and_then(|arguments| param.of(arguments));
        match (said, value) {
            (Some(said), Some(value)) if says(value, &said, number::of_text(&said)) => {}
            (Some(_), _) => return Err(DIFFERS),
            (None, Some(Value::String(_) | Value::Bool(_) | Value::Number(_))) => return Err(MISSING),
            (None, Some(Value::Null | Value::Array(_) | Value::Object(_)) | None) => {}
        }
    }
    Ok(())
}

/// What a request about a task names in place of a tool.
fn task(request: &Request) -> Option<&str> {
    let is_about_one = request.method().starts_with("tasks/");
    is_about_one.then(|| request.params().get("taskId"))?.and_then(Value::as_str)
}

/// The headers that repeat a request: `Mcp-Method`, `Mcp-Name` where the method names something, and `Mcp-Param-*` for the arguments that
/// the tool's schema wants repeated (`params`: [`params_of`]). Where such an argument is absent or null, so is its header.
#[must_use]
pub fn made(request: &Request, params: &[Param]) -> HeaderMap {
    let call = request.call();
    let mut headers = HeaderMap::new();
    if let Ok(method) = HeaderValue::from_str(call.method) {
        headers.insert(header::METHOD, method);
    }
    let task = task(request);
    let named = matches!(call.method, "tools/call" | "resources/read" | "prompts/get");
    if let Some(name) = call.name.filter(|_| named).or(task) {
        headers.insert(header::NAME, encoded(name));
    }
    for param in params.iter().filter(|_| call.method == "tools/call") {
        let Some(arguments) = call.arguments else { break };
        let text = match param.of(arguments) {
            Some(Value::String(text)) => text.to_string(),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => continue,
        };
        headers.insert(param.header.clone(), encoded(&text));
    }
    headers
}

/// An argument that a header repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Names of members, from `arguments` down.
    path: Box<[Box<str>]>,
    header: HeaderName,
}

impl Param {
    /// The argument, where it is there.
    fn of<'a>(&self, arguments: &'a Object) -> Option<&'a Value> {
        let mut path = self.path.iter();
        let first = path.next().and_then(|name| arguments.get(name));
        path.fold(first, |value, name| value?.as_object()?.get(name))
    }
}

/// How deep and how many: a schema is the service's text.
const DEEPEST: usize = 16;
const MOST: usize = 64;

/// What the `inputSchema` of a tool wants repeated: its `x-mcp-header`, reached through `properties` alone. Nothing where two name one header.
#[must_use]
pub fn params_of(schema: &serde_json::Value) -> Vec<Param> {
    declared(schema).unwrap_or_default()
}

/// The same; none where two name one header, or there are too many: which of them count is not known then.
fn declared(schema: &serde_json::Value) -> Option<Vec<Param>> {
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), &mut found);
    let mut names: Vec<&HeaderName> = found.iter().map(|param| &param.header).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    let twice = names.array_windows().any(|[one, other]| one == other);
    (!twice && found.len() <= MOST).then_some(found)
}

fn collect(schema: &serde_json::Value, path: &mut Vec<Box<str>>, found: &mut Vec<Param>) {
    if path.len() > DEEPEST || found.len() > MOST {
        return;
    }
    let name = schema.get("x-mcp-header").and_then(serde_json::Value::as_str).filter(|_| !path.is_empty());
    let simple = matches!(
        schema.get("type").and_then(serde_json::Value::as_str),
        Some("string" | "integer" | "boolean" | "number")
    );
    if let Some(header) =
        name.filter(|_| simple).and_then(|name| format!("{}{name}", header::PARAM).parse().ok())
    {
        found.push(Param { path: path.as_slice().into(), header });
    }
    for (name, inner) in schema.get("properties").and_then(serde_json::Value::as_object).into_iter().flatten()
    {
        path.push(name.as_str().into());
        collect(inner, path, found);
        path.pop();
    }
}

/// Whether a value in there, through objects alone, is `wanted`, which is this number if it is one.
fn holds(arguments: &Object, wanted: &str, as_number: Option<f64>) -> bool {
    arguments.values().any(|value| match value {
        Value::Object(members) => holds(members, wanted, as_number),
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Null | Value::Array(_) => {
            says(value, wanted, as_number)
        }
    })
}

/// Whether this very value is `wanted`, which is this number if it is one.
fn says(value: &Value, wanted: &str, as_number: Option<f64>) -> bool {
    match value {
        Value::String(text) => **text == *wanted,
        Value::Bool(flag) => wanted == if *flag { "true" } else { "false" },
        // `42` and `42.0` are one integer.
        Value::Number(number) => as_number.is_some() && as_number == number.as_f64(),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
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

/// A value that says `text`: itself where a header can carry it as it is, else `=?base64?…?=`.
fn encoded(text: &str) -> HeaderValue {
    let plain = !text.is_empty()
        && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && text.trim() == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    let value = if plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) };
    // Visible ASCII and spaces inside: always a value.
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::refused::HEADER_MISMATCH;
    use crate::mcp::{Limits, Message, body};

    fn request(text: &serde_json::Value) -> Request {
        let read = body::read(text.to_string().as_bytes(), Limits::default()).unwrap();
        let crate::mcp::Content::One(Message::Request(request)) = read else { panic!("{read:?}") };
        request
    }

    #[test]
    fn a_long_number_in_a_header_is_none() {
        let call =
            request(&serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "x", "arguments": {"a": [0.5], "b": {"c": 0.5}}}}));
        for (text, holds) in
            [("0.5", true), ("0.50", true), ("0.6", false), (&format!("0.5{}", "0".repeat(400)), false)]
        {
            let mut headers = made(&call, &[]);
            headers.insert("mcp-param-x", HeaderValue::from_str(text).unwrap());
            assert_eq!(check(&headers, &call).is_ok(), holds, "{text}");
        }
    }

    /// Without what lists have said, and with it.
    fn checked(
        call: &Request,
        params: &[Param],
        said: &[(&'static str, &str)],
    ) -> (bool, Result<(), Refused>) {
        let mut headers = made(call, &[]);
        for (name, value) in said {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        (check(&headers, call).is_ok(), check_declared(&headers, call, params))
    }

    #[test]
    fn each_header_repeats_its_own_argument_where_its_tool_is_known() {
        let params = params_of(&serde_json::json!({"type": "object", "properties": {
            "service": {"type": "string"},
            "server": {"type": "string", "x-mcp-header": "Server"},
            "deep": {"type": "object", "properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}},
        }}));
        let call = |arguments: serde_json::Value| {
            request(&serde_json::json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
                "name": "x", "arguments": arguments}}))
        };
        let id = crate::mcp::Id::Number(7);
        let full =
            call(serde_json::json!({"service": "billing", "server": "srv-7", "deep": {"count": 42}, "n": 3}));
        let (server, count) = (("mcp-param-server", "srv-7"), ("mcp-param-count", "42"));
        for said in [
            &[server, count][..],
            &[("mcp-param-server", "=?base64?c3J2LTc=?="), count],
            &[server, ("mcp-param-count", "42.0")],
        ] {
            assert_eq!(checked(&full, &params, said), (true, Ok(())), "{said:?}");
        }
        // Each says something that the body says as well, or nothing.
        for said in [
            &[("mcp-param-server", "billing"), count][..],
            &[server, ("mcp-param-count", "3")],
            &[("mcp-param-server", "42"), ("mcp-param-count", "srv-7")],
            &[server, count, ("mcp-param-service", "billing")],
            &[server],
            &[count],
            &[],
        ] {
            let (of_some, of_its_own) = checked(&full, &params, said);
            assert!(of_some, "{said:?}: only what the tool declares refuses it");
            let refused = of_its_own.unwrap_err();
            assert_eq!((refused.code, refused.id.as_ref()), (HEADER_MISMATCH, Some(&id)), "{said:?}");
        }
        assert!(checked(&full, &params, &[server, server, count]).1.is_err());
        // What is absent or null is not repeated, and no text of a header is that.
        for arguments in [serde_json::json!({}), serde_json::json!({"server": null, "deep": 42})] {
            let call = call(arguments);
            assert_eq!(checked(&call, &params, &[]).1, Ok(()));
            for text in ["null", "", "42"] {
                assert!(checked(&call, &params, &[("mcp-param-server", text)]).1.is_err(), "{text}");
            }
        }
        // A tool that is known to declare none has none.
        assert_eq!(checked(&full, &[], &[]).1, Ok(()));
        assert!(checked(&full, &[], &[server]).1.is_err());
    }

    #[test]
    fn what_is_made_is_what_is_checked() {
        let schema = serde_json::json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "many": {"type": "array", "x-mcp-header": "Many", "items": {"type": "string", "x-mcp-header": "Item"}},
            "deep": {"type": "object", "properties": {"dry": {"type": "boolean", "x-mcp-header": "Dry-Run"}}},
            "count": {"type": "integer", "x-mcp-header": "Count"},
            "bad": {"type": "string", "x-mcp-header": "a b\r\n"},
        }});
        let params = params_of(&schema);
        assert_eq!(params.len(), 3, "{params:?}");
        for name in ["restart", "größe", " x", "=?base64?eA==?=", "a, b", "a\u{2028}b"] {
            let call = request(
                &serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
                    "name": name, "arguments": {"region": name, "deep": {"dry": true}, "count": 42, "many": ["x"]},
                }}),
            );
            let headers = made(&call, &params);
            check_method(&headers, "tools/call", true).unwrap();
            check(&headers, &call).unwrap();
            check_declared(&headers, &call, &params).unwrap();
            assert_eq!(
                (&headers["mcp-param-dry-run"], &headers["mcp-param-count"]),
                (&"true".parse::<HeaderValue>().unwrap(), &"42".parse::<HeaderValue>().unwrap())
            );
            assert_eq!(headers.len(), 5, "{headers:?}");
            // Another call does not pass with them.
            let other =
                request(&serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
                    "name": "other", "arguments": {"region": name},
                }}));
            assert!(check(&headers, &other).is_err());
        }
        let absent =
            request(&serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "x", "arguments": {"region": null}}}));
        assert_eq!(made(&absent, &params).len(), 2);
        let list = request(&serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
        assert_eq!(made(&list, &params).len(), 1);
        let twice = serde_json::json!({"properties": {"a": {"type": "string", "x-mcp-header": "X"}, "b": {"type": "string", "x-mcp-header": "x"}}});
        assert_eq!(params_of(&twice), []);
    }
}
