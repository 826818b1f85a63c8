//! The text form of an `mcp` permission, and both renderings. The grammar is in the [module documentation](super::super).

use super::super::error::{PermissionError, Quoted};
use super::super::text::array;
use super::names::is_unseen;
use super::{Arguments, McpParts, McpPermission, McpTarget};
use crate::model::strict::Unique;
use serde_json::Value;
use std::fmt::{self, Write};

/// From what stands between colons; `named` is what follows the methods.
pub(in crate::model::scope) fn parse(
    text: &str,
    locations: &[&str],
    actions: &str,
    named: Option<&str>,
) -> Result<McpPermission, PermissionError> {
    let fault = || PermissionError::McpText(Quoted::of(text));
    let actions: Vec<&str> = actions.split(',').collect();
    let mut parts = McpParts { actions, ..McpParts::default() };
    let Some(named) = named else { return McpPermission::new(locations, parts) };
    let first = parts.actions.first().map_or(McpTarget::Nothing, |action| McpTarget::of(action));
    if parts.actions.iter().any(|action| McpTarget::of(action) != first) {
        return Err(fault());
    }
    let (names, arguments) = match named.find('{').filter(|_| first.has_arguments()) {
        Some(at) => named.split_at(at),
        None => (named, ""),
    };
    let names = Some(names.split(',').collect());
    match first {
        McpTarget::Tool => parts.tools = names,
        McpTarget::Resource => parts.resources = names,
        McpTarget::Prompt => parts.prompts = names,
        McpTarget::Completion | McpTarget::Nothing => return Err(fault()),
    }
    let arguments = match arguments {
        "" => None,
        text => Some(read_arguments(text).ok_or_else(fault)??),
    };
    McpPermission::assembled(locations, parts, arguments)
}

/// `{*}` or `{name=value,…}`.
fn read_arguments(text: &str) -> Option<Result<Arguments, PermissionError>> {
    if text == "{*}" {
        return Some(Ok(Arguments::Any));
    }
    let mut rest = text.strip_prefix('{')?;
    let mut members: Vec<(String, Value)> = Vec::new();
    while rest != "}" {
        if !members.is_empty() {
            rest = rest.strip_prefix(',')?;
        }
        let (name, after) = match bare(rest, is_key) {
            Some((name, after)) => (name.to_owned(), after),
            None => match literal(rest)? {
                (Value::String(name), after) => (name, after),
                _ => return None,
            },
        };
        let (value, after) = value(after.strip_prefix('=')?)?;
        if members.iter().any(|(known, _)| *known == name) {
            let value = Quoted::of(&name);
            return Some(Err(PermissionError::Duplicate { key: "arguments", value }));
        }
        members.push((name, value));
        rest = after;
    }
    Some(Arguments::exactly(members.iter().map(|(name, value)| (name.as_str(), value.clone()))))
}

/// A JSON literal, or a bare word, which is a string.
fn value(text: &str) -> Option<(Value, &str)> {
    match bare(text, is_bare) {
        Some(("true" | "false" | "null", _)) | None => literal(text),
        Some((word, rest)) => Some((Value::from(word), rest)),
    }
}

/// The JSON value that a text begins with.
fn literal(text: &str) -> Option<(Value, &str)> {
    if text.starts_with(|c: char| c.is_whitespace()) {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Unique>();
    let Unique(value) = values.next()?.ok()?;
    Some((value, text.get(values.byte_offset()..)?))
}

/// The word that a text begins with, if it does.
fn bare(text: &str, is_part: fn(char) -> bool) -> Option<(&str, &str)> {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || "_/".contains(c) && is_part(c));
    let end = text.find(|c: char| !is_part(c)).unwrap_or(text.len());
    starts.then(|| text.split_at_checked(end)).flatten()
}

fn is_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.".contains(c)
}

fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-./:@+".contains(c)
}

