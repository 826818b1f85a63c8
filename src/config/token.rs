//! The control plane's own access tokens: `[control.tokens]`.

use std::time::Duration;

/// What the control plane's own access tokens say and are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// The `iss` of each token; absent: the control plane's SPIFFE ID.
    pub issuer: Option<String>,
    /// The `aud` of each token.
    pub audience: String,
    /// How long a key signs before another takes its place; 1 h or more.
    pub rotate_every: Duration,
}

impl TokenRules {
    /// The shortest time that a key signs: the number of keys that are published stays small.
    pub const SHORTEST_ROTATION: Duration = Duration::from_secs(3600);
}

impl Default for TokenRules {
    fn default() -> Self {
        Self { issuer: None, audience: "jitgate".to_owned(), rotate_every: Duration::from_secs(30 * 86_400) }
    }
}
