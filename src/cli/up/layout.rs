//! The folder of `jitgate up`: `ca.pem`, `agent/`, `operator/`, `control/`, `proxy/`, `audit/`, `recording/`, `control.db`, `up.json`.
//!
//! Invariant: one `up` at a time; the lock is held as long as [`Layout`] lives, and goes with the process however it ends.

use crate::audit::age;
use crate::cli::Failure;
use crate::config::{
    AuditTarget, Base, ControlBase, ControlConfig, ControlLink, Endpoint, IdentityFiles, ProxyBase,
    ProxyConfig, RecipientSource, RecordingConfig, Role, Store, TrustFiles,
};
use crate::identity::devca::{DevCa, DevCaError, LEAF_LIFE, Leaf, TRUST_DOMAIN, files_in};
use crate::identity::keyfile::{self, Existing, Secrecy};
use crate::model::SpiffeId;
use crate::runtime::clock::wall;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// All roles but those of orchestrators and enforcement points.
const OPERATOR_ROLES: [Role; 4] = [Role::Viewer, Role::Approver, Role::Security, Role::Admin];

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayoutError {
    /// It cannot be made or written.
    #[error("the folder `{}` cannot be used: {source}; choose another with --data, or make it writable", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another `up` has it.
    #[error("another `jitgate up` uses `{}`: stop it, or choose another folder with --data", .0.display())]
    Taken(PathBuf),
}

/// A folder that is ours.
pub(super) struct Layout {
    folder: PathBuf,
    ca: DevCa,
    _lock: File,
}

impl Layout {
    /// It could not be written to.
    pub(super) fn refused(&self, source: io::Error) -> LayoutError {
        LayoutError::Folder { path: self.folder.clone(), source }
    }

    /// Takes the folder, and makes the CA, the agent's and the operator's certificate where they are missing.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let lock = take(folder).map_err(Failure::usage)?;
        let folder = folder.canonicalize().map_err(Failure::usage)?;
        let ca = DevCa::open_or_init(&folder, wall()).map_err(Failure::usage)?;
        let layout = Self { folder, ca, _lock: lock };
        layout.ensure(Leaf::agent("demo"), "agent")?;
        layout.ensure(Leaf::operator("local"), "operator")?;
        Ok(layout)
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What this folder brings along for both halves. `control`: where the control plane listens, if a flag says so.
    pub(super) fn base(&self, control: Option<SocketAddr>) -> Result<Base, Failure> {
        let recipient = RecipientSource::File(self.recording_key()?);
        let recording = RecordingConfig::to(recipient, self.folder.join("audit").join("recordings"));
        let bundle = self.ca.bundle();
        let trust = TrustFiles { bundles: [(TRUST_DOMAIN.to_owned(), bundle)].into(), crls: Vec::new() };
        let roles = [
            (id(Leaf::operator("local"))?, OPERATOR_ROLES.into()),
            (id(Leaf::proxy("local", &[]))?, [Role::Proxy].into()),
        ];
        Ok(Base {
            proxy: ProxyBase {
                listen: None,
                admin_listen: None,
                services: Vec::new(),
                sample: None,
                identity: files_in(&self.folder.join("proxy")),
                trust: trust.clone(),
                control: ControlLink {
                    endpoints: Box::new([Endpoint::from(control.unwrap_or(ControlConfig::LISTEN))]),
                    identity: id(Leaf::control("local"))?,
                },
                audit: AuditTarget::File(self.folder.join("audit").join("audit.jsonl")),
                recording: Some(recording),
            },
            control: ControlBase {
                listen: control,
                identity: files_in(&self.folder.join("control")),
                trust,
                store: Store::Sqlite(self.folder.join("control.db")),
                roles: roles.into(),
                owner: id(Leaf::operator("local"))?,
            },
        })
    }

    /// Sees to it that the control plane's certificate covers the address that refusals name.
    pub(super) fn certify_control(&self, config: &ControlConfig) -> Result<(), Failure> {
        self.ensure(Leaf::control("local").map(|leaf| leaf.also_at(config.listen.ip())), "control").map(drop)
    }