/// The text form, if it has one.
pub(in crate::model::scope) fn write_text(permission: &McpPermission, out: &mut String) -> Option<()> {
    let first = permission.actions().texts().next().map_or(McpTarget::Nothing, McpTarget::of);
    // Without a slash a method looks like one of HTTP.
    let methods = |method: &str| method.contains('/') && McpTarget::of(method) == first;
    if !permission.actions().texts().all(methods) {
        return None;
    }
    let write = |out: &mut String, items: &mut dyn Iterator<Item = &str>| {
        for (at, item) in items.enumerate() {
            out.push_str(if at == 0 { "" } else { "," });
            out.push_str(item);
        }
    };
    write(out, &mut permission.locations().iter().map(|name| name.as_str()));
    out.push(':');
    write(out, &mut permission.actions().texts());
    let plain = |name: &str| !name.contains(|c: char| ",{}\"".contains(c) || c.is_whitespace());
    match first {
        McpTarget::Nothing => Some(()),
        McpTarget::Completion => None,
        McpTarget::Tool | McpTarget::Prompt => {
            let names = if first == McpTarget::Tool { permission.tools() } else { permission.prompts() }?;
            if !names.texts().all(plain) {
                return None;
            }
            out.push(':');
            write(out, &mut names.texts());
            write_arguments(permission.arguments()?, out)
        }
        McpTarget::Resource => {
            let resources = permission.resources()?;
            if resources.texts().any(|uri| uri.contains(',')) {
                return None;
            }
            out.push(':');
            write(out, &mut resources.texts());
            Some(())
        }
    }
}

fn write_arguments(arguments: &Arguments, out: &mut String) -> Option<()> {
    if *arguments == Arguments::Any {
        out.push_str("{*}");
        return Some(());
    }
    out.push('{');
    for (at, (name, value)) in arguments.exact()?.enumerate() {
        out.push_str(if at == 0 { "" } else { "," });
        match bare(name, is_key) {
            Some((_, "")) => out.push_str(name),
            Some(_) | None => out.push_str(&serde_json_canonicalizer::to_string(&name).ok()?),
        }
        out.push('=');
        let value = serde_json_canonicalizer::to_string(value).ok()?;
        // What cannot be seen is shown, by the escapes of JSON: only in its strings can it be.
        for c in value.chars() {
            match is_unseen(c) {
                true => {
                    let mut units = [0; 2];
                    c.encode_utf16(&mut units).iter().for_each(|unit| {
                        let _ = write!(out, "\\u{unit:04x}");
                    });
                }
                false => out.push(c),
            }
        }
    }
    out.push('}');
    Some(())
}

/// The JSON form by RFC 8785: members sorted.
pub(in crate::model::scope) fn write_json(permission: &McpPermission, out: &mut impl Write) -> fmt::Result {
    out.write_str("{\"actions\":")?;
    array(out, permission.actions().texts())?;
    if let Some(arguments) = permission.arguments() {
        write!(out, ",\"arguments\":{}", arguments.canonical_json())?;
    }
    out.write_str(",\"locations\":")?;
    array(out, permission.locations().iter().map(|name| name.as_str()))?;
    if let Some(prompts) = permission.prompts() {
        out.write_str(",\"prompts\":")?;
        escaped(out, prompts.texts())?;
    }
    if let Some(resources) = permission.resources() {
        out.write_str(",\"resources\":")?;
        escaped(out, resources.texts())?;
    }
    if let Some(tools) = permission.tools() {
        out.write_str(",\"tools\":")?;
        escaped(out, tools.texts())?;
    }
    out.write_str(",\"type\":\"mcp\"}")
}

/// A list of strings that may have characters that JSON escapes: of those, quotation marks and backslashes alone.
fn escaped<'a>(out: &mut impl Write, items: impl IntoIterator<Item = &'a str>) -> fmt::Result {
    out.write_char('[')?;
    for (at, item) in items.into_iter().enumerate() {
        out.write_str(if at == 0 { "\"" } else { ",\"" })?;
        for c in item.chars() {
            if matches!(c, '"' | '\\') {
                out.write_char('\\')?;
            }
            out.write_char(c)?;
        }
        out.write_char('"')?;
    }
    out.write_char(']')
}
