//! Queries and `application/x-www-form-urlencoded` bodies: pairs that are judged decoded.

use super::{Clean, REDACTED, Rules, Unclear, json, text};

/// The pairs without secrets, encoded anew; marks of redaction stay readable.
pub(super) fn clean(rules: &Rules, raw: &str) -> Result<Clean, Unclear> {
    let mut out = Clean { text: String::with_capacity(raw.len()), redacted: 0 };
    for (index, pair) in raw.split('&').enumerate() {
        if index > 0 {
            out.text.push('&');
        }
        let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
        let name = decoded(name)?;
        // Another format in the clothes of a form.
        if name.trim_start().starts_with(['{', '[', '"', '<']) {
            return Err(Unclear);
        }
        out.push(&text::clean(rules, &name));
        let Some(value) = value else { continue };
        out.text.push('=');
        let value = decoded(value)?;
        if rules.hides(&name) {
            out.text.push_str(REDACTED);
            out.redacted += 1;
        } else {
            let (value, redacted) = json::clean_string(rules, &value);
            out.push(&(value, redacted));
        }
    }
    Ok(out)
}

impl Clean {
    fn push(&mut self, (text, redacted): &(std::borrow::Cow<'_, str>, u32)) {
        self.redacted += redacted;
        for (index, part) in text.split(REDACTED).enumerate() {
            if index > 0 {
                self.text.push_str(REDACTED);
            }
            encode(&mut self.text, part);
        }
    }
}

/// As the URL standard reads it: `+` is a space; `%` begins two hexadecimal digits; the result is UTF-8.
pub(super) fn decoded(text: &str) -> Result<String, Unclear> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit =
                    || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(Unclear);
                u8::try_from(digit()? * 16 + digit()?).map_err(|_| Unclear)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| Unclear)
}

fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'/'
            | b':'
            | b'@'
            | b',' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}