    /// Sees to it that the proxy's certificate covers the names by which it is called.
    pub(super) fn certify_proxy(&self, config: &ProxyConfig) -> Result<(), Failure> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        for service in &config.services {
            names.extend(config.domains.iter().map(|domain| format!("{}.{domain}", service.name)));
            names.extend(service.hosts.iter().cloned());
        }
        names.extend(
            config
                .listen
                .iter()
                .map(|address| address.ip())
                .filter(|ip| !ip.is_unspecified())
                .map(|ip| ip.to_string()),
        );
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.ensure(Leaf::proxy("local", &names), "proxy")?;
        Ok(())
    }

    /// The file with the public key for recordings; makes a pair where there is none. The private one may be taken elsewhere: it is
    /// not needed here.
    fn recording_key(&self) -> Result<PathBuf, Failure> {
        let folder = self.folder.join("recording");
        let public = folder.join("recipient.txt");
        if public.exists() {
            return Ok(public);
        }
        keyfile::make_folder(&folder).map_err(Failure::usage)?;
        let (identity, recipient) = age::generate().map_err(Failure::failed)?;
        let secret = identity.reveal().ok_or_else(|| Failure::failed("a key has no text"))?;
        let text = format!(
            "# opens the recordings: jitgate audit show REQUEST --key FILE\n# public key: {recipient}\n{secret}\n"
        );
        keyfile::write(&folder.join("key.txt"), text.as_bytes(), Secrecy::Private, Existing::Replace)
            .and_then(|()| {
                keyfile::write(&public, format!("{recipient}\n").as_bytes(), Secrecy::Public, Existing::Keep)
            })
            .map_err(Failure::usage)?;
        Ok(public)
    }

    fn ensure(&self, leaf: Result<Leaf, DevCaError>, name: &str) -> Result<IdentityFiles, Failure> {
        let leaf = leaf.map_err(Failure::usage)?;
        self.ca.ensure(&leaf, &self.folder.join(name), LEAF_LIFE, wall()).map_err(Failure::usage)
    }
}

fn id(leaf: Result<Leaf, DevCaError>) -> Result<SpiffeId, Failure> {
    leaf.map(|leaf| leaf.id().clone()).map_err(Failure::usage)
}

/// Makes the folder where it is missing, and locks it.
fn take(folder: &Path) -> Result<File, LayoutError> {
    let failed = |source| LayoutError::Folder { path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join("up.lock"))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LayoutError::Taken(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_first_start_makes_everything_and_a_second_goes_on_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("data");
        let first = Layout::open(&folder).unwrap();
        let mut base = first.base(None).unwrap();
        base.proxy.services = vec!["orders=http://127.0.0.1:9001".parse().unwrap()];
        let (_, control) = crate::config::Config::with_base(None, base).unwrap();
        first.certify_control(&control).unwrap();
        let ca = std::fs::read(folder.join("ca.pem")).unwrap();
        for key in ["agent/key.pem", "operator/key.pem", "control/key.pem", "ca.key.pem", "recording/key.txt"]
        {
            assert_eq!(
                std::fs::metadata(folder.join(key)).unwrap().permissions().mode() & 0o777,
                0o600,
                "{key}"
            );
        }
        let taken = Layout::open(&folder).err().unwrap();
        assert!(taken.text().contains("another `jitgate up`"), "{}", taken.text());
        drop(first);
        Layout::open(&folder).unwrap();
        assert_eq!(std::fs::read(folder.join("ca.pem")).unwrap(), ca);
    }

    #[test]
    fn folders_that_cannot_be_used() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = Layout::open(&dir.path().join("file/data")).err().unwrap();
        assert!(error.text().contains("--data"), "{}", error.text());
        std::fs::write(dir.path().join("ca.pem"), "no certificate").unwrap();
        let error = Layout::open(dir.path()).err().unwrap();
        assert!(error.text().contains(&dir.path().display().to_string()), "{}", error.text());
    }
}
