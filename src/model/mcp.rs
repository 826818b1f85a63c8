//! What an MCP request asks for, as far as a permission can tell: a method, a name, arguments.
//!
//! It is read from a body that has one reading (`crate::mcp`), and matched by `scope::McpPermission`. It refuses to know JSON-RPC,
//! sessions and versions.

use super::json::Object;

/// One MCP request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct McpCall<'a> {
    /// The JSON-RPC method: `tools/call`, `resources/read`, …
    pub method: &'a str,
    /// What the method is about, where it names something: a tool, the URI of a resource, a prompt.
    pub name: Option<&'a str>,
    /// `params.arguments` of a tool call or prompt; none if there is no such member.
    pub arguments: Option<&'a Object>,
}
