//! `[[proxy.audit.export]]` and `[[control.export]]`.

use super::{duration, encrypted, path, required};
use crate::config::raw::{RawExport, RawExportKind, split};
use crate::config::source::Source;
use crate::config::text::{FieldName, Text};
use crate::config::{
    ExportConfig, ExportTarget, HttpReceiver, IdentityFiles, ReceiverTls, SyslogReceiver, SyslogUrl,
    WebhookUrl,
};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::Spanned;

/// `table` is the key of the list, `log` the file that is exported.
pub(super) fn exports(
    source: &mut Source<'_>,
    table: &str,
    raw: Vec<RawExport>,
    log: Option<&Path>,
) -> Vec<ExportConfig> {
    let mut names = BTreeSet::new();
    let mut files: BTreeSet<PathBuf> = log.map(Path::to_owned).into_iter().collect();
    let mut all = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        if let Some(name) = &raw.name
            && !names.insert(name.get_ref().0.clone())
        {
            source.at(&name.span(), "is there already: each export has a name of its own");
        }
        if let Some(file) = &raw.file
            && !files.insert(source.resolve(&file.get_ref().0))
        {
            source.at(&file.span(), "is written to already: name a file of its own");
        }
        all.extend(export(source, &format!("{table}[{index}]"), raw));
    }
    all
}

fn export(source: &mut Source<'_>, table: &str, mut raw: RawExport) -> Option<ExportConfig> {
    let key = |name: &str| format!("{table}.{name}");
    let name = required(source, &key("name"), "what it is called, for instance `siem`", raw.name.take());
    let timeout = duration(raw.timeout.take(), ExportConfig::TIMEOUT);
    let Some(kind) = raw.kind.take() else {
        source.missing(&key("kind"), "`ocsf`, `otlp` or `syslog`");
        return None;
    };
    let kind = kind.into_inner();
    if kind != RawExportKind::Syslog
        && let Some(given) = &raw.close_notify
    {
        source.at(&given.span(), "is for `kind = \"syslog\"` alone: over HTTP each answer confirms");
    }
    let target = match (kind, raw.file.take()) {
        (RawExportKind::Ocsf, Some(file)) => {
            nothing_but_a_file(source, &raw);
            Some(ExportTarget::OcsfFile(source.resolve(&split(file).0)))
        }
        (RawExportKind::Otlp | RawExportKind::Syslog, Some(file)) => {
            source.at(&file.span(), "only `kind = \"ocsf\"` can be written to a file: set `url`");
            None
        }
        (RawExportKind::Ocsf, None) => {
            http(source, table, raw, "https://siem.example/ocsf", false).map(ExportTarget::OcsfHttp)
        }
        (RawExportKind::Otlp, None) => {
            http(source, table, raw, "https://otel.example:4318/v1/logs", true).map(ExportTarget::Otlp)
        }
        (RawExportKind::Syslog, None) => syslog(source, table, raw).map(ExportTarget::Syslog),
    };
    Some(ExportConfig { name: name?, target: target?, timeout })
}

fn http(
    source: &mut Source<'_>,
    table: &str,
    raw: RawExport,
    example: &str,
    whole: bool,
) -> Option<HttpReceiver> {
    let (url, span) = place::<WebhookUrl>(source, table, raw.url, example)?;
    encrypted(source, &url, &span);
    // Collectors answer elsewhere with 404, for ever.
    let rest = url.as_str().splitn(4, '/').nth(3).unwrap_or_default();
    if whole && rest.is_empty() {
        source.at(&span, format!("expected the whole URL for logs, such as `{example}`"));
    }
    let header = match (raw.header, path(source, raw.secret_file)) {
        (Some(name), None) => {
            source.at(&name.span(), "needs `secret_file`, the file with its value");
            None
        }
        (Some(name), Some(file)) => {
            let FieldName(name) = split(name).0;
            Some((name, file))
        }
        (None, file) => file.map(|file| (ExportConfig::HEADER.to_owned(), file)),
    };
    let tls = tls(source, table, raw.ca, raw.certificate, raw.key);
    Some(HttpReceiver { url, tls, header })
}

fn syslog(source: &mut Source<'_>, table: &str, raw: RawExport) -> Option<SyslogReceiver> {
    for (given, what) in [
        (raw.header.as_ref().map(Spanned::span), "header"),
        (raw.secret_file.as_ref().map(Spanned::span), "secret_file"),
    ] {
        if let Some(span) = given {
            source.at(&span, format!("syslog has no `{what}`: prove who sends with `certificate` and `key`"));
        }
    }
    let (url, span) = place::<SyslogUrl>(source, table, raw.url, "tls://logs.example:6514")?;
    if !url.encrypted && !url.is_loopback() {
        source.at(&span, "expected `tls`: in the clear only to this machine (127.0.0.1, [::1], localhost)");
    }
    let tls = tls(source, table, raw.ca, raw.certificate, raw.key);
    Some(SyslogReceiver { url, tls, close_notify: raw.close_notify.is_none_or(Spanned::into_inner) })
}

fn tls(
    source: &mut Source<'_>,
    table: &str,
    ca: Option<Text<PathBuf>>,
    certificate: Option<Text<PathBuf>>,
    key: Option<Text<PathBuf>>,
) -> ReceiverTls {
    let client = match (path(source, certificate), path(source, key)) {
        (Some(certificate), Some(key)) => Some(IdentityFiles { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            source.missing(&format!("{table}.key"), "the PEM file of the key of `certificate`");
            None
        }
        (None, Some(_)) => {
            source.missing(&format!("{table}.certificate"), "the PEM file of the certificate of `key`");
            None
        }
    };
    ReceiverTls { ca: path(source, ca), client }
}

/// What only a receiver on the network has.
fn nothing_but_a_file(source: &mut Source<'_>, raw: &RawExport) {
    let spans = [
        raw.url.as_ref().map(Spanned::span),
        raw.ca.as_ref().map(Spanned::span),
        raw.certificate.as_ref().map(Spanned::span),
        raw.key.as_ref().map(Spanned::span),
        raw.header.as_ref().map(Spanned::span),
        raw.secret_file.as_ref().map(Spanned::span),
    ];
    for span in spans.into_iter().flatten() {
        source.at(&span, "has no meaning beside `file`: choose `url` or `file`");
    }
}

fn place<U: FromStr<Err: Display>>(
    source: &mut Source<'_>,
    table: &str,
    raw: Option<Spanned<String>>,
    example: &str,
) -> Option<(U, std::ops::Range<usize>)> {
    let Some(raw) = raw else {
        source.missing(&format!("{table}.url"), format!("where it is, for instance `{example}`"));
        return None;
    };
    match raw.get_ref().parse() {
        Ok(url) => Some((url, raw.span())),
        Err(error) => {
            source.at(&raw.span(), format!("{error}; for instance `{example}`"));
            None
        }
    }
}
