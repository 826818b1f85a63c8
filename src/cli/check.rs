//! `jitgate check`: everything that is wrong with a configuration, before it is used.

use super::Failure;
use super::output::{self, Output};
use crate::config::{Config, ConfigErrors, PolicyConfig};
use crate::control::policy::{PolicyErrors, PolicySet};
use crate::model::shown::escaped;
use serde_json::json;
use std::path::{Path, PathBuf};

mod files;

/// Check a configuration file and its policies, or a folder of policies: every error with file and line
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  jitgate check /etc/jitgate/proxy.toml\n  \
jitgate check gate.toml --output json\n  jitgate check config/policies")]
pub(super) struct Check {
    /// The file, or the folder of policies
    file: PathBuf,
}

impl Check {
    pub(super) fn run(self, output: Output) -> Result<(), Failure> {
        let checked = match self.file.is_dir() {
            true => folder(&self.file),
            false => Config::load(&self.file).and_then(|config| {
                // Beside the answer, which stays what programs expect.
                for undeclared in config.control.iter().flat_map(|control| control.undeclared()) {
                    eprintln!("{}: warning: {}", self.file.display(), escaped(&undeclared.to_string()));
                }
                configuration(&self.file, &config)
            }),
        };
        match (checked, output) {
            (Ok(good), Output::Table) => output::line(&format!("{}: good: {good}", self.file.display())),
            (Ok(_), Output::Json) => output::json(&json!([])),
            (Err(errors), Output::Json) => {
                output::json(&errors.problems)?;
                Err(Failure::usage(format!("{} problems", errors.problems.len())))
            }
            (Err(errors), Output::Table) => Err(Failure::usage(errors)),
        }
    }
}

/// What is good about a folder of policies, or everything that is not.
fn folder(folder: &Path) -> Result<String, ConfigErrors> {
    match PolicySet::load(folder, &PolicyConfig::default().zone) {
        Ok(set) => Ok(policies(&set)),
        Err(PolicyErrors { problems }) => Err(ConfigErrors { problems }),
    }
}

/// What is good about a configuration, or everything that is not.
fn configuration(file: &Path, config: &Config) -> Result<String, ConfigErrors> {
    let mut problems = files::problems(file, config);
    let loaded = config.control.as_ref().map(|control| PolicySet::from_config(&control.policy)).transpose();
    let set = loaded.unwrap_or_else(|PolicyErrors { problems: more }| {
        problems.extend(more);
        None
    });
    if !problems.is_empty() {
        return Err(ConfigErrors { problems });
    }
    let proxy = config.proxy.as_ref().map(|proxy| format!("a proxy for {}", services(proxy)));
    let control = set.map(|set| format!("a control plane with {}", policies(&set)));
    Ok(match (proxy, control) {
        (Some(proxy), Some(control)) => format!("{proxy}, and {control}"),
        (proxy, control) => proxy.or(control).unwrap_or_else(|| "nothing".to_owned()),
    })
}

fn policies(set: &PolicySet) -> String {
    match set.ids().len() {
        0 => "the built-in policy (every request needs one operator)".to_owned(),
        number => format!("{number} policies ({})", set.hash()),
    }
}

fn services(proxy: &crate::config::ProxyConfig) -> String {
    proxy.services.iter().map(|service| format!("`{}`", service.name)).collect::<Vec<_>>().join(", ")
}
