//! Paths and queries of calls: whatever is not plain is percent-encoded.

/// A query string from what was given.
pub(in crate::cli) fn query<'a>(
    path: &str,
    given: impl IntoIterator<Item = (&'a str, Option<String>)>,
) -> String {
    let mut out = path.to_owned();
    let mut separator = '?';
    for (name, value) in given {
        let Some(value) = value else { continue };
        out.push(separator);
        separator = '&';
        out.push_str(name);
        out.push('=');
        encode(&value, &mut out);
    }
    out
}

/// One segment of a path.
pub(in crate::cli) fn segment(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    encode(value, &mut out);
    out
}

fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        let path = query("/v1/grants", [("principal", Some("spiffe://d/a b".into())), ("task", None)]);
        assert_eq!(path, "/v1/grants?principal=spiffe%3A%2F%2Fd%2Fa%20b");
    }

    #[test]
    fn a_segment_stays_one_segment() {
        assert_eq!(segment("repo#42/../x"), "repo%2342%2F..%2Fx");
    }
}
