//! How the program's own log is written, for the verbs that keep running.

use super::Failure;
use crate::runtime::telemetry::{self, Colour, Format};
use std::io::IsTerminal;

/// The program's own log, on standard error.
#[derive(Debug, clap::Args)]
pub(super) struct Telemetry {
    /// What `up`, `proxy` and `control` log, for instance `info` or `warn,jitgate::sync=debug`
    #[arg(long, global = true, env = "JITGATE_LOG", value_name = "FILTER", help_heading = "Logging")]
    log: Option<String>,
    /// How they log
    #[arg(
        long,
        global = true,
        env = "JITGATE_LOG_FORMAT",
        value_enum,
        default_value_t,
        help_heading = "Logging"
    )]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl Telemetry {
    /// Sets it up; `usually` is the filter where none was asked for.
    pub(super) fn start(&self, usually: &str) -> Result<(), Failure> {
        let format = match self.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        let colour = if std::io::stderr().is_terminal() { Colour::On } else { Colour::Off };
        telemetry::init(format, colour, Some(self.log.as_deref().unwrap_or(usually))).map_err(Failure::usage)
    }
}
