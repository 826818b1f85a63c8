//! Names of tools and prompts, and URIs of resources: as the audit line says them.

use super::{REDACTED, Rules, Unclear, form, text};
use std::borrow::Cow;

/// The name without what a pattern matches, also behind a percent encoding, and without the values of parameters that a key names.
/// What stands before a colon is no key: the scheme of a URI may well be `secret`.
pub(super) fn clean<'t>(rules: &Rules, name: &'t str) -> Cow<'t, str> {
    let name = parameters(rules, name);
    if name.contains(['%', '+'])
        && let Ok(decoded) = form::decoded(&name)
        && let Cow::Owned(clean) = text::matched(rules, &decoded)
    {
        return Cow::Owned(clean);
    }
    match name {
        Cow::Borrowed(name) => text::matched(rules, name),
        Cow::Owned(name) => Cow::Owned(text::matched(rules, &name).into_owned()),
    }
}

fn parameters<'t>(rules: &Rules, uri: &'t str) -> Cow<'t, str> {
    let Some(at) = uri.find(['?', '#']) else { return Cow::Borrowed(uri) };
    let (path, query) = uri.split_at(at + 1);
    let read = |part: &str| form::decoded(part).unwrap_or_else(|Unclear| part.to_owned());
    // A value may be a URI with parameters of its own.
    let secret = |value: &str| text::clean(rules, &read(value)).1 > 0;
    let mut out = path.to_owned();
    let mut redacted = false;
    for part in query.split_inclusive(['&', '#']) {
        match part.split_once('=') {
            Some((key, value)) if rules.hides(&read(key)) || secret(value) => {
                out.extend([key, "=", REDACTED]);
                out.extend(value.chars().next_back().filter(|last| matches!(last, '&' | '#')));
                redacted = true;
            }
            Some(_) | None => out.push_str(part),
        }
    }
    if redacted { Cow::Owned(out) } else { Cow::Borrowed(uri) }
}
