//! A report as one page of HTML: no scripts, nothing from elsewhere, and everything in it escaped, for HTML and for what acts unseen.

use super::page::{Page, Part};
use crate::cli::shown::escaped;

/// The browser is told as well that nothing may be loaded or run.
const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width">
<style>
body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;padding:0 1em;max-width:80em;color:#111;background:#fff}
h1{font-size:1.6em}h2{margin-top:2em;border-bottom:2px solid #333}h3{margin:1.6em 0 .3em}
table{border-collapse:collapse;margin:.5em 0 1em;width:100%}
th,td{border:1px solid #bbb;padding:.2em .5em;text-align:left;vertical-align:top;overflow-wrap:anywhere}
thead{display:table-header-group}thead th{background:#eee;overflow-wrap:normal}
table.fields{width:auto}table.fields th{font-weight:600;white-space:nowrap;background:#f6f6f6}
.warning{border:2px solid #b00;padding:.5em .8em;font-weight:600}
@media print{body{font-size:9pt;margin:0;max-width:none}h2,h3{break-after:avoid}tr,.warning{break-inside:avoid}}
@page{margin:15mm}
</style>
"#;

/// The page.
pub(super) fn document(page: &Page) -> String {
    let title = text(&page.title);
    let mut out = format!("{HEAD}<title>{title}</title></head><body>\n<h1>{title}</h1>\n");
    for part in &page.parts {
        match part {
            Part::Heading(heading) => out.push_str(&format!("<h2>{}</h2>\n", text(heading))),
            Part::Subheading(heading) => out.push_str(&format!("<h3>{}</h3>\n", text(heading))),
            Part::Text(said) => out.push_str(&format!("<p>{}</p>\n", text(said))),
            Part::Warning(said) => {
                out.push_str(&format!("<p class=\"warning\">{}</p>\n", text(said)));
            }
            Part::Fields(fields) => {
                out.push_str("<table class=\"fields\">\n");
                for (name, value) in fields {
                    out.push_str(&format!("<tr><th>{}</th><td>{}</td></tr>\n", text(name), text(value)));
                }
                out.push_str("</table>\n");
            }
            Part::Table(header, rows) => {
                out.push_str("<table>\n<thead><tr>");
                for name in *header {
                    out.push_str(&format!("<th>{}</th>", text(name)));
                }
                out.push_str("</tr></thead>\n<tbody>\n");
                for row in rows {
                    out.push_str("<tr>");
                    for cell in row {
                        out.push_str(&format!("<td>{}</td>", text(cell)));
                    }
                    out.push_str("</tr>\n");
                }
                out.push_str("</tbody></table>\n");
            }
        }
    }
    out.push_str("</body></html>\n");
    out
}

/// As text of an element, and of nothing else.
fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for character in escaped(value).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_callers_sent_is_text() {
        let evil = "</td><script>alert('1')</script>\u{202e}\u{1b}&\"";
        let mut page = Page { title: evil.to_owned(), ..Page::default() };
        page.heading(evil);
        page.subheading(evil);
        page.text(evil);
        page.warning(evil);
        page.fields([("name", evil.to_owned())]);
        page.table(&["COLUMN"], [[evil.to_owned()]], "");
        let html = document(&page);
        assert!(
            !html.contains("<script") && !html.contains('\u{202e}') && !html.contains('\u{1b}'),
            "{html}"
        );
        let shown = "&lt;/td&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;\\u{202e}\\u{1b}&amp;&quot;";
        assert_eq!(html.matches(shown).count(), 8, "{html}");
    }

    #[test]
    fn nothing_is_loaded_from_anywhere() {
        let html = document(&Page { title: "t".to_owned(), ..Page::default() });
        for way in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "javascript:"] {
            assert!(!html.contains(way), "{way}");
        }
        assert!(html.contains("default-src 'none'"));
    }
}
