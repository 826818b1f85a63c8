//! Holds the shape that `src/lib.rs` and `ARCHITECTURE.md` draw: which module may use which, how long a file may be, and that each
//! says at its top what it owns.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking; clippy's exceptions for tests do not reach helpers outside #[test]"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of production code in one file; what is longer is split.
const LONGEST_FILE: usize = 400;

/// `main.rs` only wires.
const LONGEST_MAIN: usize = 80;

/// Arrows that the order of declaration would allow and that must not exist all the same.
const FORBIDDEN: [(&str, &[&str]); 2] = [
    // The control plane serves any proxy; what enforces is not its business.
    ("control", &["proxy", "session", "sync"]),
    // The gate works without a control plane in the process: it knows only the wire.
    ("proxy", &["control"]),
];

/// Libraries that a pure module must not know.
const PURE: [(&str, &[&str]); 4] = [
    ("model", &["tokio", "rustix", "hyper", "sqlx", "axum", "tonic", "std::fs", "std::net::Tcp"]),
    ("mcp", &["tokio", "rustix", "hyper", "sqlx", "axum", "tonic", "std::fs", "std::net::Tcp"]),
    ("tlog", &["tokio", "rustix", "hyper", "sqlx", "axum", "tonic", "std::fs", "std::net::Tcp"]),
    ("access", &["sqlx", "axum", "tonic", "hyper::", "std::fs", "std::net::Tcp"]),
];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The top module that the file belongs to; none for `lib.rs` and `main.rs`.
    fn module(&self) -> Option<String> {
        let inside = self.path.strip_prefix(root()).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!matches!(name, "lib" | "main")).then(|| name.to_owned())
    }

    /// Its text without comments.
    fn code(&self) -> String {
        self.text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
    }

    /// The number of lines before the tests.
    fn production_lines(&self) -> usize {
        if self.path.ends_with("tests.rs") {
            return 0;
        }
        self.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
    }

    /// Written by a generator and compared by `tests/codegen.rs`.
    fn is_generated(&self) -> bool {
        self.path.ends_with("wire/generated.rs")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source { text: fs::read_to_string(&path).unwrap(), path });
            }
        }
    }
    assert!(found.len() > 10, "found only {} files below {:?}", found.len(), root());
    found
}

/// The modules of `src/lib.rs` in the order in which they are declared.
fn declared() -> Vec<String> {
    let text = fs::read_to_string(root().join("lib.rs")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

/// Every top module that the code names as `crate::X` or inside `crate::{X, ..}`.
fn used(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(group) => top_level_names(group),
            None => vec![identifier(rest)],
        };
        found.extend(names.into_iter().filter(|name| !name.is_empty()));
    }
    found
}

/// The names that stand directly inside a `{..}` group whose brace is already open.
fn top_level_names(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(identifier(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(identifier(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

#[test]
fn a_module_uses_only_what_is_declared_above_it() {
    let order = declared();
    let rank = |name: &str| order.iter().position(|module| module == name);
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else { continue };
        let own = rank(&module).unwrap_or_else(|| panic!("`{module}` is not declared in lib.rs"));
        for target in used(&source.code()) {
            if rank(&target).is_some_and(|other| other > own) {
                wrong.push(format!("{}: `{module}` uses `{target}`", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point down in lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn the_halves_stay_apart() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (module, others) in FORBIDDEN {
            let uses = used(&source.code());
            let hits = others.iter().filter(|other| uses.iter().any(|name| name == *other));
            if source.module().as_deref() == Some(module) {
                wrong.extend(hits.map(|hit| format!("{}: `{module}` uses `{hit}`", source.path.display())));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_know_no_runtime_and_no_io() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (module, libraries) in PURE {
            let code = source.code();
            let hits = libraries.iter().filter(|library| code.contains(*library));
            if source.module().as_deref() == Some(module) {
                wrong.extend(hits.map(|hit| format!("{}: `{module}` knows `{hit}`", source.path.display())));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_own() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_generated()) {
        let (name, lines) = (source.path.display(), source.production_lines());
        let limit = if source.path.ends_with("src/main.rs") { LONGEST_MAIN } else { LONGEST_FILE };
        if lines > limit {
            wrong.push(format!("{name}: {lines} lines of production code, {limit} at most"));
        }
        if !source.text.starts_with("//! ") {
            wrong.push(format!("{name}: does not open with `//!`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn groups_and_single_uses_are_both_seen() {
    let code = "use crate::model::{Grant, Time};\nuse crate::{\n  access::table::{Table, Row},\n  session,\n};\nlet x = crate::audit::open();";
    assert_eq!(
        used(code),
        ["model", "access", "session", "", "audit"].into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>()
    );
}

#[test]
fn each_dependency_has_its_reason_written_down() {
    let read = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (manifest, text) = (read("Cargo.toml"), read("ARCHITECTURE.md"));
    let mut inside = false;
    let mut missing = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = matches!(line, "[dependencies]" | "[dev-dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| inside && !line.starts_with('#'))
            && !text.contains(&format!("`{name}`"))
        {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "not in ARCHITECTURE.md, \"Why each dependency\": {missing:?}");
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root.join(name)).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        broken.extend(
            targets
                .filter(|target| !target.starts_with("https://") && !root.join(target).exists())
                .map(|target| format!("{name}: {target}")),
        );
    }
    assert!(broken.is_empty(), "{broken:?}");
}
