//! What is wrong with a scope, and what to change: the permission (counted from 0, as in JSON), the key, the value.

use std::fmt;

/// A value that somebody supplied, made safe to show: ASCII only, escaped, at most 80 characters of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Quoted(Box<str>);

impl Quoted {
    const SHOWN: usize = 80;

    pub(super) fn of(value: &str) -> Self {
        let mut shown: String = value.chars().take(Self::SHOWN).flat_map(escape).collect();
        if value.chars().nth(Self::SHOWN).is_some() {
            shown.push_str("...");
        }
        Self(shown.into())
    }
}

/// ASCII as it is, except control characters; everything else as `\u{..}`: no terminal sequences, no bidirectional controls.
fn escape(c: char) -> impl Iterator<Item = char> {
    let plain = (c == ' ' || c.is_ascii_graphic()).then_some(c);
    let escaped = plain.is_none().then(|| c.escape_default());
    plain.into_iter().chain(escaped.into_iter().flatten())
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why something is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// No permission at all.
    #[error("the scope is empty: name at least one permission")]
    Empty,
    /// More than [`super::MAX_PERMISSIONS`].
    #[error("the scope has more than {max} permissions: use several grants", max = super::MAX_PERMISSIONS)]
    TooMany,
    /// The same permission twice.
    #[error("scope[{second}] repeats scope[{first}]: remove one")]
    Duplicate {
        /// Position of the first.
        first: usize,
        /// Position of the second.
        second: usize,
    },
    /// One permission is wrong.
    #[error("scope[{index}]: {error}")]
    Permission {
        /// Its position, from 0.
        index: usize,
        /// What is wrong with it; not a `source()`, because the message has it already.
        error: PermissionError,
    },
    /// Not well-formed JSON of the expected shape.
    #[error("the scope cannot be read: {0}")]
    Json(String),
}

/// Why something is not a permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    /// `type` is unknown.
    #[error("`type` `{0}` is not known to this version: expected `http`, `grpc` or `mcp`")]
    UnknownType(Quoted),
    /// A required key is absent.
    #[error("`{key}` is missing: nothing is permitted by leaving it out, write {example}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What could be written.
        example: &'static str,
    },
    /// A key belongs to another type.
    #[error("`{key}` has no meaning for type `{kind}`: remove it")]
    Misplaced {
        /// The key.
        key: &'static str,
        /// The `type`.
        kind: &'static str,
    },
    /// A key that none of the actions uses.
    #[error("`{key}` restricts none of the `actions`: remove it, or name the method that it is for")]
    Unused {
        /// The key.
        key: &'static str,
    },
    /// A list is empty.
    #[error("`{key}` is empty: an empty list permits nothing, write {example}")]
    Empty {
        /// The key.
        key: &'static str,
        /// What could be written.
        example: &'static str,
    },
    /// A list is too long.
    #[error("`{key}` has more than {max} entries: split the permission", max = super::list::MAX_ENTRIES)]
    TooMany {
        /// The key.
        key: &'static str,
    },
    /// A value is there twice.
    #[error("`{key}` names `{value}` twice: remove one")]
    Duplicate {
        /// The key.
        key: &'static str,
        /// The value.
        value: Quoted,
    },
    /// `*` beside other values.
    #[error("`{key}` mixes `*` with other values: `*` stands alone")]
    MixedAny {
        /// The key.
        key: &'static str,
    },
    /// Not a service name.
    #[error("`locations`: `{value}` is no service name: expected lower-case letters, digits and `-`")]
    Service {
        /// The value.
        value: Quoted,
    },
    /// Not a method.
    #[error("`actions`: `{value}` {fault}")]
    Method {
        /// The value.
        value: Quoted,
        /// What is wrong with it.
        fault: super::method::MethodFault,
    },
    /// Not a gRPC action.
    #[error(
        "`actions`: `{value}` is no gRPC action: expected `*`, `/pkg.Service/*` or `/pkg.Service/Method`"
    )]
    Grpc {
        /// The value.
        value: Quoted,
    },
    /// Not a path pattern.
    #[error("`paths`: `{value}` {fault}")]
    Path {
        /// The value.
        value: Quoted,
        /// What is wrong with it.
        fault: super::path::PathFault,
    },
    /// Not a parameter name or value as it stands in a query.
    #[error(
        "`query`: `{value}` is not written as in a request: percent-encode all but letters, digits and any of \
         `-._~!$'(),:@/?+` (and `=` in values), with upper-case hexadecimal digits"
    )]
    Query {
        /// The name or value.
        value: Quoted,
    },
    /// Not an MCP method.
    #[error(
        "`actions`: `{value}` is no MCP method: expected letters, digits and any of `/_-.$`, or `*` alone"
    )]
    McpMethod {
        /// The value.
        value: Quoted,
    },
    /// Not the name of a tool or prompt.
    #[error(
        "`{key}`: `{value}` is no name: expected 1 to 1024 bytes that can be seen, without `*`; or `*` alone"
    )]
    McpName {
        /// The key.
        key: &'static str,
        /// The value.
        value: Quoted,
    },
    /// Not a URI pattern.
    #[error("`resources`: `{value}` {fault}")]
    Uri {
        /// The value.
        value: Quoted,
        /// What is wrong with it.
        fault: super::mcp::UriFault,
    },
    /// Not a schema of the subset.
    #[error("`arguments{at}` {fault}")]
    Arguments {
        /// The place, as a JSON pointer.
        at: Quoted,
        /// What is wrong there.
        fault: super::mcp::SchemaFault,
    },
    /// The text form of `mcp` is wrong.
    #[error(
        "`{0}` is no permission: expected `SERVICES:tools/call:TOOLS{{NAME=VALUE,...}}` (`{{*}}` for any arguments), \
         `SERVICES:prompts/get:PROMPTS{{...}}`, `SERVICES:resources/read:URIS`, `SERVICES:METHODS` for others, or a JSON object"
    )]
    McpText(Quoted),
    /// The text form has the wrong number of parts.
    #[error(
        "`{0}` is no permission: expected `SERVICES:METHODS:PATHS` (`orders:GET,HEAD:/v1/orders/*`), \
         `SERVICES:/pkg.Service/Method` for gRPC, or a JSON object"
    )]
    Text(Quoted),
    /// Not well-formed JSON of the expected shape.
    #[error("the permission cannot be read: {0}")]
    Json(String),
}
