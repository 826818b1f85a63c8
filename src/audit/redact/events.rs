//! Event streams (`text/event-stream`): the data of each event is judged as one text, or as JSON where it looks like it.

use super::{Clean, Extent, REDACTED, Rules, Unclear, json, text};

/// The events without secrets. Of a stream that was cut, those that are whole.
pub(super) fn clean(rules: &Rules, stream: &str, extent: Extent) -> Clean {
    let mut events = Events { rules, data: Vec::new(), other: Vec::new(), clean: Clean::default() };
    for line in Lines(stream) {
        match line {
            "" => events.end(),
            line => match line.strip_prefix("data") {
                Some("") => events.data.push(""),
                Some(data) if data.starts_with(':') => {
                    let data = data.get(1..).unwrap_or_default();
                    events.data.push(data.strip_prefix(' ').unwrap_or(data));
                }
                Some(_) | None => events.other.push(line),
            },
        }
    }
    if extent == Extent::Whole {
        events.end();
    }
    events.clean
}

struct Events<'a, 'r> {
    rules: &'r Rules,
    data: Vec<&'a str>,
    other: Vec<&'a str>,
    clean: Clean,
}

impl Events<'_, '_> {
    fn end(&mut self) {
        if self.data.is_empty() && self.other.is_empty() {
            return;
        }
        let Clean { text, redacted } = &mut self.clean;
        for line in self.other.drain(..) {
            let (line, count) = text::clean(self.rules, line);
            *redacted += count;
            text.push_str(&line);
            text.push('\n');
        }
        if !self.data.is_empty() {
            let data = self.data.join("\n");
            let clean = match data.trim_start().starts_with(['{', '[']) {
                true => json::clean(self.rules, &data, Extent::Whole)
                    .unwrap_or_else(|Unclear| Clean { text: REDACTED.to_owned(), redacted: 1 }),
                false => {
                    let (text, redacted) = text::clean(self.rules, &data);
                    Clean { text: text.into_owned(), redacted }
                }
            };
            *redacted += clean.redacted;
            for line in clean.text.split('\n') {
                text.push_str("data: ");
                text.push_str(line);
                text.push('\n');
            }
            self.data.clear();
        }
        text.push('\n');
    }
}

/// Lines by any of the three ends that the standard knows. What has no end yet is no line.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.find(['\r', '\n']).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.strip_prefix("\r\n").or_else(|| rest.get(1..)).unwrap_or_default();
        Some(line)
    }
}
