//! What is recorded of requests whose grant demands it: for whom it is encrypted, how much, and what is taken out before.

use crate::mcp::fold::folded;
use crate::model::AgeRecipient;
use std::path::PathBuf;
use std::time::Duration;

/// `[proxy.audit.recording]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingConfig {
    /// Who can open it.
    pub recipient: RecipientSource,
    /// Where the files are.
    pub directory: PathBuf,
    /// Of each body so much is kept; the rest streams on and is not recorded.
    pub max_body_bytes: usize,
    /// What all files together may take; above it, requests that must be recorded are refused.
    pub max_total_bytes: u64,
    /// So many requests may be recorded at a time; space for each is set aside.
    pub max_in_flight: u32,
    /// Files that are older are removed; absent: none.
    pub keep: Option<Duration>,
    /// What is taken out.
    pub redact: Redaction,
    /// Record what cannot be redacted as it is, instead of its digest and length.
    pub raw: bool,
}

impl RecordingConfig {
    /// The smallest and the largest `max_body_bytes`.
    pub const BODY_BYTES: std::ops::RangeInclusive<usize> = 1024..=16 * 1024 * 1024;

    /// The default but for who can open it and where it is.
    #[must_use]
    pub fn to(recipient: RecipientSource, directory: PathBuf) -> Self {
        Self {
            recipient,
            directory,
            max_body_bytes: 64 * 1024,
            max_total_bytes: 4 * 1024 * 1024 * 1024,
            max_in_flight: 128,
            keep: None,
            redact: Redaction::default(),
            raw: false,
        }
    }
}

/// Where the public key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientSource {
    /// In the configuration.
    Key(AgeRecipient),
    /// In a file, one a line; each of their holders can open what is recorded.
    File(PathBuf),
}

/// What is taken out of bodies, queries and arguments before they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redaction {
    /// Places in a JSON document.
    pub pointers: Box<[JsonPointer]>,
    /// Members, fields and parameters by name, wherever they are: those of [`DEFAULT_KEYS`] and those that are configured.
    pub keys: Box<[KeyName]>,
    /// Whatever matches: those of [`DEFAULT_PATTERNS`] and those that are configured.
    pub patterns: Box<[Pattern]>,
}

/// Names whose values are never recorded.
pub const DEFAULT_KEYS: [&str; 19] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "secret_key",
    "token",
    "api_key",
    "access_key",
    "private_key",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "session_id",
    "otp",
    "cvv",
    "cvc",
    "assertion",
];

/// Texts that are never recorded: authorization values, JSON web tokens, private keys.
pub const DEFAULT_PATTERNS: [&str; 4] = [
    r"(?i)\b(?:bearer|basic)\s+[a-z0-9+/=._~-]{8,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
    r"(?i)\bAGE-SECRET-KEY-1[0-9a-z]+",
];

impl Default for Redaction {
    fn default() -> Self {
        let keys = DEFAULT_KEYS.iter().filter_map(|name| KeyName::new(name));
        let patterns = DEFAULT_PATTERNS.iter().filter_map(|text| Pattern::new(text).ok());
        Self { pointers: Box::default(), keys: keys.collect(), patterns: patterns.collect() }
    }
}

/// A name, of which only letters and digits count, in any case: `api_key`, `X-Api-Key` and `apiKey` end alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(Box<str>);

impl KeyName {
    /// `None` where nothing would be left of it.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let letters = letters(name);
        (!letters.is_empty()).then(|| Self(letters.into()))
    }

    /// Its letters and digits, folded.
    #[must_use]
    pub fn letters(&self) -> &str {
        &self.0
    }
}

/// What of a name counts: letters and digits, whatever their case and form.
#[must_use]
pub fn letters(name: &str) -> String {
    folded(name).chars().filter(|c| c.is_alphanumeric()).collect()
}

/// A place in a JSON document (RFC 6901); `*` as a part stands for any member or index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointer(Box<[String]>);

impl JsonPointer {
    /// `None` if it is none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let parts = text.strip_prefix('/')?.split('/').map(unescaped);
        parts.collect::<Option<_>>().map(Self)
    }

    /// Whether it is the place at `path`.
    #[must_use]
    pub fn is_at(&self, path: &[String]) -> bool {
        let same = |(own, part): (&String, &String)| own == "*" || own == part;
        self.0.len() == path.len() && self.0.iter().zip(path).all(same)
    }
}

/// `~1` is a slash and `~0` a tilde; nothing else is an escape.
fn unescaped(part: &str) -> Option<String> {
    let mut out = String::with_capacity(part.len());
    let mut rest = part.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

/// A regular expression of the kind that takes linear time.
#[derive(Debug, Clone)]
pub struct Pattern(pub regex::Regex);

impl Pattern {
    /// Most that a compiled pattern may take.
    const SIZE: usize = 1 << 20;

    /// Compiles it.
    ///
    /// # Errors
    /// Why it is none, as a lowercase fragment.
    pub fn new(text: &str) -> Result<Self, String> {
        let compiled = regex::RegexBuilder::new(text).size_limit(Self::SIZE).build();
        let pattern = compiled.map_err(|error| {
            if matches!(error, regex::Error::CompiledTooBig(_)) {
                return "the pattern is too large".to_owned();
            }
            // Several lines with a drawing; the last says what it is.
            error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })?;
        if pattern.is_match("") {
            return Err("it matches the empty text, and so everywhere".to_owned());
        }
        Ok(Self(pattern))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_all_there() {
        let redaction = Redaction::default();
        assert_eq!(redaction.keys.len(), DEFAULT_KEYS.len());
        assert_eq!(redaction.patterns.len(), DEFAULT_PATTERNS.len());
    }

    #[test]
    fn pointers_follow_rfc_6901_and_take_any_member_for_a_star() {
        let path = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let pointer = JsonPointer::new("/a~1b/*/m~0n").unwrap();
        assert!(pointer.is_at(&path(&["a/b", "0", "m~n"])) && pointer.is_at(&path(&["a/b", "x", "m~n"])));
        assert!(!pointer.is_at(&path(&["a/b", "0"])) && !pointer.is_at(&path(&["a", "0", "m~n"])));
        assert!(JsonPointer::new("/").unwrap().is_at(&path(&[""])));
        for wrong in ["", "a", "/a~2", "/a~"] {
            assert_eq!(JsonPointer::new(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_count_by_letters_and_digits() {
        assert_eq!(KeyName::new("X-Api_Key").unwrap().letters(), "xapikey");
        assert_eq!(letters("ｐａｓｓＷＯＲＤ"), "password");
        assert_eq!(KeyName::new("--"), None);
    }

    #[test]
    fn patterns_say_what_is_wrong_with_them() {
        assert!(Pattern::new("a(").unwrap_err().contains("unclosed group"));
        assert!(Pattern::new("a*").unwrap_err().contains("empty text"));
        assert!(Pattern::new("\\w{1000}{1000}").unwrap_err().contains("too large"));
    }
}
