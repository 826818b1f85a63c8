//! What is wrong with a configuration, in words that say what to do.

use std::fmt;
use std::path::PathBuf;

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file; or the flag, where it was given on the command line.
    pub file: PathBuf,
    /// The line, from 1; absent where it concerns the file as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The key, for instance `service[0].upstream`; empty where there is none.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// Serde's message, with what to do.
pub(super) fn explain(message: &str, key: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (unknown, expected) = rest.split_once('`').unwrap_or((rest, ""));
        // Every other part between backticks is a name.
        let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        return match near(unknown, &names) {
            Some(name) => format!("unknown key; did you mean `{name}`?"),
            None if names.is_empty() => "unknown key; remove it".to_owned(),
            None => format!("unknown key; known here: `{}`", names.join("`, `")),
        };
    }
    if message.starts_with("invalid type: map, expected a sequence") {
        return format!("write `[[{key}]]`, once for each, instead of `[{key}]`");
    }
    if message.ends_with("expected a sequence") {
        return format!("{message}: write `[ … ]`");
    }
    message.to_owned()
}

/// The name that was probably meant.
fn near<'n>(typed: &str, names: &[&'n str]) -> Option<&'n str> {
    let fold = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    names
        .iter()
        .map(|name| (strsim::osa_distance(&fold(typed), name), *name))
        .filter(|(distance, name)| *distance <= name.len().max(3) / 3)
        .min()
        .map(|(_, name)| name)
}
