//! The mirror of the file: one struct a table, one field a key, nothing decided. Every value knows its place.
//!
//! Every key is optional here: what is missing is found later, together with everything else that is wrong.

mod export;
mod witness;

pub(super) use export::{RawExport, RawExportKind};
pub(super) use witness::RawWitness;

use crate::config::service::Address;
use crate::config::text::{
    EventName, FieldName, HostName, Method, Parsed, PersonName, Text, TokenParty, ToolName, TrustDomain,
    Wait, ZoneName,
};
use crate::config::{AccessUrl, Endpoint, JsonPointer, KeyName, Pattern, Role, Store, TicketUrl, WebhookUrl};
use crate::mcp::Version;
use crate::mcp::rules::{EndpointPath, Origin};
use crate::model::{
    AgeRecipient, GroupName, JwsAlgorithm, Owner, Permission, PrincipalKind, ProxyName, Risk, RoleName,
    Scope, Sensitivity, ServiceName, SpiffeId, Ttl, WebhookName,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) proxy: Option<RawProxy>,
    #[serde(default)]
    pub(super) service: Vec<Spanned<RawService>>,
    pub(super) control: Option<RawControl>,
    #[serde(default)]
    pub(super) identities: Vec<RawIdentity>,
    #[serde(default)]
    pub(super) people: Vec<RawPerson>,
    #[serde(default)]
    pub(super) principals: Vec<RawPrincipal>,
    #[serde(default)]
    pub(super) roles: Vec<RawRole>,
    #[serde(default)]
    pub(super) webhooks: Vec<RawWebhook>,
    pub(super) tickets: Option<RawTickets>,
    #[serde(default)]
    pub(super) issuers: Vec<RawIssuer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProxy {
    pub(super) name: Option<Text<ProxyName>>,
    pub(super) listen: Option<Spanned<Vec<Text<SocketAddr>>>>,
    pub(super) admin_listen: Option<Text<SocketAddr>>,
    pub(super) workers: Option<Spanned<usize>>,
    pub(super) drain_timeout: Option<Text<Ttl>>,
    pub(super) domains: Option<Vec<Text<HostName>>>,
    pub(super) access_request: Option<Text<AccessUrl>>,
    pub(super) identity: Option<RawIdentityFiles>,
    pub(super) trust: Option<RawTrust>,
    #[serde(default)]
    pub(super) tls: RawTls,
    pub(super) control: Option<RawControlLink>,
    pub(super) audit: Option<RawAudit>,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) ceilings: RawCeilings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIdentityFiles {
    pub(super) certificate: Option<Text<PathBuf>>,
    pub(super) key: Option<Text<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrust {
    pub(super) bundles: Option<Spanned<BTreeMap<String, Text<PathBuf>>>>,
    #[serde(default)]
    pub(super) crls: Vec<Text<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) tls12: Option<bool>,
    pub(super) resumption: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawControlLink {
    pub(super) endpoints: Option<Spanned<Vec<Text<Endpoint>>>>,
    pub(super) identity: Option<Text<SpiffeId>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAudit {
    pub(super) file: Option<Text<PathBuf>>,
    pub(super) stdout: Option<Spanned<bool>>,
    pub(super) rotate_bytes: Option<Spanned<NonZeroU64>>,
    pub(super) rotate_every: Option<Text<Ttl>>,
    pub(super) compress: Option<Spanned<bool>>,
    pub(super) queue_lines: Option<Spanned<NonZeroUsize>>,
    #[serde(default)]
    pub(super) denials: RawDenials,
    pub(super) recording: Option<RawRecording>,
    #[serde(default)]
    pub(super) export: Vec<RawExport>,
    #[serde(default)]
    pub(super) witness: Vec<RawWitness>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecording {
    pub(super) recipient: Option<Text<AgeRecipient>>,
    pub(super) recipient_file: Option<Text<PathBuf>>,
    pub(super) directory: Option<Text<PathBuf>>,
    pub(super) max_body_bytes: Option<Spanned<usize>>,
    pub(super) max_total_bytes: Option<NonZeroU64>,
    pub(super) max_in_flight: Option<NonZeroU32>,
    pub(super) keep: Option<Text<Ttl>>,
    #[serde(default)]
    pub(super) redact: RawRedaction,
    pub(super) raw: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRedaction {
    #[serde(default)]
    pub(super) pointers: Vec<Text<JsonPointer>>,
    #[serde(default)]
    pub(super) keys: Vec<Text<KeyName>>,
    #[serde(default)]
    pub(super) patterns: Vec<Text<Pattern>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDenials {
    pub(super) lines_per_second: Option<NonZeroU32>,
    pub(super) burst: Option<NonZeroU32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) connections: Option<NonZeroUsize>,
    pub(super) connections_per_principal: Option<NonZeroUsize>,
    pub(super) handshake_timeout: Option<Text<Ttl>>,
    pub(super) header_timeout: Option<Text<Ttl>>,
    pub(super) header_bytes: Option<Spanned<usize>>,
    pub(super) headers: Option<NonZeroUsize>,
    pub(super) idle_timeout: Option<Text<Ttl>>,
    pub(super) body_stall_timeout: Option<Text<Ttl>>,
    pub(super) write_stall_timeout: Option<Text<Ttl>>,
    pub(super) h2_streams: Option<NonZeroU32>,
    pub(super) h2_resets_per_second: Option<NonZeroU32>,
    pub(super) h2_control_frames_per_second: Option<NonZeroU32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCeilings {
    pub(super) max_ttl: Option<Text<Ttl>>,
    pub(super) trust_domains: Option<Spanned<Vec<Text<TrustDomain>>>>,
    pub(super) methods: Option<Spanned<Vec<Text<Method>>>>,
    pub(super) tools: Option<Spanned<Vec<Text<ToolName>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawService {
    pub(super) name: Option<Text<ServiceName>>,
    pub(super) upstream: Option<Spanned<Vec<Text<Address>>>>,
    #[serde(default)]
    pub(super) hosts: Vec<Text<HostName>>,
    pub(super) listen: Option<Text<SocketAddr>>,
    pub(super) protocol: Option<Spanned<RawProtocol>>,
    pub(super) mcp: Option<Spanned<RawMcp>>,
    pub(super) preserve_host: Option<bool>,
    pub(super) connect_timeout: Option<Text<Ttl>>,
    pub(super) first_byte_timeout: Option<Text<Ttl>>,
    pub(super) idle_timeout: Option<Text<Ttl>>,
    pub(super) max_connections: Option<NonZeroUsize>,
    pub(super) token_required: Option<bool>,
    pub(super) user_token: Option<Spanned<RawUserToken>>,
    pub(super) forward_authorization: Option<bool>,
    pub(super) durability: Option<Spanned<crate::config::Durability>>,
    pub(super) upstream_ca: Option<Text<PathBuf>>,
    pub(super) owner: Option<Text<Owner>>,
    pub(super) sensitivity: Option<Sensitivity>,
    pub(super) environment: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) tools: BTreeMap<String, Sensitivity>,
    pub(super) requestable: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUserToken {
    pub(super) issuer: Option<Text<TokenParty>>,
    pub(super) audience: Option<Text<TokenParty>>,
    #[serde(default)]
    pub(super) claims: BTreeMap<String, Spanned<toml::Value>>,
    pub(super) header: Option<Text<FieldName>>,
    pub(super) forward: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawProtocol {
    Http,
    Grpc,
    Mcp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMcp {
    pub(super) path: Option<Text<EndpointPath>>,
    pub(super) versions: Option<Spanned<Vec<Text<Version>>>>,
    pub(super) allowed_origins: Option<Vec<Text<Origin>>>,
    pub(super) message_bytes: Option<Spanned<usize>>,
    pub(super) message_depth: Option<Spanned<u16>>,
    pub(super) list_hint: Option<bool>,
    pub(super) requestable: Option<Spanned<Vec<Text<Permission>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawControl {
    pub(super) listen: Option<Text<SocketAddr>>,
    pub(super) public_url: Option<Text<Endpoint>>,
    pub(super) admin_listen: Option<Text<SocketAddr>>,
    pub(super) store: Option<Text<Store>>,
    pub(super) lease: Option<Text<Ttl>>,
    pub(super) clock_drift: Option<Text<Ttl>>,
    pub(super) max_ttl: Option<Text<Ttl>>,
    pub(super) drain_timeout: Option<Text<Ttl>>,
    pub(super) identity: Option<RawIdentityFiles>,
    pub(super) trust: Option<RawTrust>,
    #[serde(default)]
    pub(super) requests: RawRequests,
    #[serde(default)]
    pub(super) policy: RawPolicy,
    #[serde(default)]
    pub(super) tokens: RawTokens,
    #[serde(default)]
    pub(super) export: Vec<RawExport>,
    #[serde(default)]
    pub(super) witness: Vec<RawWitness>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) folder: Option<Text<PathBuf>>,
    pub(super) zone: Option<Text<ZoneName>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRequests {
    pub(super) pending_timeout: Option<Text<Ttl>>,
    pub(super) max_pending: Option<NonZeroUsize>,
    pub(super) max_per_hour: Option<NonZeroU32>,
    pub(super) cooldown_after_denial: Option<Text<Wait>>,
    pub(super) cooldown_after_revocation: Option<Text<Wait>>,
    pub(super) cooldown_after_expiry: Option<Text<Wait>>,
    pub(super) privileged_cap: Option<Text<Ttl>>,
    pub(super) privileged_window: Option<Text<Ttl>>,
    pub(super) max_open_reviews: Option<NonZeroUsize>,
    pub(super) review_within: Option<Text<Ttl>>,
    pub(super) task_idle_timeout: Option<Text<Ttl>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuer {
    pub(super) issuer: Option<Text<TokenParty>>,
    pub(super) audience: Option<Text<TokenParty>>,
    pub(super) jwks_url: Option<Text<WebhookUrl>>,
    pub(super) jwks_file: Option<Text<PathBuf>>,
    pub(super) ca: Option<Text<PathBuf>>,
    pub(super) algorithms: Option<Spanned<Vec<Text<JwsAlgorithm>>>>,
    pub(super) person_claim: Option<String>,
    #[serde(default)]
    pub(super) people: BTreeMap<String, Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTokens {
    pub(super) issuer: Option<Text<TokenParty>>,
    pub(super) audience: Option<Text<TokenParty>>,
    pub(super) rotate_every: Option<Text<Ttl>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPrincipal {
    pub(super) id: Option<Text<SpiffeId>>,
    pub(super) kind: Option<PrincipalKind>,
    #[serde(default)]
    pub(super) groups: Vec<Text<GroupName>>,
    pub(super) risk: Option<Risk>,
    pub(super) compliant: Option<bool>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRole {
    pub(super) name: Option<Text<RoleName>>,
    pub(super) scope: Option<Spanned<Vec<Text<Scope>>>>,
    pub(super) max_ttl: Option<Text<Ttl>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIdentity {
    pub(super) id: Option<Text<SpiffeId>>,
    pub(super) roles: Option<Spanned<Vec<Text<Role>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPerson {
    pub(super) name: Option<Text<PersonName>>,
    pub(super) identities: Option<Spanned<Vec<Text<SpiffeId>>>>,
    #[serde(default)]
    pub(super) groups: Vec<Text<GroupName>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWebhook {
    pub(super) name: Option<Text<WebhookName>>,
    pub(super) url: Option<Text<WebhookUrl>>,
    pub(super) insecure: Option<bool>,
    pub(super) secret_file: Option<Text<PathBuf>>,
    pub(super) events: Option<Spanned<Vec<Text<EventName>>>>,
    pub(super) format: Option<RawWebhookFormat>,
    pub(super) ca: Option<Text<PathBuf>>,
    pub(super) timeout: Option<Text<Ttl>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTickets {
    pub(super) url: Option<Text<TicketUrl>>,
    pub(super) insecure: Option<bool>,
    pub(super) header: Option<Spanned<String>>,
    pub(super) secret_file: Option<Text<PathBuf>>,
    pub(super) pointer: Option<Spanned<String>>,
    pub(super) open: Option<Spanned<Vec<String>>>,
    pub(super) ca: Option<Text<PathBuf>>,
    pub(super) timeout: Option<Text<Ttl>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawWebhookFormat {
    Standard,
    Chat,
}

/// The value inside, and its place.
pub(crate) fn split<T>(text: Text<T>) -> (T, std::ops::Range<usize>) {
    let span = text.span();
    let Parsed(value) = text.into_inner();
    (value, span)
}
