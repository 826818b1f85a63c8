//! The way in: a file, or what `jitgate up` brings along, or both.

use crate::config::problem::{ConfigErrors, Problem};
use crate::config::raw::RawFile;
use crate::config::source::Source;
use crate::config::{
    AuditTarget, ControlConfig, ControlLink, IdentityFiles, ProxyConfig, RecordingConfig, Role,
    ServiceConfig, Store, TrustFiles, build,
};
use crate::model::{Owner, SpiffeId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

/// Both halves, as far as they are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[proxy]` and `[[service]]`.
    pub proxy: Option<ProxyConfig>,
    /// `[control]`, `[[identities]]` and `[[people]]`.
    pub control: Option<ControlConfig>,
}

/// What `jitgate up` brings along for both halves: flags, which win over the file, and what it has made itself, which the file
/// wins over.
#[derive(Debug, Clone)]
pub struct Base {
    /// For the proxy.
    pub proxy: ProxyBase,
    /// For the control plane.
    pub control: ControlBase,
}

/// See [`Base`].
#[derive(Debug, Clone)]
pub struct ProxyBase {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--admin-listen`.
    pub admin_listen: Option<SocketAddr>,
    /// `--service`; beside those of the file.
    pub services: Vec<ServiceConfig>,
    /// Where neither a flag nor the file names one.
    pub sample: Option<ServiceConfig>,
    /// Unless the file says otherwise.
    pub identity: IdentityFiles,
    /// Unless the file says otherwise.
    pub trust: TrustFiles,
    /// Unless the file says otherwise.
    pub control: ControlLink,
    /// Unless the file says otherwise.
    pub audit: AuditTarget,
    /// Unless the file says otherwise.
    pub recording: Option<RecordingConfig>,
}

/// See [`Base`].
#[derive(Debug, Clone)]
pub struct ControlBase {
    /// `--control-listen`.
    pub listen: Option<SocketAddr>,
    /// Unless the file says otherwise.
    pub identity: IdentityFiles,
    /// Unless the file says otherwise.
    pub trust: TrustFiles,
    /// Unless the file says otherwise.
    pub store: Store,
    /// Beside those of the file, which wins for an identity that both name.
    pub roles: BTreeMap<SpiffeId, BTreeSet<Role>>,
    /// Who answers for services of which nothing else is said.
    pub owner: SpiffeId,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with file, line, key and remedy.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        Self::parse(file, &read(file)?, None)
    }

    /// Both halves from what `up` brings along, and a file if there is one.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn with_base(file: Option<&Path>, base: Base) -> Result<(ProxyConfig, ControlConfig), ConfigErrors> {
        let (name, text) = match file {
            Some(file) => (file, read(file)?),
            None => (Path::new("command line"), String::new()),
        };
        let config = Self::parse(name, &text, Some(base))?;
        match (config.proxy, config.control) {
            (Some(proxy), Some(control)) => Ok((proxy, control)),
            (proxy, _) => {
                let half = if proxy.is_none() { "proxy" } else { "control" };
                Err(whole(name, half, "missing"))
            }
        }
    }

    /// Reads a text as the file `file`, whose folder relative paths start from.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(file: &Path, text: &str, base: Option<Base>) -> Result<Self, ConfigErrors> {
        let (mut source, raw) = Source::read::<RawFile>(file, text);
        if source.is_broken() {
            return source.finish(None);
        }
        let (proxy_base, control_base) =
            base.map_or((None, None), |base| (Some(base.proxy), Some(base.control)));
        let with_control = control_base.is_some()
            || raw.control.is_some()
            || !raw.identities.is_empty()
            || !raw.people.is_empty()
            || !raw.principals.is_empty()
            || !raw.roles.is_empty()
            || !raw.webhooks.is_empty()
            || raw.tickets.is_some()
            || (!raw.issuers.is_empty() && raw.proxy.is_none());
        // A control plane on its own knows services as well: who owns them, how sensitive they are.
        let with_proxy =
            proxy_base.is_some() || raw.proxy.is_some() || (!with_control && !raw.service.is_empty());
        if !with_proxy && !with_control && !source.has_problems() {
            source.whole("", "nothing is configured: add `[proxy]` and `[[service]]`, or `[control]`");
        }
        let services = if with_control {
            build::profiles(&mut source, &raw.service, &raw.people, control_base.as_ref())
        } else {
            BTreeMap::new()
        };
        if !with_proxy {
            build::names(&mut source, &raw.service);
        }
        let issuers = build::issuers(&mut source, raw.issuers, &raw.people);
        let known = build::Known {
            identities: raw.identities,
            people: raw.people,
            principals: raw.principals,
            roles: raw.roles,
            webhooks: raw.webhooks,
            tickets: raw.tickets,
            issuers: issuers.clone(),
            services,
        };
        let proxy = if with_proxy {
            build::proxy(&mut source, raw.proxy.unwrap_or_default(), raw.service, &issuers, proxy_base)
        } else {
            None
        };
        let mut control = if with_control {
            build::control(&mut source, raw.control.unwrap_or_default(), known, control_base.clone())
        } else {
            None
        };
        if let (Some(base), Some(proxy), Some(control)) = (control_base, &proxy, &mut control) {
            // Services of the command line belong to whoever runs it.
            for service in &proxy.services {
                let profile = || build::owned_by(Owner::Identity(base.owner.clone()));
                control.services.entry(service.name.clone()).or_insert_with(profile);
            }
        }
        source.finish(Some(Self { proxy, control }))
    }
}

fn read(file: &Path) -> Result<String, ConfigErrors> {
    std::fs::read_to_string(file).map_err(|error| whole(file, "", &format!("cannot be read: {error}")))
}

fn whole(file: &Path, key: &str, message: &str) -> ConfigErrors {
    let problem =
        Problem { file: file.to_path_buf(), line: None, key: key.to_owned(), message: message.to_owned() };
    ConfigErrors { problems: vec![problem] }
}
