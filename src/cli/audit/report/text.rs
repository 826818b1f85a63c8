//! A report for a terminal, or a file of text.

use super::page::{Page, Part};
use crate::cli::Failure;
use crate::cli::output;
use crate::cli::shown::escaped;

pub(super) fn print(page: &Page) -> Result<(), Failure> {
    output::line(&escaped(&page.title))?;
    for part in &page.parts {
        match part {
            Part::Heading(heading) => {
                let line = escaped(heading);
                output::line(&format!("\n{line}\n{}", "=".repeat(line.chars().count())))?;
            }
            Part::Subheading(heading) => output::line(&format!("\n{}", escaped(heading)))?,
            Part::Text(said) => output::line(&escaped(said))?,
            Part::Warning(said) => output::line(&format!("WARNING: {}", escaped(said)))?,
            Part::Fields(fields) => {
                output::fields(fields.iter().map(|(name, value)| (*name, value.clone())))?
            }
            Part::Table(header, rows) => output::rows(header, rows)?,
        }
    }
    Ok(())
}
