//! What a service demands to know of the human behind a request: `user_token` of `[[service]]`.

use std::collections::BTreeMap;

/// A token of an outside issuer that each request must bring along beside the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTokenRule {
    /// The `iss` of such tokens: one of `[[issuers]]`.
    pub issuer: String,
    /// The `aud` that makes a token one for this service.
    pub audience: String,
    /// Claims that it must have, with these values.
    pub claims: BTreeMap<String, ClaimValue>,
    /// The header field that carries it; lower case.
    pub header: String,
    /// Whether the service gets to see the token.
    pub forward: bool,
}

impl UserTokenRule {
    /// The header field, unless said otherwise. It never reaches a service.
    pub const HEADER: &'static str = "jitgate-user-token";
}

/// The value that a claim must have; of a claim that is a list, one of its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Truth(bool),
}
