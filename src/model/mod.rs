//! The vocabulary: what a principal, a scope, a grant and an event *are*.
//!
//! Everything here is a value. Nothing here reads a clock, opens a socket or knows tokio; whatever was constructed is
//! valid, because the only way in is a parser that refuses ([`std::str::FromStr`], `TryFrom`, serde).

pub mod age;
pub mod audit;
pub mod decision;
pub mod delta;
pub mod deny;
pub mod digest;
pub mod event;
pub mod grant;
pub mod id;
pub mod idempotency;
pub mod intern;
pub mod json;
pub mod jws;
pub mod mcp;
pub mod name;
pub mod principal;
pub mod profile;
pub mod request;
pub mod revision;
pub mod scope;
pub(crate) mod shown;
pub(crate) mod strict;
pub mod time;
pub mod trail;

pub use age::{AgeIdentity, AgeKeyError, AgeRecipient};
pub use audit::AuditHealth;
pub use decision::{ApproverRule, Evaluation, PolicyOutcome, Recording, Risk, Stage, StepUp, Terms};
pub use delta::{Change, Delta};
pub use deny::DenyReason;
pub use digest::Digest;
pub use grant::{EndCause, Grant, Limits};
pub use id::{AccessRequestId, GrantId, RequestId, ReviewId, RevocationId};
pub use idempotency::IdempotencyKey;
pub use intern::Interner;
pub use jws::JwsAlgorithm;
pub use mcp::McpCall;
pub use name::{ExportName, GroupName, ProxyName, RoleName, ServiceName, TaskId, WebhookName, WitnessName};
pub use principal::SpiffeId;
pub use profile::{Attributes, Owner, PrincipalKind, PrincipalProfile, Sensitivity, ServiceProfile};
pub use request::{AccessRequest, Entry, Envelope, Plan, RequestKind, Step, User, UserId};
pub use revision::{Epoch, LogId, Revision};
pub use scope::{Permission, Scope};
pub use time::{Time, Ttl};
pub use trail::{KeptTrail, TrailFault, TrailHead};
