//! `jitgate certs`: the development CA. Works on the folder of a running `jitgate up`, which learns of new operators by itself.

use super::Failure;
use super::connection::Connection;
use super::output::{self, Output};
use super::up::operators;
use crate::config::Role;
use crate::identity::devca::{CA_LIFE, DevCa, LEAF_LIFE, Leaf};
use crate::model::Ttl;
use crate::runtime::clock::wall;
use serde_json::json;
use std::path::PathBuf;

/// Development CA: make one, issue certificates
#[derive(Debug, clap::Subcommand)]
pub(super) enum Certs {
    /// Make a development CA in the folder of --data (`jitgate up` does it by itself)
    #[command(after_help = "Example:\n  jitgate certs init --data ./gate")]
    Init,
    Issue(Issue),
}

/// Issue a certificate for an agent or an operator
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("kind").required(true),
    after_help = "Examples:\n  jitgate certs issue --agent nightly\n  \
jitgate certs issue --operator ada --role viewer --role security\n  \
jitgate certs issue --agent nightly --out /run/secrets/nightly --ttl 12h"
)]
pub(super) struct Issue {
    /// For the agent of this name
    #[arg(long, group = "kind", value_name = "NAME")]
    agent: Option<String>,
    /// For the operator of this name
    #[arg(long, group = "kind", value_name = "NAME")]
    operator: Option<String>,
    /// What the operator may do: viewer, approver, security, admin, broker; repeatable
    #[arg(long, value_name = "ROLE", conflicts_with = "agent", required_unless_present = "agent", value_parser = role)]
    role: Vec<Role>,
    /// Folder for cert.pem and key.pem [default: NAME under --data]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How long it is valid [default: 365d]
    #[arg(long)]
    ttl: Option<Ttl>,
}

/// `proxy` is for enforcement points, never for a person.
fn role(text: &str) -> Result<Role, String> {
    match text.parse::<Role>() {
        Ok(Role::Proxy) => Err("an operator is no enforcement point".to_owned()),
        Ok(role) => Ok(role),
        Err(error) => Err(error.to_string()),
    }
}

impl Certs {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        match self {
            Self::Init => {
                let ca = DevCa::init(&connection.data, CA_LIFE, wall()).map_err(Failure::usage)?;
                match output {
                    Output::Json => output::json(&json!({ "ca": ca.bundle() })),
                    Output::Table => output::fields([("ca", ca.bundle().display().to_string())]),
                }
            }
            Self::Issue(issue) => issue.run(connection, output),
        }
    }
}

impl Issue {
    fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let data = &connection.data;
        if !data.join("ca.pem").exists() {
            let folder = data.display();
            let hint = "make one with `jitgate certs init` or `jitgate up`, or choose its folder with --data";
            return Err(Failure::usage(format!("there is no development CA in `{folder}`: {hint}")));
        }
        let ca = DevCa::open(data, wall()).map_err(Failure::usage)?;
        let (leaf, folder) = match (&self.agent, &self.operator) {
            (Some(name), _) => (Leaf::agent(name), data.join("agents").join(name)),
            (None, Some(name)) => (Leaf::operator(name), data.join("operators").join(name)),
            (None, None) => return Err(Failure::usage("one of `--agent` and `--operator` is needed")),
        };
        let leaf = leaf.map_err(Failure::usage)?;
        let folder = self.out.clone().unwrap_or(folder);
        let life = self.ttl.map_or(LEAF_LIFE, Ttl::get);
        let files = ca.issue(&leaf, &folder, life, wall()).map_err(Failure::usage)?;
        if self.operator.is_some() {
            operators::add(data, leaf.id(), &self.role).map_err(Failure::failed)?;
        }
        let roles: Vec<&str> = self.role.iter().map(|role| role.as_str()).collect();
        match output {
            Output::Json => output::json(&json!({
                "id": leaf.id(), "certificate": files.certificate, "key": files.key, "roles": roles,
            })),
            Output::Table => output::fields([
                ("id", leaf.id().to_string()),
                ("certificate", files.certificate.display().to_string()),
                ("key", files.key.display().to_string()),
                ("roles", roles.join(", ")),
            ]),
        }
    }
}
