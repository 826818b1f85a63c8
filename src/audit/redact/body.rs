//! A body as it is recorded: as text without secrets where its content type says how to read it, else by digest and length.

use super::{Clean, Extent, Rules, Unclear, events, form, json, text};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::Serialize;

/// How a body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) enum Reading {
    Json,
    /// JSON documents one after the other.
    Documents,
    Form,
    Events,
    Text,
    /// Nothing is said about it; it may turn out to be JSON.
    Untold,
    /// In no way that is known here.
    Opaque,
}

impl Reading {
    /// As the fields of its message say.
    pub(in crate::audit) fn of(fields: &HeaderMap) -> Self {
        let mut codings = fields.get_all(CONTENT_ENCODING).iter();
        if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Self::Opaque;
        }
        let mut types = fields.get_all(CONTENT_TYPE).iter();
        let Some(one) = types.next() else { return Self::Untold };
        match (one.to_str(), types.next()) {
            (Ok(text), None) => Self::of_type(text),
            (Ok(_) | Err(_), _) => Self::Opaque,
        }
    }

    fn of_type(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        // Readers forgive white space around the `=`.
        let is_utf8 = |part: &str| match part.split_once('=') {
            Some((name, value)) if name.trim() == "charset" => {
                matches!(value.trim().trim_matches('"'), "utf-8" | "utf8" | "us-ascii")
            }
            Some(_) | None => true,
        };
        if !parts.all(is_utf8) {
            return Self::Opaque;
        }
        match essence {
            "application/json" | "text/json" => Self::Json,
            "application/x-ndjson" | "application/jsonl" => Self::Documents,
            "application/x-www-form-urlencoded" => Self::Form,
            "text/event-stream" => Self::Events,
            "text/plain" | "text/markdown" => Self::Text,
            json if json.starts_with("application/") && json.ends_with("+json") => Self::Json,
            _ => Self::Opaque,
        }
    }
}

/// A body, a query, or arguments, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::audit) struct Body {
    /// Bytes that were handed on.
    pub(in crate::audit) length: u64,
    /// Whether only a part of them is recorded, or may be.
    pub(in crate::audit) truncated: bool,
    #[serde(flatten)]
    pub(in crate::audit) recorded: Recorded,
}

/// In what way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "recorded", rename_all = "snake_case")]
pub(in crate::audit) enum Recorded {
    /// As text without secrets.
    Text {
        text: String,
        /// How many.
        redacted: u32,
    },
    /// As it is, because the configuration says so.
    Raw { base64: String, sha256: String },
    /// It cannot be redacted with certainty: by the digest of its first `digested` bytes.
    Digest { sha256: String, digested: u64 },
}

impl Body {
    /// Of a body of which `length` bytes were handed on, `kept` the first of them; `sent`: whether these were all of it.
    pub(in crate::audit) fn of(
        rules: &Rules,
        reading: Reading,
        kept: &[u8],
        (length, sent): (u64, Extent),
        raw: bool,
    ) -> Self {
        let digested = kept.len() as u64;
        let extent = if length > digested { Extent::Cut } else { sent };
        let recorded = match clean(rules, reading, kept, extent) {
            Ok(Clean { text, redacted }) => Recorded::Text { text, redacted },
            Err(Unclear) if raw => Recorded::Raw { base64: STANDARD.encode(kept), sha256: sha256(kept) },
            Err(Unclear) => Recorded::Digest { sha256: sha256(kept), digested },
        };
        // A text ends before what could be the beginning of a secret.
        let is_text = matches!(recorded, Recorded::Text { .. });
        Self { length, truncated: length > digested || extent == Extent::Cut && is_text, recorded }
    }

    /// Cuts a text so that it takes at most `most` bytes in JSON; what was taken out stays out.
    pub(in crate::audit) fn within(mut self, most: usize) -> Self {
        if let Recorded::Text { text, .. } = &mut self.recorded {
            let mut left = most;
            let mut fits = |c: char| left.checked_sub(in_json(c)).inspect(|rest| left = *rest).is_some();
            if let Some(end) = text.char_indices().find(|(_, c)| !fits(*c)).map(|(end, _)| end) {
                text.truncate(end);
                self.truncated = true;
            }
        }
        self
    }

    /// Bytes that its content takes in JSON.
    pub(in crate::audit) fn taken(&self) -> usize {
        match &self.recorded {
            Recorded::Text { text, .. } => text.chars().map(in_json).sum(),
            Recorded::Raw { base64, .. } => base64.len(),
            Recorded::Digest { .. } => 0,
        }
    }
}

/// Bytes of a character in a JSON string.
fn in_json(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

fn clean(rules: &Rules, reading: Reading, bytes: &[u8], extent: Extent) -> Result<Clean, Unclear> {
    let text = match (std::str::from_utf8(bytes), extent) {
        (Ok(text), _) => text,
        // The cut went through a character.
        (Err(error), Extent::Cut) if error.error_len().is_none() => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(whole).map_err(|_| Unclear)?
        }
        (Err(_), _) => return Err(Unclear),
    };
    // With NUL it is UTF-16 that passes for UTF-8: no name and no pattern would be found in it.
    if text.starts_with('\u{feff}') || text.contains('\0') {
        return Err(Unclear);
    }
    let looks_like_json = text.trim_start().starts_with(['{', '[']);
    match reading {
        Reading::Json => json::clean(rules, text, extent),
        Reading::Documents => json::clean_many(rules, text, extent),
        Reading::Form if extent == Extent::Whole => form::clean(rules, text),
        Reading::Events => Ok(events::clean(rules, text, extent)),
        Reading::Text | Reading::Untold if looks_like_json => json::clean(rules, text, extent),
        // A secret could begin before the cut and not be recognised.
        Reading::Text if extent == Extent::Whole => {
            let (text, redacted) = text::clean(rules, text);
            Ok(Clean { text: text.into_owned(), redacted })
        }
        Reading::Form | Reading::Text | Reading::Untold | Reading::Opaque => Err(Unclear),
    }
}

pub(in crate::audit) fn sha256(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(64);
    crate::audit::text::hex(&mut out, digest(&SHA256, bytes).as_ref());
    String::from_utf8(out).unwrap_or_default()
}
