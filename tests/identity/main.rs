//! Identity by real handshakes: what is accepted, and each thing that is refused.

mod client;
mod devca;
mod handshake;
mod openssl;
mod pki;
mod reload;
mod revocation;
mod support;
