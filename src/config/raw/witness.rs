//! `[[proxy.audit.witness]]` and `[[control.witness]]`, as they stand in the file.

use crate::config::WebhookUrl;
use crate::config::text::Text;
use crate::model::{Ttl, WitnessName};
use crate::tlog::WitnessKey;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawWitness {
    pub(in crate::config) name: Option<Text<WitnessName>>,
    pub(in crate::config) url: Option<Text<WebhookUrl>>,
    pub(in crate::config) key: Option<Text<WitnessKey>>,
    pub(in crate::config) ca: Option<Text<PathBuf>>,
    pub(in crate::config) timeout: Option<Text<Ttl>>,
}
