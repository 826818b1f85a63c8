//! What common MCP clients want in their configuration: this program with absolute paths, wherever they start it from.
//!
//! No secret is in it: the key stays in its file. The environment stays empty, so that what happens to be set here is not needed there.

use super::Connect;
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::output;
use serde_json::{Value, json};

/// For which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Client {
    /// Claude Desktop: claude_desktop_config.json
    ClaudeDesktop,
    /// VS Code: .vscode/mcp.json
    Vscode,
    /// Cursor: .cursor/mcp.json
    Cursor,
    /// Most others
    Generic,
}

/// Prints it.
pub(super) fn print(client: Client, connect: &Connect, connection: &Connection) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(Failure::failed)?;
    let program = program.into_os_string().into_string();
    let program = program.map_err(|_| Failure::failed("the path of this program is not UTF-8"))?;
    let mut arguments = vec!["connect".to_owned(), "--service".to_owned(), connect.service.to_string()];
    if let Some(task) = &connect.task {
        arguments.extend(["--task".to_owned(), task.to_string()]);
    }
    if connect.path.as_str() != "/mcp" {
        arguments.extend(["--path".to_owned(), connect.path.to_string()]);
    }
    if connect.no_asking {
        arguments.push("--no-asking".to_owned());
    }
    arguments.extend(connection.arguments(&connect.gate).map_err(Failure::usage)?);
    output::json(&snippet(client, connect.service.as_str(), &program, &arguments))
}

fn snippet(client: Client, service: &str, program: &str, arguments: &[String]) -> Value {
    match client {
        Client::ClaudeDesktop | Client::Cursor | Client::Generic => {
            json!({"mcpServers": {service: {"command": program, "args": arguments, "env": {}}}})
        }
        Client::Vscode => {
            json!({"servers": {service: {"type": "stdio", "command": program, "args": arguments, "env": {}}}})
        }
    }
}
