//! Tables for people, JSON for programs.

use super::Failure;
use super::shown::{escaped, escaped_json};
use comfy_table::{Cell, Table, presets};
use serde::Serialize;
use std::io::Write;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// A table for people.
    Table,
    /// JSON for programs: an object for one thing, an array for a list.
    Json,
}

/// How the caller wants data printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// A table for people
    #[default]
    Table,
    /// JSON for programs: an object for one thing, an array for a list
    Json,
    /// CSV for spreadsheets, of `audit search` alone
    Csv,
}

/// Prints JSON, indented, with a new line at the end.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    json_text(serde_json::to_string_pretty(value))
}

/// Prints JSON on one line, for what goes on and on.
pub(super) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    json_text(serde_json::to_string(value))
}

/// JSON may end up on a terminal too: it means the same with whatever acts there as an escape.
fn json_text(text: Result<String, serde_json::Error>) -> Result<(), Failure> {
    bytes(format!("{}\n", escaped_json(&text.map_err(Failure::failed)?)).as_bytes())
}

/// Prints rows under a header; every cell escaped.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), Failure> {
    print_table(&header, rows)
}

/// The same where how many columns there are is not known before.
pub(super) fn rows(header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    print_table(header, rows)
}

fn print_table(header: &[&str], rows: impl IntoIterator<Item: AsRef<[String]>>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row.as_ref().iter().map(|cell| Cell::new(escaped(cell))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    bytes(text.as_bytes())
}

/// Prints one thing as names and values; every value escaped, empty ones left out.
pub(super) fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> Result<(), Failure> {
    let fields: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let text: String =
        fields.iter().map(|(name, value)| format!("{name:width$}{}\n", escaped(value))).collect();
    bytes(text.as_bytes())
}

/// Prints JSON that is text already, as one line of a longer document.
pub(super) fn raw_json(before: &str, text: &str) -> Result<(), Failure> {
    bytes(format!("{before}{}", escaped_json(text)).as_bytes())
}

/// Prints a line as it is.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

pub(super) fn bytes(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        // Whoever reads has enough (`| head`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.map_err(Failure::failed),
    }
}
