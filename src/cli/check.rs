//! `jitgate check`: everything that is wrong with a configuration, before it is used.

use super::Failure;
use super::output::{self, Output};
use crate::config::{Config, ConfigErrors, Problem};
use crate::control::notify::Secrets;
use crate::identity::keyfile::{self, Secrecy};
use serde_json::json;
use std::path::PathBuf;

/// Check a configuration file: every error with file, line and key
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  jitgate check /etc/jitgate/proxy.toml\n  jitgate check gate.toml --output json"
)]
pub(super) struct Check {
    /// The file
    file: PathBuf,
}

impl Check {
    pub(super) fn run(self, output: Output) -> Result<(), Failure> {
        let checked = Config::load(&self.file).and_then(|config| {
            let problems = files(&config);
            if problems.is_empty() { Ok(config) } else { Err(ConfigErrors { problems }) }
        });
        match (checked, output) {
            (Ok(config), Output::Table) => {
                let halves = match (&config.proxy, &config.control) {
                    (Some(proxy), Some(_)) => format!("a proxy for {}, and a control plane", services(proxy)),
                    (Some(proxy), None) => format!("a proxy for {}", services(proxy)),
                    (None, Some(_)) => "a control plane".to_owned(),
                    (None, None) => "nothing".to_owned(),
                };
                output::line(&format!("{}: good: {halves}", self.file.display()))
            }
            (Ok(_), Output::Json) => output::json(&json!([])),
            (Err(errors), Output::Json) => {
                output::json(&errors.problems)?;
                Err(Failure::usage(format!("{} problems", errors.problems.len())))
            }
            (Err(errors), Output::Table) => Err(Failure::usage(errors)),
        }
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
    named.into_iter().filter_map(problem).chain(secrets).chain(ticket).collect()
}

fn services(proxy: &crate::config::ProxyConfig) -> String {
    proxy.services.iter().map(|service| format!("`{}`", service.name)).collect::<Vec<_>>().join(", ")
}
