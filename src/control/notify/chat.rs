//! Text for chats. What callers supplied is shown as they wrote it and does nothing: no markup, no link, no mention, no control or
//! bidirectional character, bounded in length (law 12).

use crate::model::shown::acts;

/// Longest piece of caller-supplied text, in characters.
const LONGEST: usize = 300;

/// Text that somebody else chose, made harmless.
#[must_use]
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LONGEST.saturating_mul(2)));
    for (count, character) in text.chars().enumerate() {
        if count >= LONGEST {
            out.push('…');
            break;
        }
        match character {
            // Slack's and Mattermost's entities; Teams reads HTML.
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Mentions, links by scheme, and the marks of Markdown and mrkdwn get a full-width twin: it reads the same and means
            // nothing, in each of these chats, which differ in how they let one escape.
            '@' | '#' | '*' | '_' | '~' | '`' | '[' | ']' | '(' | ')' | '|' | '!' | '\\' | ':' => {
                out.push(wide(character))
            }
            // Bare domains become links in some chats; this dot (ONE DOT LEADER) reads the same and makes none.
            '.' => out.push('\u{2024}'),
            character if acts(character) => out.push('\u{fffd}'),
            character => out.push(character),
        }
    }
    out
}

/// The full-width form of a visible ASCII character.
fn wide(character: char) -> char {
    u32::from(character).checked_add(0xfee0).and_then(char::from_u32).unwrap_or('\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_acts() {
        for hostile in [
            "<!channel> <@U123> <https://evil.example|click>",
            "@channel @here @all #general",
            "[ok](https://evil.example) **bold** `code` ~~x~~ ![i](http://e.example/i.png)",
            "<script>alert(1)</script> <at>everyone</at>",
            "a\u{202e}b\u{200b}c\u{1b}[31m\r\nsecond: line",
            "https://evil.example www.evil.example mailto:x@y",
        ] {
            let shown = harmless(hostile);
            assert!(
                !shown.contains([
                    '<', '>', '@', '#', '*', '`', '~', '[', ']', '(', ')', '|', '!', ':', '\n', '\u{202e}',
                    '\u{1b}'
                ]),
                "{shown}"
            );
            assert!(!shown.contains('.'), "{shown}");
        }
        assert_eq!(harmless("Größe 書, 5 %"), "Größe 書, 5 %");
        assert_eq!(harmless(&"x".repeat(4_000)).chars().count(), LONGEST + 1);
    }
}
