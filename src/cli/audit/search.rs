//! `jitgate audit search`: lines of a trail by what they say, over all its files. Works offline, from files alone.

use super::{Line, csv, header, row, trail};
use crate::audit::search::{self, Conditions, Field, Found, Order};
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::output::{self, Format};
use crate::cli::shown::escaped;
use crate::model::{GrantId, RequestId, ServiceName, SpiffeId, TaskId, Time, Ttl};
use crate::runtime::clock::wall;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Find lines in the trail on this machine, also in its rotated and compressed files
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  jitgate audit search --task INC-4711 --decision deny\n  \
jitgate audit search --principal spiffe://jitgate.local/agent/demo --since 24h\n  \
jitgate audit search --tool restart_service --since 2026-11-22T00:00:00Z --until 2026-11-23T00:00:00Z --output csv\n  \
jitgate audit search --text /v1/orders/7 --oldest --limit 10 --output json\n\n\
The newest lines come first, unless --oldest is given. A line is shown if all of the conditions hold for it.\n\
See docs/audit-search.md.")]
pub(in crate::cli) struct Search {
    #[command(flatten)]
    wanted: Wanted,
    /// How many lines at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    /// The oldest lines first
    #[arg(long)]
    oldest: bool,
    /// The trail [default: audit/audit.jsonl under --data, or where the running `up` writes it]; a single compressed file does, too
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Conditions")]
pub(super) struct Wanted {
    /// Of this principal
    #[arg(long)]
    pub(super) principal: Option<SpiffeId>,
    /// For this task
    #[arg(long)]
    pub(super) task: Option<TaskId>,
    /// Under this grant
    #[arg(long)]
    pub(super) grant: Option<GrantId>,
    /// To this service
    #[arg(long)]
    service: Option<ServiceName>,
    /// Of this tool, prompt or resource of an MCP service
    #[arg(long)]
    tool: Option<String>,
    /// `permit` or `deny`
    #[arg(long, value_parser = ["permit", "deny"])]
    decision: Option<String>,
    /// Denied for this reason, for instance `no_grant`
    #[arg(long)]
    reason: Option<String>,
    /// `admit`, `end`, `handshake` or `summary`
    #[arg(long, value_parser = ["admit", "end", "handshake", "summary"])]
    kind: Option<String>,
    /// Of this request to the proxy
    #[arg(long, value_name = "REQUEST_ID")]
    request: Option<RequestId>,
    /// Not before: a time (RFC 3339), or how long ago (`15m`, `24h`, `7d`)
    #[arg(long, value_name = "TIME|DURATION", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Before: a time, or how long ago
    #[arg(long, value_name = "TIME|DURATION", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// With this text in some value, as it is
    #[arg(long, value_name = "FREE")]
    text: Option<String>,
}

/// A point in time as a person says it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    At(Time),
    Ago(Ttl),
}

#[derive(Debug, thiserror::Error)]
#[error("neither a time as `2026-11-22T10:00:00Z` nor how long ago as `24h`")]
pub(super) struct MomentError;

impl Moment {
    pub(super) fn parse(text: &str) -> Result<Self, MomentError> {
        let at = || text.parse().map(Self::At).ok();
        at().or_else(|| text.parse().map(Self::Ago).ok()).ok_or(MomentError)
    }

    pub(super) fn resolve(self, now: Time) -> Time {
        match self {
            Self::At(time) => time,
            Self::Ago(length) => now.minus(length.get()),
        }
    }
}

/// Why a search is not complete.
#[derive(Debug, thiserror::Error)]
enum SearchError {
    #[error("the trail at `{}` cannot be read; name it with --file, or the folder of `jitgate up` with --data", path.display())]
    Trail { path: PathBuf, source: io::Error },
    #[error("`{}` cannot be read to its end, so lines may be missing from this answer", path.display())]
    Damaged { path: PathBuf, source: io::Error },
}

impl Wanted {
    pub(super) fn conditions(&self, now: Time) -> Conditions {
        let members = [
            (Field::Principal, self.principal.as_ref().map(ToString::to_string)),
            (Field::Task, self.task.as_ref().map(ToString::to_string)),
            (Field::Grant, self.grant.map(|id| id.to_string())),
            (Field::Service, self.service.as_ref().map(ToString::to_string)),
            (Field::Tool, self.tool.clone()),
            (Field::Decision, self.decision.clone()),
            (Field::Reason, self.reason.clone()),
            (Field::Kind, self.kind.clone()),
            (Field::RequestId, self.request.map(|id| id.to_string())),
        ];
        let mut all = Conditions::default();
        for (field, value) in members {
            if let Some(value) = value {
                all = all.with(field, value);
            }
        }
        let at = |moment: Option<Moment>| moment.map(|moment| moment.resolve(now));
        all = all.between(at(self.since), at(self.until));
        match &self.text {
            Some(text) => all.containing(text),
            None => all,
        }
    }
}

impl Search {
    pub(super) fn run(self, connection: &Connection, format: Format) -> Result<(), Failure> {
        let path = trail(self.file.clone(), connection);
        let order = if self.oldest { Order::Oldest } else { Order::Newest };
        let mut printer = Printer { format, printed: 0 };
        let conditions = self.wanted.conditions(wall());
        let found = find(path, &conditions, order, self.limit, |line| printer.print(&line))?;
        printer.end()?;
        if found.limited {
            eprintln!("stopped after {} lines; there may be more: --limit", self.limit);
        }
        complete(found)
    }
}

/// Searches, and hands each line to `each` until that fails.
pub(super) fn find(
    path: PathBuf,
    conditions: &Conditions,
    order: Order,
    limit: usize,
    mut each: impl FnMut(Line) -> Result<(), Failure>,
) -> Result<Found, Failure> {
    let mut failure = None;
    let found = search::search(&path, conditions, order, limit, |hit| match each(hit.into()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    });
    match failure {
        Some(failure) => Err(failure),
        None => found.map_err(|source| Failure::failed(SearchError::Trail { path, source })),
    }
}

/// An answer that lacks something is a failure, however much it says.
pub(super) fn complete(found: Found) -> Result<(), Failure> {
    let damaged = found.damaged.into_iter().next();
    damaged.map_or(Ok(()), |(path, source)| Err(Failure::failed(SearchError::Damaged { path, source })))
}

/// Prints lines as they are found.
struct Printer {
    format: Format,
    printed: usize,
}

impl Printer {
    fn print(&mut self, line: &Line) -> Result<(), Failure> {
        let first = self.printed == 0;
        self.printed += 1;
        match self.format {
            Format::Json => output::raw_json(if first { "[\n" } else { ",\n" }, &line.raw),
            Format::Csv => {
                if first {
                    output::line(&csv::header())?;
                }
                output::line(&csv::row(&line.value))
            }
            Format::Table => {
                if first {
                    output::line(&format!("{:<12}{}", "DATE", header()))?;
                }
                let date = line.text("time").get(..10).unwrap_or_default();
                output::line(escaped(&format!("{date:<12}{}", row(line))).trim_end())
            }
        }
    }

    fn end(&self) -> Result<(), Failure> {
        match (self.format, self.printed) {
            (Format::Json, 0) => output::line("[]"),
            (Format::Json, _) => output::line("\n]"),
            (Format::Csv, 0) => output::line(&csv::header()),
            (Format::Table, 0) => output::line("no lines"),
            (Format::Csv | Format::Table, _) => Ok(()),
        }
    }
}
