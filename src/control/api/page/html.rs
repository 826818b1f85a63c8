//! HTML that holds text of callers: whatever is not markup of ours goes through [`Html::text`] and comes out as text (law 12).

use crate::model::shown::escaped;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::LazyLock;

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:2rem}dl{display:grid;grid-template-columns:9rem 1fr;gap:.3rem 1rem}\
dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}pre,textarea{font:14px/1.45 ui-monospace,monospace;white-space:pre-wrap;\
overflow-wrap:anywhere;border:1px solid;border-radius:4px;padding:.5rem;margin:0;box-sizing:border-box;width:100%}\
ul,ol{margin:0;padding-left:1.2rem}label{display:block;margin-top:.8rem}input[type=text]{font:inherit;width:100%;box-sizing:border-box}\
button{font:inherit;padding:.4rem 1.2rem;margin:1rem .6rem 0 0}.note{border-left:4px solid;padding-left:.8rem}";

/// A piece of a page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup of ours.
    pub(super) fn raw(mut self, markup: &'static str) -> Self {
        self.0.push_str(markup);
        self
    }

    /// Text of anybody, in an element or in an attribute with quotation marks. What would act on a reader's eyes is shown as an escape.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.push(&escaped(text));
        self
    }

    /// The same with its lines kept; for an element that shows them as lines inside of a border.
    pub(super) fn lines(mut self, text: &str) -> Self {
        for (number, line) in text.split('\n').enumerate() {
            if number > 0 {
                self.0.push('\n');
            }
            self.push(&escaped(line));
        }
        self
    }

    /// One entry of a list of terms and descriptions; nothing if there is nothing to say.
    pub(super) fn entry(self, term: &'static str, text: &str) -> Self {
        if text.is_empty() {
            return self;
        }
        self.raw("<dt>").raw(term).raw("</dt><dd>").text(text).raw("</dd>")
    }

    /// Each text as a point of a list.
    pub(super) fn points<S: AsRef<str>>(self, texts: impl IntoIterator<Item = S>) -> Self {
        let point = |html: Self, text: S| html.raw("<li>").text(text.as_ref()).raw("</li>");
        texts.into_iter().fold(self.raw("<ul>"), point).raw("</ul>")
    }

    fn push(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
    }

    /// The whole page. It runs no script, loads nothing, is in no frame, is kept nowhere, and tells nobody where its reader came from.
    pub(super) fn page(self, status: StatusCode, title: &str) -> Response {
        let head = Self::default()
            .raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>")
            .text(title)
            .raw("</title><style>")
            .raw(STYLE)
            .raw("</style></head><body><main>");
        let page = format!("{}{}</main></body></html>\n", head.0, self.0);
        let mut response = Response::new(Body::from(page));
        *response.status_mut() = status;
        for (name, value) in headers() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

fn headers() -> [(HeaderName, HeaderValue); 8] {
    static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
        let style = STANDARD.encode(crate::model::scope::sha256(STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        HeaderValue::try_from(policy).ok()
    });
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone().unwrap_or(nothing)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let html = Html::default().text("<script>alert('x')</script>&\"\u{202e}\u{1b}[31m\n").0;
        let shown = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\\u{202e}\\u{1b}[31m\\u{a}";
        assert_eq!(html, shown);
        assert_eq!(Html::default().lines("a\r\n<b>").0, "a\\u{d}\n&lt;b&gt;");
        assert_eq!(Html::default().entry("x", "").0, "");
    }
}
