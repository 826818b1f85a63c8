//! `[proxy.audit.recording]`.

use super::{path, value};
use crate::config::raw::{RawRecording, split};
use crate::config::source::Source;
use crate::config::{AuditTarget, RecipientSource, RecordingConfig, Redaction};
use crate::model::Ttl;

/// `base` is what the caller brings along; the rest of a table that is there comes from it, too.
pub(super) fn recording(
    source: &mut Source<'_>,
    raw: Option<RawRecording>,
    base: Option<RecordingConfig>,
    target: &AuditTarget,
) -> Option<RecordingConfig> {
    let Some(raw) = raw else { return base };
    let (base_recipient, base_directory) = base.map(|base| (base.recipient, base.directory)).unzip();
    let place = raw.recipient_file.as_ref().map(toml::Spanned::span);
    let recipient = match (value(raw.recipient), path(source, raw.recipient_file)) {
        (Some(_), Some(_)) => {
            source.at(&place.unwrap_or(0..0), "choose one: `recipient` or `recipient_file`");
            None
        }
        (Some(key), None) => Some(RecipientSource::Key(key)),
        (None, Some(file)) => Some(RecipientSource::File(file)),
        (None, None) => base_recipient.or_else(|| {
            let hint = "the public key that recordings are encrypted to (`age-keygen` makes a pair), or `recipient_file`";
            source.missing("proxy.audit.recording.recipient", hint);
            None
        }),
    };
    let beside = match target {
        AuditTarget::File(file) => file.parent().map(|folder| folder.join("recordings")),
        AuditTarget::Stdout => None,
    };
    let place = raw.directory.as_ref().map(toml::Spanned::span);
    let directory = path(source, raw.directory);
    if let (Some(directory), Some(place), AuditTarget::File(file)) = (&directory, place, target) {
        let of_the_trail = [".tlog", ".export"].map(|ending| {
            let mut folder = file.as_os_str().to_owned();
            folder.push(ending);
            folder
        });
        if of_the_trail.iter().any(|folder| directory.starts_with(folder)) {
            source.at(&place, "the trail keeps its own files there: give recordings a folder of their own");
        }
    }
    let directory = directory.or(base_directory).or(beside).or_else(|| {
        source.missing("proxy.audit.recording.directory", "the folder for recordings");
        None
    });
    let mut config = RecordingConfig::to(recipient?, directory?);
    if let Some(bytes) = raw.max_body_bytes {
        if !RecordingConfig::BODY_BYTES.contains(bytes.get_ref()) {
            let (least, most) = (RecordingConfig::BODY_BYTES.start(), RecordingConfig::BODY_BYTES.end());
            source.at(&bytes.span(), format!("expected {least} to {most}"));
        }
        config.max_body_bytes = bytes.into_inner();
    }
    config.max_total_bytes = raw.max_total_bytes.map_or(config.max_total_bytes, std::num::NonZeroU64::get);
    config.max_in_flight = raw.max_in_flight.map_or(config.max_in_flight, std::num::NonZeroU32::get);
    config.keep = value(raw.keep).map(Ttl::get);
    config.raw = raw.raw.unwrap_or_default();
    let Redaction { pointers, keys, patterns } = config.redact;
    let given = raw.redact;
    config.redact = Redaction {
        pointers: pointers.into_iter().chain(given.pointers.into_iter().map(|text| split(text).0)).collect(),
        keys: keys.into_iter().chain(given.keys.into_iter().map(|text| split(text).0)).collect(),
        patterns: patterns.into_iter().chain(given.patterns.into_iter().map(|text| split(text).0)).collect(),
    };
    Some(config)
}
