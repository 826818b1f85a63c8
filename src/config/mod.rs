//! Configuration: a TOML file on one side, values that are usable as they are on the other.
//!
//! Owns: the names of the keys, their defaults (the constants and `Default`s of [`proxy`], [`control`] and [`limits`]; nowhere
//! else), and error messages that name file, line, key and remedy, all of them at once. Refuses to know: what the values are
//! used for; it opens no file but the configuration itself and reads no environment.
//!
//! Invariants: a value of these types was checked; there is no later `validate()`. A relative path is resolved against the
//! folder of the file it stands in. No list is ever empty where an empty list could be read as "all".

pub mod access;
mod build;
pub mod control;
pub mod export;
pub mod issuer;
pub mod limits;
pub mod load;
pub mod problem;
pub mod proxy;
mod raw;
pub mod recording;
pub mod retention;
pub mod service;
mod source;
mod text;
pub mod ticket;
pub mod token;
mod tree;
pub mod url;
pub mod user_token;
pub mod webhook;
pub mod witness;

pub use access::{PolicyConfig, PrincipalEntry, RequestRules, RoleTemplate};
pub use control::{ControlConfig, Person, Role, Store, Undeclared};
pub use export::{ExportConfig, ExportTarget, HttpReceiver, ReceiverTls, SyslogReceiver, SyslogUrl};
pub use issuer::{IssuerConfig, KeySource};
pub use limits::{Ceilings, Limits};
pub use load::{Base, Config, ControlBase, ProxyBase};
pub use problem::{ConfigErrors, Problem};
pub use proxy::{
    AccessUrl, AuditConfig, AuditTarget, ControlLink, DenialBudget, Endpoint, ProxyConfig, TlsConfig,
    reachable,
};
pub use recording::{JsonPointer, KeyName, Pattern, RecipientSource, RecordingConfig, Redaction};
pub use retention::{RetentionConfig, WhenFull};
pub use service::{Durability, HostHeader, Protocol, ServiceConfig, Transport, Upstream};
pub use ticket::{TicketConfig, TicketUrl};
pub use token::TokenRules;
pub use user_token::{ClaimValue, UserTokenRule};
pub use webhook::{WebhookConfig, WebhookEvent, WebhookFormat, WebhookUrl};
pub use witness::WitnessConfig;

// Another TOML file is read as strictly, with errors of the same kind.
pub(crate) use raw::split;
pub(crate) use source::Source;
pub(crate) use text::{FromText, Text, ZoneName};

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a certificate chain and its key are. PEM; the key's mode must be 0600 or stricter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
}

/// Whom to trust: a bundle for each trust domain, never none, and revocation lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFiles {
    /// Trust domain to the PEM file with its CA certificates.
    pub bundles: BTreeMap<String, PathBuf>,
    /// CRL files, PEM. Where there is one, a certificate of unknown status is refused.
    pub crls: Vec<PathBuf>,
}

#[cfg(test)]
mod tests;
