//! `[[proxy.audit.export]]` and `[[control.export]]`, as they stand in the file.

use crate::config::text::{FieldName, Text};
use crate::model::{ExportName, Ttl};
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawExport {
    pub(in crate::config) name: Option<Text<ExportName>>,
    pub(in crate::config) kind: Option<Spanned<RawExportKind>>,
    pub(in crate::config) url: Option<Spanned<String>>,
    pub(in crate::config) file: Option<Text<PathBuf>>,
    pub(in crate::config) ca: Option<Text<PathBuf>>,
    pub(in crate::config) certificate: Option<Text<PathBuf>>,
    pub(in crate::config) key: Option<Text<PathBuf>>,
    pub(in crate::config) header: Option<Text<FieldName>>,
    pub(in crate::config) secret_file: Option<Text<PathBuf>>,
    pub(in crate::config) close_notify: Option<Spanned<bool>>,
    pub(in crate::config) timeout: Option<Text<Ttl>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawExportKind {
    Ocsf,
    Otlp,
    Syslog,
}
