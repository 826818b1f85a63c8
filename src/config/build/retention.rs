//! `[proxy.audit.retention]`.

use crate::config::raw::{RawRetention, split};
use crate::config::source::Source;
use crate::config::{AuditTarget, RetentionConfig, WhenFull};
use crate::model::Ttl;
use toml::Spanned;

pub(super) fn retention(
    source: &mut Source<'_>,
    raw: Option<Spanned<RawRetention>>,
    target: &AuditTarget,
    rotate_bytes: u64,
) -> RetentionConfig {
    let Some(raw) = raw else { return RetentionConfig::default() };
    let place = raw.span();
    if *target == AuditTarget::Stdout {
        source.at(&place, "with `stdout = true` nothing is kept here: whoever collects the output keeps it");
    }
    let RawRetention { keep, max_total_bytes, when_full } = raw.into_inner();
    let keep = keep.map(|keep| {
        let (keep, place) = split(keep);
        if keep.get() < RetentionConfig::LEAST_KEEP {
            source.at(&place, "expected `1h` or more: files whose youngest line is older are removed");
        }
        Ttl::get(keep)
    });
    let max_total_bytes = max_total_bytes.map(|bytes| {
        let least = RetentionConfig::least_total(rotate_bytes);
        if *bytes.get_ref() < least {
            let why = format!(
                "expected {least} or more: two files of `rotate_bytes` ({rotate_bytes}) and 2 MiB; ten files are a good choice"
            );
            source.at(&bytes.span(), why);
        }
        bytes.into_inner()
    });
    let when_full = when_full.map(|when_full| {
        if *when_full.get_ref() == WhenFull::RemoveOldest && max_total_bytes.is_none() {
            source.at(&when_full.span(), "there is no bound: set `max_total_bytes` beside it");
        }
        when_full.into_inner()
    });
    RetentionConfig { keep, max_total_bytes, when_full: when_full.unwrap_or_default() }
}
