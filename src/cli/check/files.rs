//! The files that a configuration names: whether they are there, and whether whoever uses them can.
//!
//! Each is read as it is at a start, by the same code. What is on the web is not asked for.

use crate::audit::recording::recipients;
use crate::cli::failure::chain;
use crate::config::{
    Config, ControlConfig, ExportConfig, ExportTarget, IdentityFiles, IssuerConfig, KeySource, Problem,
    ProxyConfig, ReceiverTls, RecipientSource, TrustFiles, WitnessConfig,
};
use crate::control::notify::Secrets;
use crate::identity::issuer::Issuer;
use crate::identity::keyfile::{self, Secrecy};
use crate::identity::reload::Reloader;
use crate::runtime::clock::wall;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

/// Everything that is wrong with them.
pub(super) fn problems(file: &Path, config: &Config) -> Vec<Problem> {
    let mut files = Files { file, problems: Vec::new() };
    config.proxy.iter().for_each(|proxy| files.of_proxy(proxy));
    config.control.iter().for_each(|control| files.of_control(control));
    files.problems
}

struct Files<'c> {
    file: &'c Path,
    problems: Vec<Problem>,
}

impl Files<'_> {
    fn of_proxy(&mut self, proxy: &ProxyConfig) {
        self.certificates("proxy", &proxy.identity, &proxy.trust);
        for service in &proxy.services {
            let key = format!("service `{}`: upstream_ca", service.name);
            if service.upstream_ca.as_ref().is_none_or(|file| self.is_there(&key, file)) {
                self.used(&key, crate::proxy::upstream::check(service));
            }
        }
        if let Some(recording) = &proxy.audit.recording
            && let RecipientSource::File(_) = &recording.recipient
        {
            self.used("proxy.audit.recording.recipient_file", recipients(&recording.recipient));
        }
        self.issuers(&proxy.issuers);
        self.exports("proxy.audit.export", &proxy.audit.exports);
        self.witnesses("proxy.audit.witness", &proxy.audit.witnesses);
    }

    fn of_control(&mut self, control: &ControlConfig) {
        self.certificates("control", &control.identity, &control.trust);
        for hook in &control.webhooks {
            let key = |what: &str| format!("control.webhook `{}`: {what}", hook.name);
            hook.ca.iter().for_each(|file| _ = self.is_there(&key("ca"), file));
            hook.secret_file.iter().for_each(|file| self.used(&key("secret_file"), Secrets::load(file)));
        }
        if let Some(tickets) = &control.tickets {
            tickets.ca.iter().for_each(|file| _ = self.is_there("tickets.ca", file));
            if let Some((_, file)) = &tickets.header {
                self.used("tickets.secret_file", keyfile::read(file, Secrecy::Private));
            }
        }
        self.issuers(&control.issuers);
        self.exports("control.export", &control.exports);
        self.witnesses("control.witness", &control.witnesses);
    }

    /// Each by itself if it is not there; together, as they belong together, if all are.
    fn certificates(&mut self, half: &str, identity: &IdentityFiles, trust: &TrustFiles) {
        let own = [("identity.certificate", &identity.certificate), ("identity.key", &identity.key)];
        let bundles = trust.bundles.values().map(|file| ("trust.bundles", file));
        let crls = trust.crls.iter().map(|file| ("trust.crls", file));
        let named: Vec<_> = own.into_iter().chain(bundles).chain(crls).collect();
        let there = named.iter().filter(|(key, file)| self.is_there(&format!("{half}.{key}"), file)).count();
        if there == named.len() {
            let loaded = Reloader::load(identity.clone(), trust.clone(), Arc::new(wall), Box::new(|_| ()));
            self.used(half, loaded);
        }
    }

    fn issuers(&mut self, issuers: &[IssuerConfig]) {
        for issuer in issuers {
            let key = |what: &str| format!("issuer `{}`: {what}", issuer.issuer);
            let (what, file) = match &issuer.keys {
                KeySource::File(file) => ("jwks_file", Some(file)),
                KeySource::Url { ca, .. } => ("ca", ca.as_ref()),
            };
            if file.is_none_or(|file| self.is_there(&key(what), file)) {
                self.used(&key(what), Issuer::new(issuer));
            }
        }
    }

    fn exports(&mut self, table: &str, exports: &[ExportConfig]) {
        for export in exports {
            let key = format!("{table} `{}`", export.name);
            let (tls, header) = match &export.target {
                ExportTarget::OcsfHttp(to) | ExportTarget::Otlp(to) => (Some(&to.tls), to.header.as_ref()),
                ExportTarget::Syslog(to) => (Some(&to.tls), None),
                ExportTarget::OcsfFile(_) => (None, None),
            };
            let mut all = tls.is_none_or(|tls| self.tls(&key, tls));
            all &= header.is_none_or(|(_, file)| self.is_there(&format!("{key}: secret_file"), file));
            if all {
                self.used(&key, crate::export::check(export));
            }
        }
    }

    fn witnesses(&mut self, table: &str, witnesses: &[WitnessConfig]) {
        for witness in witnesses {
            self.tls(&format!("{table} `{}`", witness.name), &witness.tls);
        }
    }

    fn tls(&mut self, key: &str, tls: &ReceiverTls) -> bool {
        let client = tls.client.as_ref();
        let named = [
            ("ca", tls.ca.as_ref()),
            ("certificate", client.map(|client| &client.certificate)),
            ("key", client.map(|client| &client.key)),
        ];
        let missing = named.into_iter().filter_map(|(what, file)| Some((what, file?)));
        missing.filter(|(what, file)| !self.is_there(&format!("{key}: {what}"), file)).count() == 0
    }

    fn is_there(&mut self, key: &str, file: &Path) -> bool {
        match std::fs::File::open(file) {
            Ok(_) => true,
            Err(error) => {
                self.wrong(key, format!("`{}` cannot be read: {error}", file.display()));
                false
            }
        }
    }

    /// By whoever uses it at a start.
    fn used<T>(&mut self, key: &str, loaded: Result<T, impl Error + 'static>) {
        if let Err(error) = loaded {
            self.wrong(key, chain(&error));
        }
    }

    fn wrong(&mut self, key: &str, message: String) {
        self.problems.push(Problem { file: self.file.to_owned(), line: None, key: key.to_owned(), message });
    }
}
