//! Tokens (JWT, RFC 7519): read strictly, verified offline, bound to the certificate of the connection that they come on.
//!
//! The library checks signatures; everything else is ours, since a library that is made for many refuses too little. Invariants:
//!
//! - Only the compact form, of at most [`MAX_TOKEN`] bytes, has a reading; a name that is there twice, in the header or anywhere in
//!   the claims, has none.
//! - The key says which algorithm a signature has, never the token: there is no `none`, no shared secret, no key inside of a token.
//! - Nothing of the claims is believed before the signature holds; `iss` is looked at earlier only to tell whose keys to use.
//! - `now` is an argument, control time.

mod claims;
mod fault;
mod jws;
mod keys;
mod own;

pub use claims::Claims;
pub use fault::TokenFault;
pub use jws::{Jws, MAX_TOKEN};
pub use keys::{KeySet, KeySetError};
pub use own::{ACCESS_TOKEN, GateKeys, GrantToken, TokenKeys, thumbprint};

#[cfg(test)]
pub(crate) mod tests;
