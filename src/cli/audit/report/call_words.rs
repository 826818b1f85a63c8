//! The calls of a report, for people.

use super::calls::Calls;
use super::page::Page;
use crate::cli::audit::Line;

/// How many of which kind, then each of them.
pub(super) fn calls(page: &mut Page, calls: &Calls) {
    page.table(
        &["SERVICE", "CALL", "DECISION", "OUTCOME", "CALLS", "BYTES IN", "BYTES OUT"],
        calls.kinds(),
        "",
    );
    let left_out = calls.left_out();
    if left_out > 0 {
        page.warning(format!(
            "{left_out} more are not listed, of which those that ended are counted above: --limit lists more"
        ));
    }
    let lines = calls.lines();
    page.table(
        &[
            "TIME",
            "PRINCIPAL",
            "SERVICE",
            "CALL",
            "DECISION",
            "OUTCOME",
            "STATUS",
            "IN",
            "OUT",
            "GRANT",
            "REQUEST",
            "LINE",
        ],
        lines.iter().map(|line| call(line)),
        "None.",
    );
}

fn call(line: &Line) -> [String; 12] {
    let of = |name: &str| line.text(name).to_owned();
    let what = [line.what(), of("path")];
    let what: Vec<_> = what.into_iter().filter(|part| !part.is_empty()).collect();
    let why = match line.text("kind") {
        "admit" => "no end yet".to_owned(),
        "summary" if line.value.get("removed").is_some() => "old lines were removed by retention".to_owned(),
        "summary" => format!("{} lines: {}", line.number("count"), line.why()),
        _ => line.why(),
    };
    let kind = line.text("kind");
    [
        of("time"),
        of("principal"),
        of("service"),
        if kind == "handshake" || kind == "summary" { kind.to_owned() } else { what.join(" ") },
        of("decision"),
        why,
        line.number("status"),
        line.number("bytes_in"),
        line.number("bytes_out"),
        of("grant"),
        of("request_id"),
        line.number("seq"),
    ]
}
