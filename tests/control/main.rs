//! The control plane's API over real mTLS, in process: what operators may do, and that nobody else gets anywhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking; clippy's exceptions for tests do not reach helpers outside #[test]"
)]

mod bodies;
mod grants;
mod issuers;
mod requests;
mod revocations;
mod shares;
mod strangers;
mod tickets;
mod webhooks;
mod tokens;
mod world;
