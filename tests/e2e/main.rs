//! End to end: the real binary, real TLS, real sockets, in as many processes as in production. `harness` builds the world; every other
//! module is one promise of the product, written as sentences.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test ends by panicking and bounds its own waiting; clippy's exceptions for tests do not reach helpers outside #[test]"
)]

mod handed_over;
mod harness;

mod access;
mod again;
mod approval_page;
mod approvers;
mod asking_over_mcp;
mod at_once;
mod audit;
mod both_ways;
mod bounds;
mod break_glass;
mod browser;
mod brokers;
mod by_policy;
mod connect;
mod control;
mod cut;
mod delegation;
mod deny;
mod elicitation;
mod envelopes;
mod export;
mod facts;
mod frames;
mod headers;
mod hostile;
mod keep_alive;
mod killed;
mod limits;
mod long_lived;
mod mcp;
mod mcp_limits;
mod mcp_streams;
mod mcp_wire;
mod operation;
mod outside;
mod over_restart;
mod paths;
mod plans;
mod policies;
mod real;
mod reconsidered;
mod proved;
mod proved_trail;
mod recording;
mod refused;
mod reported;
mod requests;
mod retention;
mod restore;
mod run;
mod run_ends;
mod run_passage;
mod run_tokens;
mod searched;
mod shared;
mod strangers;
mod smuggling;
mod streaming;
mod tasks;
mod tls;
mod tokens;
mod tour;
mod upstreams;
mod upgrades;
mod user_tokens;
mod webhooks;
mod witnessed;
