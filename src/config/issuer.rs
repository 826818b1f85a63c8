//! Whose tokens, beside our own, are believed: `[[issuers]]`, for the control plane and for services that demand to know their user.

use crate::config::WebhookUrl;
use crate::model::JwsAlgorithm;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// An outside issuer of tokens about people (OpenID Connect, or access tokens by RFC 9068).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// The `aud` that makes a token one for us.
    pub audience: String,
    /// Where its public keys are.
    pub keys: KeySource,
    /// The algorithms that its keys may be for; never empty.
    pub algorithms: BTreeSet<JwsAlgorithm>,
    /// The claim that tells its users apart for `people`.
    pub person_claim: String,
    /// Which of its users is which person of `[[people]]`, by that claim's value.
    pub people: BTreeMap<String, String>,
}

impl IssuerConfig {
    /// The claim that tells users apart, unless said otherwise: never given to another user again.
    pub const PERSON_CLAIM: &'static str = "sub";
    /// The algorithms that are allowed, unless said otherwise.
    pub const ALGORITHMS: [JwsAlgorithm; 3] = [JwsAlgorithm::Es256, JwsAlgorithm::EdDsa, JwsAlgorithm::Rs256];
}

/// Where public keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A JWK set in a file.
    File(PathBuf),
    /// A JWK set on the web.
    Url {
        /// Where: `https`, or on this machine.
        url: WebhookUrl,
        /// The CA certificates that its certificate must come from; absent: those of the system.
        ca: Option<PathBuf>,
    },
}
