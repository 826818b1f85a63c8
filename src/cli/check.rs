//! `jitgate check`: everything that is wrong with a configuration, before it is used.

use super::Failure;
use super::output::{self, Output};
use crate::audit::recording::recipients;
use crate::config::{Config, ConfigErrors, PolicyConfig, Problem, RecipientSource};
use crate::control::notify::Secrets;
use crate::control::policy::{PolicyErrors, PolicySet};
use crate::identity::keyfile::{self, Secrecy};
use crate::model::shown::escaped;
use serde_json::json;
use std::path::{Path, PathBuf};

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
                configuration(&config)
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
fn configuration(config: &Config) -> Result<String, ConfigErrors> {
    let mut problems = files(config);
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

/// Files that are named and not there. Their content is checked by whoever uses them.
fn files(config: &Config) -> Vec<Problem> {
    let mut named = Vec::new();
    if let Some(proxy) = &config.proxy {
        named.push(("proxy.identity.certificate".to_owned(), &proxy.identity.certificate));
        named.push(("proxy.identity.key".to_owned(), &proxy.identity.key));
        named.extend(proxy.trust.bundles.values().map(|file| ("proxy.trust.bundles".to_owned(), file)));
        named.extend(proxy.trust.crls.iter().map(|file| ("proxy.trust.crls".to_owned(), file)));
        let own = proxy.services.iter().filter_map(|s| Some((&s.name, s.upstream_ca.as_ref()?)));
        named.extend(own.map(|(name, file)| (format!("upstream_ca of `{name}`"), file)));
    }
    let recipients = config.proxy.iter().filter_map(|proxy| {
        let recording = proxy.audit.recording.as_ref()?;
        let RecipientSource::File(file) = &recording.recipient else { return None };
        let error = recipients(&recording.recipient).err()?;
        let key = "proxy.audit.recording.recipient_file".to_owned();
        Some(Problem { file: file.clone(), line: None, key, message: error.to_string() })
    });
    if let Some(control) = &config.control {
        named.push(("control.identity.certificate".to_owned(), &control.identity.certificate));
        named.push(("control.identity.key".to_owned(), &control.identity.key));
        named.extend(control.trust.bundles.values().map(|file| ("control.trust.bundles".to_owned(), file)));
        named.extend(control.trust.crls.iter().map(|file| ("control.trust.crls".to_owned(), file)));
        let cas = control.webhooks.iter().filter_map(|hook| Some((&hook.name, hook.ca.as_ref()?)));
        named.extend(cas.map(|(name, file)| (format!("ca of webhook `{name}`"), file)));
        let ca = control.tickets.as_ref().and_then(|tickets| tickets.ca.as_ref());
        named.extend(ca.map(|file| ("tickets.ca".to_owned(), file)));
    }
    let problem = |(key, file): (String, &PathBuf)| {
        let error = std::fs::File::open(file).err()?;
        Some(Problem { file: file.clone(), line: None, key, message: format!("cannot be read: {error}") })
    };
    let secrets = config.control.iter().flat_map(|control| &control.webhooks).filter_map(|hook| {
        let file = hook.secret_file.as_ref()?;
        let error = Secrets::load(file).err()?;
        let key = format!("secret_file of webhook `{}`", hook.name);
        Some(Problem { file: file.clone(), line: None, key, message: error.to_string() })
    });
    let ticket = config.control.iter().filter_map(|control| {
        let file = &control.tickets.as_ref()?.header.as_ref()?.1;
        let error = keyfile::read(file, Secrecy::Private).err()?;
        let key = "tickets.secret_file".to_owned();
        Some(Problem { file: file.clone(), line: None, key, message: error.to_string() })
    });
    named.into_iter().filter_map(problem).chain(secrets).chain(ticket).chain(recipients).collect()
}

fn services(proxy: &crate::config::ProxyConfig) -> String {
    proxy.services.iter().map(|service| format!("`{}`", service.name)).collect::<Vec<_>>().join(", ")
}
