//! The control plane's half of a configuration.

use crate::config::{
    Endpoint, ExportConfig, IdentityFiles, IssuerConfig, PolicyConfig, PrincipalEntry, RequestRules,
    RoleTemplate, TicketConfig, TokenRules, TrustFiles, WebhookConfig, WitnessConfig,
};
use crate::model::{GroupName, RoleName, ServiceName, ServiceProfile, SpiffeId, Ttl};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a control plane is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlConfig {
    /// Where the API and the control channel are served.
    pub listen: SocketAddr,
    /// How callers and people reach it, for links to its approval page; absent: at `listen`.
    pub public_url: Option<Endpoint>,
    /// Where metrics and health are served; absent: nowhere (beside a proxy in one process, that one's listener serves both).
    pub admin_listen: Option<SocketAddr>,
    /// Where the event log is.
    pub store: Store,
    /// How long a proxy may enforce from its table after it last asked; 1 s to 60 s.
    pub lease: Duration,
    /// How far the clocks of a proxy and the control plane may run apart within one lease; part of `effective_by`.
    pub clock_drift: Duration,
    /// The longest window that a grant may have.
    pub max_ttl: Ttl,
    /// How long a drain may take before what is left is cut.
    pub drain_timeout: Duration,
    /// Who it is.
    pub identity: IdentityFiles,
    /// Whom it trusts.
    pub trust: TrustFiles,
    /// Roles by identity. Who is not listed has none and sees only what names it.
    pub roles: BTreeMap<SpiffeId, BTreeSet<Role>>,
    /// Which identities belong to one human; no identity belongs to two.
    pub people: Box<[Person]>,
    /// What access requests are held to.
    pub requests: RequestRules,
    /// Which policies decide on them.
    pub policy: PolicyConfig,
    /// What is known about principals.
    pub principals: BTreeMap<SpiffeId, PrincipalEntry>,
    /// What is known about services; access to others cannot be asked for.
    pub services: BTreeMap<ServiceName, ServiceProfile>,
    /// Whose tokens about people are believed.
    pub issuers: Box<[IssuerConfig]>,
    /// What its own access tokens say.
    pub tokens: TokenRules,
    /// Named scope templates.
    pub templates: BTreeMap<RoleName, RoleTemplate>,
    /// Whom it tells of what happens; each has a name of its own.
    pub webhooks: Box<[WebhookConfig]>,
    /// Where it asks about tickets; absent: a ticket stays a claim.
    pub tickets: Option<TicketConfig>,
    /// Where else the event log is sent.
    pub exports: Box<[ExportConfig]>,
    /// Who else vouches for the event log.
    pub witnesses: Box<[WitnessConfig]>,
}

impl ControlConfig {
    /// Where the API and the control channel are served by default.
    pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8444);
    /// The default lease: a restart of the control plane within it disturbs nobody.
    pub const LEASE: Duration = Duration::from_secs(15);
    /// The default drift: more than ten times what two undisciplined crystals (200 ppm) run apart within the longest lease.
    pub const CLOCK_DRIFT: Duration = Duration::from_millis(250);
    /// How long a drain may take by default.
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

    /// The identities in `[[people]]` of which nobody says whether they are the human's own or of a workload that works for them:
    /// no `kind`, and no role that decides. They count as a workload's.
    pub fn undeclared(&self) -> impl Iterator<Item = Undeclared<'_>> {
        let said = move |id: &SpiffeId| {
            self.principals.get(id).is_some_and(|entry| entry.kind.is_some())
                || self.roles.get(id).is_some_and(|roles| roles.iter().any(|role| role.decides()))
        };
        self.people.iter().flat_map(move |person| {
            let open = person.identities.iter().filter(move |id| !said(id));
            open.map(|identity| Undeclared { person: &person.name, identity })
        })
    }
}

/// An identity of a person that counts as a workload's, since nobody says what it is. Shows what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undeclared<'a> {
    /// The person's name.
    pub person: &'a str,
    /// The identity.
    pub identity: &'a SpiffeId,
}

impl std::fmt::Display for Undeclared<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { person, identity } = self;
        write!(
            f,
            "`{identity}` belongs to `{person}`, and nothing says that it is their own: it is no human approver, and does not have \
             what they own. Say `kind = \"human\"` for it in `[[principals]]`, or `kind = \"workload\"` if it \
             works for them"
        )
    }
}

/// Where the event log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In a SQLite file.
    Sqlite(PathBuf),
}

/// The identities of one human.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub name: String,
    /// The identities; never empty.
    pub identities: BTreeSet<SpiffeId>,
    /// The groups that the person is in: those of its identities are that are its own.
    pub groups: BTreeSet<GroupName>,
}

/// What an identity may do at the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads everything.
    Viewer,
    /// Decides on access requests.
    Approver,
    /// Revokes, locks down.
    Security,
    /// Grants directly, configures.
    Admin,
    /// Asks on behalf of agents that it orchestrates.
    Broker,
    /// Subscribes to grants and acknowledges; for enforcement points only.
    Proxy,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Viewer, Self::Approver, Self::Security, Self::Admin, Self::Broker, Self::Proxy];

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Security => "security",
            Self::Admin => "admin",
            Self::Broker => "broker",
            Self::Proxy => "proxy",
        }
    }

    /// Whether it decides over people's access: no workload holds it, so that whoever does is a human.
    #[must_use]
    pub fn decides(self) -> bool {
        match self {
            Self::Approver | Self::Security | Self::Admin => true,
            Self::Viewer | Self::Broker | Self::Proxy => false,
        }
    }
}

impl std::str::FromStr for Role {
    type Err = RoleError;
    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

/// Why a text is not a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a role: expected `viewer`, `approver`, `security`, `admin`, `broker` or `proxy`")]
pub struct RoleError;
