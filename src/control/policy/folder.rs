//! A folder of policies as files on disk: bounded, read once, and nothing in it passed over in silence.
//!
//! A file that is not read could be the one that forbids. So the folder holds `*.cedar`, a copy of the schema for editors
//! (`*.cedarschema`), documents (`*.md`), the folder `tests`, and hidden entries; anything else is an error, and so is a folder
//! without a policy.

use crate::config::Problem;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Most policy files.
pub(super) const MAX_FILES: usize = 1_000;
/// Most bytes of all of them.
pub(super) const MAX_BYTES: u64 = 1024 * 1024;

/// A file of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PolicyFile {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) text: String,
}

/// Every policy file, sorted by name; or everything that is wrong.
pub(super) fn read(folder: &Path) -> Result<Vec<PolicyFile>, Vec<Problem>> {
    let entries =
        entries(folder).map_err(|error| vec![problem(folder, format!("cannot be read: {error}"))])?;
    let (mut names, mut wrong) = (Vec::new(), Vec::new());
    for (path, is_folder) in entries {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            wrong.push(problem(&path, "rename it: its name is not UTF-8"));
            continue;
        };
        let ends = |ending: &str| name.ends_with(ending);
        match is_folder {
            false if ends(".cedar") && !name.starts_with('.') => names.push((path, name)),
            false if name.starts_with('.') || ends(".cedarschema") || ends(".md") => {}
            true if name.starts_with('.') || name == "tests" => {}
            false => wrong.push(problem(&path, "is no policy file: name it `*.cedar`, or move it elsewhere")),
            true => {
                wrong.push(problem(&path, "folders in a folder of policies are not read: move its files up"))
            }
        }
    }
    if names.is_empty() && wrong.is_empty() {
        wrong.push(problem(
            folder,
            "has no policy: add a `*.cedar` file (without `folder` every request needs one operator)",
        ));
    }
    if names.len() > MAX_FILES {
        wrong
            .push(problem(folder, format!("has {} policy files, at most {MAX_FILES} are read", names.len())));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    names.sort_by(|(_, a), (_, b)| a.cmp(b));
    texts(folder, names)
}

/// Every file of table tests, sorted by name; or everything that is wrong. A folder without one is wrong.
pub(super) fn tests(policies: &Path) -> Result<Vec<PolicyFile>, Vec<Problem>> {
    let folder = policies.join("tests");
    let entries = entries(&folder).map_err(|error| {
        vec![problem(&folder, format!("cannot be read: {error}; tests of policies are `tests/*.toml`"))]
    })?;
    let (mut names, mut wrong) = (Vec::new(), Vec::new());
    for (path, is_folder) in entries {
        match path.file_name().and_then(|name| name.to_str()).map(str::to_owned) {
            Some(name) if name.starts_with('.') || (!is_folder && name.ends_with(".md")) => {}
            Some(name) if !is_folder && name.ends_with(".toml") => names.push((path, name)),
            Some(_) | None => {
                wrong.push(problem(&path, "is no test: name it `*.toml`, or move it elsewhere"))
            }
        }
    }
    if names.is_empty() && wrong.is_empty() {
        wrong.push(problem(&folder, "has no test: add a `*.toml` file"));
    }
    if names.len() > MAX_FILES {
        wrong.push(problem(&folder, format!("has {} files, at most {MAX_FILES} are read", names.len())));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    texts(&folder, names)
}

fn texts(folder: &Path, names: Vec<(PathBuf, String)>) -> Result<Vec<PolicyFile>, Vec<Problem>> {
    let (mut files, mut wrong, mut left) = (Vec::new(), Vec::new(), MAX_BYTES);
    for (path, name) in names {
        match text(&path, left + 1) {
            Ok(text) => {
                let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
                let Some(rest) = left.checked_sub(bytes) else {
                    let message = format!("has more than {MAX_BYTES} bytes, which is not read");
                    return Err(vec![problem(folder, message)]);
                };
                left = rest;
                files.push(PolicyFile { path, name, text });
            }
            Err(error) => wrong.push(problem(&path, format!("cannot be read: {error}"))),
        }
    }
    if wrong.is_empty() { Ok(files) } else { Err(wrong) }
}

fn text(path: &Path, at_most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(at_most).read_to_end(&mut bytes)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        // Cut within a character: it is too long anyway.
        Err(error) if error.as_bytes().len() as u64 == at_most => {
            Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
        }
        Err(_) => Err(io::Error::other("not UTF-8")),
    }
}

/// The entries with whether each is a folder, links followed.
fn entries(folder: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_folder = fs::metadata(&path)?.is_dir();
        found.push((path, is_folder));
    }
    found.sort();
    Ok(found)
}

fn problem(file: &Path, message: impl Into<String>) -> Problem {
    Problem { file: file.to_path_buf(), line: None, key: String::new(), message: message.into() }
}
