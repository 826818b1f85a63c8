//! Why a token does not hold.

/// Why a token does not hold. The words are safe to show: nothing of the token is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Longer than any token that is accepted.
    #[error("the token is longer than 16 KiB")]
    TooLong,
    /// Not three parts, base64url without padding, each JSON where it should be, no name twice.
    #[error("the token is not a signed JWT in compact form")]
    Form,
    /// A header that names keys inside or outside of the token, or extensions that must be understood.
    #[error("the token's header has a member that is refused")]
    Header,
    /// Not the kind of token that is expected here.
    #[error("the token's `typ` is another than is expected here")]
    Kind,
    /// Not the algorithm of the key.
    #[error("the token's `alg` is not the algorithm of its key")]
    Algorithm,
    /// Nobody we know has such a key.
    #[error("the token's `kid` is not known")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the token's signature does not hold")]
    Signature,
    /// Somebody else's.
    #[error("the token's `iss` is not a known issuer")]
    Issuer,
    /// For somebody else.
    #[error("the token's `aud` does not name this gate")]
    Audience,
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// Not yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// A claim is missing or of the wrong type.
    #[error("the token lacks a claim, or a claim has the wrong form")]
    Claims,
    /// Another workload's.
    #[error("the token belongs to another identity")]
    Principal,
    /// Another certificate's (RFC 8705), or another key's.
    #[error("the token is bound to another certificate or key than it came with")]
    Certificate,
}
