//! Text: lines that say `name: value`, and whatever a pattern matches.

use super::{REDACTED, Rules};
use regex::Regex;
use std::borrow::Cow;

/// Of escaped letters and fixed parts, or limited one by one: as large as the configuration makes it.
pub(super) const SIZE: usize = 64 << 20;

/// One expression for all keys: their letters with or without separators, digits, quotes and brackets behind them, a colon or equals sign,
/// and what stands behind that, also where it stands on the next line. `None` if there are no keys.
pub(super) fn fields(keys: &[String]) -> Option<Regex> {
    if keys.is_empty() {
        return None;
    }
    let name = |key: &String| {
        let letters: Vec<String> = key.chars().map(|c| regex::escape(c.encode_utf8(&mut [0; 4]))).collect();
        letters.join("[-_. ]?")
    };
    let names: Vec<String> = keys.iter().map(name).collect();
    let text = format!(
        r#"(?i)((?:{})(?:[-_. ]?[0-9]+)*[\\"'\])]*\s*(?:=>|[:=>])\s*)[^\s][^\r\n]*"#,
        names.join("|")
    );
    regex::RegexBuilder::new(&text).size_limit(SIZE).build().ok()
}

/// The text without secrets, and how many there were.
pub(super) fn clean<'a>(rules: &Rules, text: &'a str) -> (Cow<'a, str>, u32) {
    if matches_nothing(rules, text) {
        return (Cow::Borrowed(text), 0);
    }
    let mut text = Cow::Borrowed(text);
    let mut redacted = 0;
    if let Some(fields) = &rules.fields {
        replace(&mut text, &mut redacted, |text, count| {
            fields.replace_all(text, |found: &regex::Captures<'_>| {
                *count += 1;
                format!("{}{REDACTED}", found.get(1).map_or("", |kept| kept.as_str()))
            })
        });
    }
    patterns(rules, &mut text, &mut redacted);
    (text, redacted)
}

/// The text without what a pattern matches, whatever its lines say of keys.
pub(super) fn matched<'a>(rules: &Rules, text: &'a str) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    if !matches_nothing(rules, &text) {
        patterns(rules, &mut text, &mut 0);
    }
    text
}

fn matches_nothing(rules: &Rules, text: &str) -> bool {
    rules.any.as_ref().is_some_and(|any| !any.is_match(text))
}

fn patterns(rules: &Rules, text: &mut Cow<'_, str>, redacted: &mut u32) {
    for pattern in &rules.patterns {
        replace(text, redacted, |text, count| {
            pattern.0.replace_all(text, |_: &regex::Captures<'_>| {
                *count += 1;
                REDACTED
            })
        });
    }
}

fn replace(
    text: &mut Cow<'_, str>,
    count: &mut u32,
    by: impl for<'t> FnOnce(&'t str, &mut u32) -> Cow<'t, str>,
) {
    if let Cow::Owned(changed) = by(text, count) {
        *text = Cow::Owned(changed);
    }
}
