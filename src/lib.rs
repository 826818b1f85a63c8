//! jitgate: a just-in-time access gate. See `ARCHITECTURE.md` for the map and the arguments.
//!
//! Flow 1, a request:
//! `proxy::listener -> proxy::connection -> identity::peer -> proxy::request -> access::view -> access::decide ->
//! session::admit -> proxy::forward -> audit`.
//!
//! Flow 2, a grant:
//! `control::api -> control::state -> control::log -> control::publish -> wire -> sync::client -> sync::replica ->
//! access::table -> session::cut`.
//!
//! Modules are declared in dependency order: each may use only what stands above it (held by `tests/architecture.rs`).

pub mod model;
pub mod mcp;
pub mod tlog;
pub mod config;
pub mod runtime;
pub mod identity;
pub mod access;
pub mod session;
pub mod notary;
pub mod cosign;
pub mod audit;
pub mod export;
pub mod wire;
pub mod sync;
pub mod proxy;
pub mod control;
pub mod cli;
