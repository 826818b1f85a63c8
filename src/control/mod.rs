//! The control plane: a pure state machine over an append-only event log, the API and the control channel in front of it.
//!
//! `api | publish -> plane -> state::decide -> log -> state::apply -> head`. Never uses `proxy`, `session` or `sync`.

pub mod api;
pub mod app;
pub mod authz;
mod chronicle;
pub mod clock;
pub mod directory;
pub mod expire;
pub mod export;
pub mod issuers;
pub mod listener;
pub mod log;
pub mod places;
pub mod plane;
pub mod policies;
pub mod notify;
pub mod policy;
pub mod presence;
pub mod receipt;
pub mod publish;
pub mod restore;
pub mod state;
pub mod tickets;
pub mod token;
pub mod usage;
pub mod witnessed;
pub mod workflow;
