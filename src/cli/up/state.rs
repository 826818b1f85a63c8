//! `DIR/up.json`: where a running `up` can be reached, for the verbs that are used beside it.

use crate::config::{Endpoint, ServiceConfig, reachable};
use crate::model::{ServiceName, SpiffeId};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const FILE: &str = "up.json";

/// See the head of this file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::cli) struct State {
    /// The control plane.
    #[serde(with = "text")]
    pub(in crate::cli) control: Endpoint,
    /// What it proves.
    pub(in crate::cli) control_identity: SpiffeId,
    /// The proxy's listeners.
    pub(super) proxy: Vec<SocketAddr>,
    /// Metrics and health.
    pub(super) admin: SocketAddr,
    /// `NAME.<domain>` selects a service.
    pub(in crate::cli) domains: Vec<String>,
    /// What it protects.
    pub(in crate::cli) services: Vec<Service>,
    /// The audit trail, where it is a file.
    pub(in crate::cli) audit: Option<PathBuf>,
    /// The folder of recordings.
    #[serde(default)]
    pub(in crate::cli) recordings: Option<PathBuf>,
}

/// An endpoint as its URL.
mod text {
    use crate::config::Endpoint;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(endpoint: &Endpoint, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(endpoint)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Endpoint, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A protected service, as `explain` needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::cli) struct Service {
    pub(in crate::cli) name: ServiceName,
    pub(in crate::cli) hosts: Vec<String>,
    pub(in crate::cli) listen: Option<SocketAddr>,
    /// Whether it demands the token of a grant.
    #[serde(default)]
    pub(in crate::cli) token_required: bool,
    /// The issuer whose users it demands to know.
    #[serde(default)]
    pub(in crate::cli) user_token: Option<String>,
}

impl From<&ServiceConfig> for Service {
    fn from(service: &ServiceConfig) -> Self {
        Self {
            name: service.name.clone(),
            hosts: service.hosts.to_vec(),
            listen: service.listen,
            token_required: service.token_required,
            user_token: service.user_token.as_ref().map(|demand| demand.issuer.clone()),
        }
    }
}

/// Why there is no state to read.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum StateError {
    /// No file.
    #[error(
        "no running `jitgate up` is known in `{}`: start one, choose its folder with --data, or name a control plane with \
         --control", .0.display()
    )]
    None(PathBuf),
    /// A file that cannot be read.
    #[error("`{}` cannot be read: {why}; start `jitgate up` again", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl State {
    /// The state that the `up` of this folder left.
    pub(in crate::cli) fn read(data: &Path) -> Result<Self, StateError> {
        let path = data.join(FILE);
        let broken = |why: String| StateError::Broken { path: path.clone(), why };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::None(data.to_owned()));
            }
            Err(error) => return Err(broken(error.to_string())),
        };
        serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))
    }

    /// Where the proxy can be reached from this machine.
    pub(in crate::cli) fn gate(&self) -> Option<SocketAddr> {
        self.proxy.first().map(|address| reachable(*address))
    }

    /// Leaves it, in one step.
    pub(super) fn write(&self, data: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let new = data.join(format!("{FILE}.new"));
        std::fs::write(&new, text)?;
        std::fs::rename(new, data.join(FILE))
    }

    /// Takes it away: nothing runs any more.
    pub(super) fn remove(data: &Path) {
        if let Err(error) = std::fs::remove_file(data.join(FILE)) {
            tracing::warn!(%error, "the state file is left behind");
        }
    }
}
