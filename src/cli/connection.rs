//! Which control plane a verb talks to, and as whom: a running `jitgate up` found through its folder, or a remote one by flags.

use super::Failure;
use super::up::state::State;
use crate::config::{Endpoint, IdentityFiles};
use crate::identity::ServerRule;
use crate::identity::devca::files_in;
use crate::model::SpiffeId;
use std::path::{Path, PathBuf};

/// Where `up` keeps its things unless told otherwise.
pub(super) const DEFAULT_DATA: &str = "jitgate-data";

/// The flags for it.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The folder of `jitgate up`
    #[arg(long, global = true, env = "JITGATE_DATA", value_name = "DIR", default_value = DEFAULT_DATA)]
    pub(super) data: PathBuf,
    /// A control plane elsewhere, for instance `https://control.example:8444`
    #[arg(long, global = true, env = "JITGATE_CONTROL", value_name = "URL")]
    control: Option<Endpoint>,
    /// The SPIFFE ID that it must prove; without, its certificate must name its host
    #[arg(long, global = true, env = "JITGATE_CONTROL_ID", value_name = "SPIFFE_ID", requires = "control")]
    control_id: Option<SpiffeId>,
    /// Certificate to show it
    #[arg(long, global = true, env = "JITGATE_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, global = true, env = "JITGATE_KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// CA certificates to check it with [default: ca.pem of --data]
    #[arg(long, global = true, env = "JITGATE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Whose certificate to show, instead of --cert and --key: `agent`, `operator`, or a folder with cert.pem and key.pem [default:
    /// `agent` for `request`, `run`, `task`, `cancel`, `extend`, `delegate` and `requests advance`, `operator` for the others]
    #[arg(long = "as", global = true, env = "JITGATE_AS", value_name = "agent|operator|DIR")]
    acting: Option<Acting>,
}

/// The flags for the gate itself, for verbs that send requests through it.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct GateFlags {
    /// The gate, for instance `https://gate.example:8443` [default: the one of the `jitgate up` in --data]
    #[arg(long, env = "JITGATE_PROXY", value_name = "URL")]
    proxy: Option<Endpoint>,
    /// The SPIFFE ID that it must prove; without, its certificate must name its host
    #[arg(long, env = "JITGATE_PROXY_ID", value_name = "SPIFFE_ID", requires = "proxy")]
    proxy_id: Option<SpiffeId>,
}

/// Whose certificate to show.
#[derive(Debug, Clone)]
enum Acting {
    Agent,
    Operator,
    Folder(PathBuf),
}

impl std::str::FromStr for Acting {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "agent" => Self::Agent,
            "operator" => Self::Operator,
            folder => Self::Folder(folder.into()),
        })
    }
}

/// A control plane or a gate, and how to talk to it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Where.
    pub(super) endpoint: Endpoint,
    /// What it must prove.
    pub(super) rule: ServerRule,
    /// What to show it.
    pub(super) identity: IdentityFiles,
    /// What to check it with.
    pub(super) ca: PathBuf,
}

impl Connection {
    /// Finds it, as the operator unless told otherwise.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        self.target_as(&Acting::Operator)
    }

    /// Finds it, as the agent unless told otherwise.
    pub(super) fn agent_target(&self) -> Result<Target, Failure> {
        self.target_as(&Acting::Agent)
    }

    fn target_as(&self, usual: &Acting) -> Result<Target, Failure> {
        let (endpoint, rule) = match &self.control {
            Some(endpoint) => {
                let rule = self.control_id.clone().map_or(ServerRule::Name, ServerRule::Identity);
                (endpoint.clone(), rule)
            }
            None => {
                let state = State::read(&self.data).map_err(Failure::usage)?;
                (state.control, ServerRule::Identity(state.control_identity))
            }
        };
        Ok(Target { endpoint, rule, identity: self.identity(usual)?, ca: self.ca_file() })
    }

    /// Finds the gate, as the agent unless told otherwise.
    pub(super) fn gate(&self, flags: &GateFlags) -> Result<Target, Failure> {
        let (endpoint, rule) = match (&flags.proxy, &self.control) {
            (Some(endpoint), _) => {
                let rule = flags.proxy_id.clone().map_or(ServerRule::Name, ServerRule::Identity);
                (endpoint.clone(), rule)
            }
            (None, Some(_)) => {
                let hint =
                    "where is the gate? name it with --proxy, for instance `https://gate.example:8443`";
                return Err(Failure::usage(hint));
            }
            (None, None) => {
                let state = State::read(&self.data).map_err(Failure::usage)?;
                let address =
                    state.gate().ok_or_else(|| Failure::usage("the running `up` has no listener"))?;
                (Endpoint::from(address), ServerRule::Name)
            }
        };
        let identity = self.identity(&Acting::Agent)?;
        Ok(Target { endpoint, rule, identity, ca: self.ca_file() })
    }

    /// Whether a certificate is named.
    pub(super) fn has_certificate(&self) -> bool {
        self.cert.is_some()
    }

    /// The state of a running `up`, where that is what the verbs talk to.
    pub(super) fn local(&self) -> Option<State> {
        if self.control.is_some() { None } else { State::read(&self.data).ok() }
    }

    /// The same flags once more, for a program that is started elsewhere: every path is absolute.
    pub(super) fn arguments(&self, flags: &GateFlags) -> std::io::Result<Vec<String>> {
        let path = |path: &Path| {
            let path = std::path::absolute(path)?;
            path.into_os_string().into_string().map_err(|_| std::io::Error::other("a path is not UTF-8"))
        };
        let mut all = Vec::new();
        let mut put = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                all.extend([flag.to_owned(), value]);
            }
        };
        let files = |file: &Option<PathBuf>| file.as_deref().map(path).transpose();
        // Whatever is not named is looked for there.
        let named = self.control.is_some() && self.cert.is_some() && self.ca.is_some();
        put("--data", if named { None } else { Some(path(&self.data)?) });
        put("--control", self.control.as_ref().map(ToString::to_string));
        put("--control-id", self.control_id.as_ref().map(ToString::to_string));
        put("--proxy", flags.proxy.as_ref().map(ToString::to_string));
        put("--proxy-id", flags.proxy_id.as_ref().map(ToString::to_string));
        put("--cert", files(&self.cert)?);
        put("--key", files(&self.key)?);
        put("--ca", files(&self.ca)?);
        put(
            "--as",
            match &self.acting {
                None | Some(Acting::Agent) => None,
                Some(Acting::Operator) => Some("operator".to_owned()),
                Some(Acting::Folder(folder)) => Some(path(folder)?),
            },
        );
        Ok(all)
    }

    fn ca_file(&self) -> PathBuf {
        self.ca.clone().unwrap_or_else(|| self.data.join("ca.pem"))
    }

    /// An error if it is said twice: what is done as another than was meant cannot be taken back.
    fn identity(&self, usual: &Acting) -> Result<IdentityFiles, Failure> {
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            if self.acting.is_some() {
                return Err(Failure::usage(
                    "both --as (JITGATE_AS) and --cert with --key (JITGATE_CERT, JITGATE_KEY) \
                     say whose certificate to show: leave out one of them",
                ));
            }
            return Ok(IdentityFiles { certificate: certificate.clone(), key: key.clone() });
        }
        let folder: &Path = match self.acting.as_ref().unwrap_or(usual) {
            Acting::Folder(folder) => folder,
            Acting::Agent => &self.data.join("agent"),
            Acting::Operator => &self.data.join("operator"),
        };
        Ok(files_in(folder))
    }
}
