//! Identity by real handshakes: what is accepted, and each thing that is refused.

#[path = "../e2e/pki.rs"]
mod pki;
mod client;
mod devca;
mod handshake;
mod openssl;
mod reload;
mod revocation;
mod support;
