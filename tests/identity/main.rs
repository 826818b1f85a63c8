//! Identity by real handshakes: what is accepted, and each thing that is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking; clippy's exceptions for tests do not reach helpers outside #[test]"
)]

mod client;
mod devca;
mod handshake;
mod openssl;
mod pki;
mod reload;
mod revocation;
mod support;
