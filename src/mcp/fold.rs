//! Names that some reader takes for one: `Method` and `method` for Go's `encoding/json`, `ｍethod` for whoever normalises first,
//! `meta` and `_meta` for readers with aliases.
//!
//! Two grades. *Twins* differ in case or in compatibility forms (NFKC) alone: no object holds two of them. A *look-alike* of a
//! protocol name also differs in punctuation and in what is invisible: it is refused where the protocol name has its meaning,
//! also when it stands alone.

use super::fault::Fault;
use unicode_normalization::UnicodeNormalization;

/// What a name is when neither case nor compatibility forms count.
#[must_use]
pub fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    // Up and down again: `ß` and `ẞ` are `ss`, `ı` is `i`, `ſ` is `s`.
    let upper = name.nfkc().filter(|c| !is_invisible(*c)).flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).nfkc().collect()
}

/// Whether a reader that folds names takes one for the other; a name is no twin of itself.
#[must_use]
pub fn are_twins(one: &str, other: &str) -> bool {
    one != other && folded(one) == folded(other)
}

/// Refuses an object in which two names are twins.
pub(super) fn no_twins<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<(), Fault> {
    // Names in lower-case ASCII are twins of none of their kind.
    let odd = |name: &str| name.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
    if names.clone().nth(1).is_none() || !names.clone().any(odd) {
        return Ok(());
    }
    let mut all: Vec<String> = names.map(folded).collect();
    all.sort_unstable();
    match all.array_windows().any(|[one, other]| one == other) {
        true => Err(Fault::ambiguous("an object has two members whose names differ in case alone")),
        false => Ok(()),
    }
}

/// Refuses a name that is not, but could be taken for, one of `protocol`.
pub(super) fn is_itself(name: &str, protocol: &[&str]) -> Result<(), Fault> {
    if protocol.contains(&name) {
        return Ok(());
    }
    let folded = folded(name);
    match protocol.iter().any(|known| letters(&folded).eq(letters(known))) {
        true => Err(Fault::ambiguous("a member's name is another spelling of a protocol name")),
        false => Ok(()),
    }
}

/// Letters and digits alone, in lower case.
fn letters(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase())
}

/// Characters that take no room: default ignorable, as far as they occur in names.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins() {
        for (one, other) in [
            ("name", "Name"),
            ("params", "\u{17f}params".trim_start_matches('\u{17f}').to_uppercase().as_str()),
            ("kind", "\u{212a}ind"),
        ] {
            assert!(are_twins(one, other), "{one} {other}");
        }
        assert!(are_twins("params", "param\u{17f}"));
        assert!(are_twins("method", "\u{ff4d}ethod"));
        assert!(are_twins("id", "\u{131}d"));
        assert!(are_twins("name", "na\u{200b}me"));
        assert!(!are_twins("name", "name") && !are_twins("name", "names") && !are_twins("meta", "_meta"));
    }

    #[test]
    fn look_alikes_of_protocol_names() {
        for name in ["Name", "NAME", "_name", "na-me", "name ", "\u{ff4e}ame", "nam\u{200d}e", "na.me"] {
            assert!(is_itself(name, &["uri", "name"]).is_err(), "{name:?}");
        }
        for name in ["name", "uri", "names", "nom", "", "имя"] {
            assert_eq!(is_itself(name, &["uri", "name"]), Ok(()), "{name:?}");
        }
    }
}
