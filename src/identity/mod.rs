//! Who is at the other end: X.509-SVIDs, checked on this connection by rules that refuse.
//!
//! Owns TLS configuration, trust bundles, revocation lists, our own certificate, their reload, tokens, outside issuers of such, and the development CA.
//! Refuses to know what a caller may do: that is `access`. Invariants:
//!
//! - A [`Peer`] exists only for a handshake that [`Acceptor`] completed, with the certificate that its verifier accepted.
//! - There is no way to build a listener without mandatory client certificates.
//! - What was not positively verified is a [`Refusal`]; none of them is ever downgraded to a warning.
//! - A reload that fails changes nothing.

pub mod refusal;
pub mod svid;
pub mod crl;
pub mod trust;
pub mod peer;
pub mod keyfile;
pub mod own;
mod verifier;
pub mod tls;
pub mod receiver;
pub mod reload;
pub mod devca;
pub mod token;
pub mod issuer;

pub use own::OwnIdentity;
pub use peer::Peer;
pub use refusal::Refusal;
pub use svid::{Svid, Usage};
pub use tls::{Accepted, Acceptor, Refused, ServerRule, TlsOptions};
pub use trust::{Trust, TrustSet};
