//! Text that callers supplied, as it may be shown: on a terminal, on a page.

/// The same text with everything escaped that a terminal or a bidirectional renderer acts on (product law 12): control
/// characters, also those above ASCII; bidirectional and other invisible format characters; line and paragraph separators.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) { out.extend(character.escape_unicode()) } else { out.push(character) }
    }
    out
}

/// The same JSON text with all of that as JSON escapes. Controls below U+0020 are escaped in JSON strings already; what is left of
/// them is the layout.
pub(crate) fn escaped_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character >= ' ' && acts(character) {
            let mut units = [0; 2];
            out.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(character);
        }
    }
    out
}

/// Whether a terminal or a bidirectional renderer acts on it, or it cannot be seen.
pub(crate) fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal() {
        assert_eq!(escaped("a\u{1b}[31mb\nc\u{9b}2J"), "a\\u{1b}[31mb\\u{a}c\\u{9b}2J");
        assert_eq!(escaped("safe\u{202e}txt\u{200b}"), "safe\\u{202e}txt\\u{200b}");
        let value = serde_json::json!({"a\u{202e}": "\u{9b}2J \u{7f} \u{e0041} \u{1b} é 書 \" \\"});
        let json = escaped_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(
            json.contains("\\u202e") && json.contains("\\u009b2J \\u007f \\udb40\\udc41 \\u001b é 書"),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value, "it means the same");
        assert_eq!(escaped("Größe 書 /v1/{id}"), "Größe 書 /v1/{id}");
    }
}
