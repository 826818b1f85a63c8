//! The proxy: from an accepted connection to an audited answer.
//!
//! `listener` accepts and shakes hands, `connection` serves one caller, `request` is the page that every request goes through,
//! `forward` and `tunnel` talk to the service, `body` checks each frame. It never uses the control plane: grants come through
//! the gate, and refusals are derived from the request alone. `mcp` is the same way for requests of MCP.

mod router;
mod ids;
mod exports;
mod headers;
mod bearer;
mod body;
pub(crate) mod upstream;
mod user;
mod reply;
mod worker;
mod forward;
mod durable;
mod incoming;
mod mcp;
mod tunnel;
mod request;
mod meter;
mod connection;
mod listener;
pub mod app;

pub use app::{ProxyHandle, StartError, start};
