//! Lines as CSV (RFC 4180): every value quoted, nothing that acts on a terminal, nothing that a spreadsheet takes for a formula.

use crate::cli::shown::escaped;
use serde_json::Value;

/// The members of a line that get a column.
const COLUMNS: [&str; 26] = [
    "seq",
    "time",
    "kind",
    "request_id",
    "trace_id",
    "proxy",
    "principal",
    "user",
    "source",
    "service",
    "method",
    "path",
    "protocol",
    "mcp_method",
    "tool",
    "grant",
    "task",
    "revision",
    "decision",
    "reason",
    "end",
    "cause",
    "status",
    "bytes_in",
    "bytes_out",
    "duration_us",
];

pub(super) fn header() -> String {
    COLUMNS.join(",")
}

pub(super) fn row(line: &Value) -> String {
    let cells = COLUMNS.iter().map(|name| match line.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => cell(text),
        Some(other) => cell(&other.to_string()),
    });
    cells.collect::<Vec<_>>().join(",")
}

fn cell(text: &str) -> String {
    let text = escaped(text).replace('"', "\"\"");
    // Programs for tables run what begins like this, some also after blanks; an apostrophe makes it text. A number stays one.
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    let text = if is_formula { format!("'{text}") } else { text };
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_becomes_a_formula_another_cell_or_a_command_to_the_terminal() {
        for (text, shown) in [
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            (" @SUM(1)", "\"' @SUM(1)\""),
            ("\t=1", "\"\\u{9}=1\""),
            ("a\",\"b\nc", "\"a\"\",\"\"b\\u{a}c\""),
            ("\u{1b}[31m", "\"\\u{1b}[31m\""),
            ("/v1/orders", "\"/v1/orders\""),
        ] {
            assert_eq!(cell(text), shown);
        }
    }

    #[test]
    fn a_row_has_every_column_in_order() {
        let row = row(&json!({"seq": 7, "task": null, "principal": "p", "user": {"subject": "s"}}));
        assert!(row.starts_with("\"7\",,,,,,\"p\",\"{\"\"subject\"\":\"\"s\"\"}\","), "{row}");
        assert_eq!(header().split(',').count(), COLUMNS.len());
    }
}
