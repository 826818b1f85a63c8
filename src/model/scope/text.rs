//! The text form, and the two canonical renderings. The grammar is in the [module documentation](super).

use super::error::{PermissionError, Quoted, ScopeError};
use super::grpc::GrpcPermission;
use super::http::HttpPermission;
use super::{MAX_PERMISSIONS, Permission, Scope, json, mcp};
use std::fmt::{self, Write as _};
use std::str::FromStr;

impl FromStr for Permission {
    type Err = PermissionError;

    /// From the text form or a JSON object.
    fn from_str(text: &str) -> Result<Self, PermissionError> {
        if text.trim_start().starts_with('{') { json::permission(text) } else { parse(text) }
    }
}

fn parse(text: &str) -> Result<Permission, PermissionError> {
    let misshapen = || PermissionError::Text(Quoted::of(text));
    let (locations, rest) = text.split_once(':').ok_or_else(misshapen)?;
    let locations: Vec<&str> = locations.split(',').collect();
    match rest.split_once(':') {
        // Methods have no slash, calls begin with one; `tools/call` and its like belong to MCP.
        None if rest.contains('/') && !rest.starts_with('/') && !rest.starts_with('*') => {
            mcp::parse(text, &locations, rest, None).map(Permission::Mcp)
        }
        None if !rest.starts_with(['/', '*']) => Err(misshapen()),
        None => {
            let actions: Vec<&str> = rest.split(',').collect();
            GrpcPermission::new(&locations, &actions).map(Permission::Grpc)
        }
        Some((actions, _)) if actions.starts_with('/') => Err(misshapen()),
        Some((actions, named)) if actions.contains('/') => {
            mcp::parse(text, &locations, actions, Some(named)).map(Permission::Mcp)
        }
        Some((actions, paths)) => {
            let (actions, paths): (Vec<&str>, Vec<&str>) =
                (actions.split(',').collect(), paths.split(',').collect());
            HttpPermission::new(&locations, &actions, &paths, None).map(Permission::Http)
        }
    }
}

impl Scope {
    /// From the values of a repeated `--scope`: each is a permission in text form, a JSON object, or a JSON array of objects.
    ///
    /// # Errors
    /// [`ScopeError`]; positions count permissions over all values.
    pub fn parse_all<S: AsRef<str>>(values: &[S]) -> Result<Self, ScopeError> {
        let mut permissions = Vec::new();
        for value in values {
            let (value, before) = (value.as_ref(), permissions.len());
            if value.trim_start().starts_with('[') {
                permissions.extend(json::list(value).map_err(|error| error.moved(before))?);
            } else {
                let wrong = |error| ScopeError::Permission { index: before, error };
                permissions.push(value.parse().map_err(wrong)?);
            }
            if permissions.len() > MAX_PERMISSIONS {
                return Err(ScopeError::TooMany);
            }
        }
        Self::new(permissions)
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    /// From one permission in text form, a JSON object, or a JSON array of objects.
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::parse_all(&[text])
    }
}

impl ScopeError {
    /// The same error, `by` permissions further on.
    fn moved(self, by: usize) -> Self {
        match self {
            Self::Permission { index, error } => Self::Permission { index: index + by, error },
            Self::Duplicate { first, second } => Self::Duplicate { first: first + by, second: second + by },
            Self::Empty | Self::TooMany | Self::Json(_) => self,
        }
    }
}

/// The canonical rendering: the text form where it can express the permission, else [`Permission::canonical_json`].
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A comma separates paths; the query has no text form.
            Self::Http(http)
                if http.query().is_some() || http.paths().iter().any(|path| path.as_str().contains(',')) =>
            {
                write_json(self, f)
            }
            Self::Http(http) => {
                joined(f, http.locations().iter().map(|name| name.as_str()))?;
                f.write_char(':')?;
                joined(f, http.methods().names())?;
                f.write_char(':')?;
                joined(f, http.paths().iter().map(|path| path.as_str()))
            }
            Self::Grpc(grpc) => {
                joined(f, grpc.locations().iter().map(|name| name.as_str()))?;
                f.write_char(':')?;
                joined(f, grpc.actions().texts())
            }
            Self::Mcp(mcp) => {
                let mut text = String::new();
                match mcp::write_text(mcp, &mut text) {
                    Some(()) => f.write_str(&text),
                    None => write_json(self, f),
                }
            }
        }
    }
}

/// For people: the canonical renderings of the permissions, a space between them. [`Scope::canonical_texts`] is what can be
/// read back.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.permissions().iter().enumerate().try_for_each(|(at, permission)| {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{permission}")
        })
    }
}

fn joined<'a>(f: &mut fmt::Formatter<'_>, items: impl IntoIterator<Item = &'a str>) -> fmt::Result {
    items.into_iter().enumerate().try_for_each(|(at, item)| {
        f.write_str(if at == 0 { "" } else { "," })?;
        f.write_str(item)
    })
}

/// RFC 8785 by hand, which cannot fail: members sorted, and no string of an `http` or `grpc` permission has a character that JSON
/// escapes.
pub(super) fn write_json(permission: &Permission, out: &mut impl fmt::Write) -> fmt::Result {
    match permission {
        Permission::Mcp(mcp) => mcp::write_json(mcp, out),
        Permission::Http(http) => {
            out.write_str("{\"actions\":")?;
            array(out, http.methods().names())?;
            out.write_str(",\"locations\":")?;
            array(out, http.locations().iter().map(|name| name.as_str()))?;
            out.write_str(",\"paths\":")?;
            array(out, http.paths().iter().map(|path| path.as_str()))?;
            if let Some(query) = http.query() {
                out.write_str(",\"query\":{")?;
                for (at, parameter) in query.parameters().iter().enumerate() {
                    write!(out, "{}\"{}\":", if at == 0 { "" } else { "," }, parameter.name())?;
                    array(out, parameter.values().texts())?;
                }
                out.write_char('}')?;
            }
            out.write_str(",\"type\":\"http\"}")
        }
        Permission::Grpc(grpc) => {
            out.write_str("{\"actions\":")?;
            array(out, grpc.actions().texts())?;
            out.write_str(",\"locations\":")?;
            array(out, grpc.locations().iter().map(|name| name.as_str()))?;
            out.write_str(",\"type\":\"grpc\"}")
        }
    }
}

pub(super) fn array<'a>(out: &mut impl fmt::Write, items: impl IntoIterator<Item = &'a str>) -> fmt::Result {
    out.write_char('[')?;
    for (at, item) in items.into_iter().enumerate() {
        write!(out, "{}\"{item}\"", if at == 0 { "" } else { "," })?;
    }
    out.write_char(']')
}
