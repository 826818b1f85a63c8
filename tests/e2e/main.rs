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

mod harness;

mod access;
mod again;
mod audit;
mod break_glass;
mod by_policy;
mod control;
mod cut;
mod deny;
mod facts;
mod frames;
mod headers;
mod limits;
mod operation;
mod outside;
mod paths;
mod policies;
mod requests;
mod restore;
mod run;
mod run_ends;
mod run_passage;
mod run_tokens;
mod strangers;
mod smuggling;
mod streaming;
mod tls;
mod tokens;
mod tour;
mod upstreams;
mod upgrades;
mod user_tokens;
mod webhooks;
