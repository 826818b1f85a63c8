//! Why a verb did not do what was asked, and the exit code for it.

use super::shown::escaped;
use std::error::Error;
use std::process::ExitCode;

/// What went wrong, for standard error, and the exit code.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// Bad usage or bad configuration: exit code 2.
    pub(super) fn usage(error: impl Into<Box<dyn Error>>) -> Self {
        Self { code: 2, text: chain(&*error.into()) }
    }

    /// Refused or failed: exit code 1.
    pub(super) fn failed(error: impl Into<Box<dyn Error>>) -> Self {
        Self { code: 1, text: chain(&*error.into()) }
    }

    /// Of `run`: the command never started, exit code 125.
    pub(super) fn never_started(self) -> Self {
        Self { code: 125, ..self }
    }

    /// As a whole, for tests and logs.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Prints it.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        for (index, line) in self.text.lines().enumerate() {
            let start = if index == 0 { "error: " } else { "" };
            eprintln!("{start}{}", escaped(line));
        }
        ExitCode::from(self.code)
    }
}

/// The error and its sources on one line; where a source is shown by its outer error already, once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}
