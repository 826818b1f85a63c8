//! `jitgate audit`: reads the trail that a proxy on this machine writes.

mod csv;
mod follow;
mod prove;
mod report;
mod search;
mod show;
mod verify;
mod vouched;
mod witness;

use super::Failure;
use super::connection::Connection;
use super::output::{self, Format, Output};
use crate::audit::search::{Conditions, Field, Hit};
use crate::model::{GrantId, ServiceName, SpiffeId, TaskId};
use follow::{FollowError, Follower, Seen};
use serde_json::Value;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(200);

/// Read the audit trail
#[derive(Debug, clap::Subcommand)]
pub(super) enum Audit {
    Tail(Tail),
    Search(search::Search),
    Show(show::Show),
    Verify(verify::Verify),
    Prove(prove::Prove),
    Report(Box<report::Report>),
}

/// Show the last lines of the trail on this machine, and follow it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  jitgate audit tail -n 20\n  \
jitgate audit tail --follow --decision deny\n  \
jitgate audit tail --file /var/log/jitgate/audit.jsonl --principal spiffe://jitgate.local/agent/demo --output json\n\n\
With --output json each line is printed as it stands in the trail.")]
pub(super) struct Tail {
    /// How many of the last lines that fit the filters
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
    /// Go on with lines as they are written
    #[arg(short, long)]
    follow: bool,
    /// The trail [default: audit/audit.jsonl under --data, or where the running `up` writes it]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Filters")]
struct Filter {
    /// Of this principal
    #[arg(long)]
    principal: Option<SpiffeId>,
    /// For this task
    #[arg(long)]
    task: Option<TaskId>,
    /// To this service
    #[arg(long)]
    service: Option<ServiceName>,
    /// Under this grant
    #[arg(long)]
    grant: Option<GrantId>,
    /// `permit` or `deny`
    #[arg(long, value_parser = ["permit", "deny"])]
    decision: Option<String>,
    /// Denied for this reason, for instance `no_grant`
    #[arg(long)]
    reason: Option<String>,
    /// `admit`, `end`, `handshake` or `summary`
    #[arg(long, value_parser = ["admit", "end", "handshake", "summary"])]
    kind: Option<String>,
}

impl Audit {
    pub(super) fn run(self, connection: &Connection, output: Output, format: Format) -> Result<(), Failure> {
        match self {
            Self::Search(search) => search.run(connection, format),
            Self::Tail(tail) => tail.run(connection, output),
            Self::Show(show) => show.run(connection, output),
            Self::Verify(verify) => verify.run(connection, output),
            Self::Prove(prove) => prove.run(connection),
            Self::Report(report) => report.run(connection, output),
        }
    }
}

/// The trail that is named, or that of `jitgate up`.
fn trail(named: Option<PathBuf>, connection: &Connection) -> PathBuf {
    named.unwrap_or_else(|| {
        let state = connection.local().and_then(|state| state.audit);
        state.unwrap_or_else(|| connection.data.join("audit").join("audit.jsonl"))
    })
}

impl Tail {
    fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let path = trail(self.file.clone(), connection);
        let mut follower = Follower::open(path).map_err(Failure::failed)?;
        let conditions = self.filter.conditions();
        let last = self.last(&mut follower, &conditions).map_err(Failure::failed)?;
        if output == Output::Table && (self.follow || !last.is_empty()) {
            output::line(&header())?;
        }
        for line in last {
            print(&line, output)?;
        }
        if !self.follow {
            return Ok(());
        }
        loop {
            std::thread::sleep(POLL);
            let mut printed = Ok(());
            let show = |seen: Seen| match seen {
                Seen::Line(line) if printed.is_ok() && conditions.fit(&line.value) => {
                    printed = print(&line, output);
                }
                Seen::Line(_) => {}
                Seen::Gone(from, to) => {
                    eprintln!("lines {from} to {to} were removed before they were shown");
                }
                Seen::Other => eprintln!("the numbers begin anew: this is another trail"),
            };
            follower.read(show).map_err(Failure::failed)?;
            printed?;
        }
    }

    /// The last lines that fit: of the newest file, and where that has too few, of those before it.
    fn last(&self, follower: &mut Follower, conditions: &Conditions) -> Result<VecDeque<Line>, FollowError> {
        let mut last = VecDeque::new();
        let keep = |seen: Seen| {
            if let Seen::Line(line) = seen
                && conditions.fit(&line.value)
            {
                last.push_back(line);
                if last.len() > self.lines {
                    last.pop_front();
                }
            }
        };
        follower.read(keep)?;
        let lacks = self.lines.saturating_sub(last.len());
        for line in follower.before(conditions, (lacks, last.len()))? {
            last.push_front(line);
        }
        Ok(last)
    }
}

impl Filter {
    fn conditions(&self) -> Conditions {
        let members = [
            (Field::Principal, self.principal.as_ref().map(ToString::to_string)),
            (Field::Task, self.task.as_ref().map(ToString::to_string)),
            (Field::Service, self.service.as_ref().map(ToString::to_string)),
            (Field::Grant, self.grant.map(|id| id.to_string())),
            (Field::Decision, self.decision.clone()),
            (Field::Reason, self.reason.clone()),
            (Field::Kind, self.kind.clone()),
        ];
        let given = members.into_iter().filter_map(|(field, value)| Some((field, value?)));
        given.fold(Conditions::default(), |all, (field, value)| all.with(field, value))
    }
}

/// A line of the trail.
#[derive(Debug)]
struct Line {
    raw: String,
    value: Value,
}

impl From<Hit> for Line {
    fn from(Hit { raw, value }: Hit) -> Self {
        Self { raw, value }
    }
}

impl Line {
    /// Nothing where it is no JSON object: a line that is still being written, or was torn.
    fn parse(raw: String) -> Option<Self> {
        let value: Value = serde_json::from_str(&raw).ok()?;
        value.is_object().then_some(Self { raw, value })
    }

    fn text(&self, key: &str) -> &str {
        self.value.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// How it ended, or why it was refused.
    fn why(&self) -> String {
        match (self.text("reason"), self.text("end"), self.text("cause")) {
            ("", end, "") => end.to_owned(),
            ("", end, cause) => format!("{end}: {cause}"),
            (reason, _, _) => reason.to_owned(),
        }
    }

    /// The HTTP method, or the method of MCP and what it is about.
    fn what(&self) -> String {
        match (self.text("mcp_method"), self.text("tool")) {
            ("", _) => self.text("method").to_owned(),
            (method, "") => method.to_owned(),
            (method, tool) => format!("{method} {tool}"),
        }
    }

    fn number(&self, key: &str) -> String {
        self.value.get(key).and_then(Value::as_u64).map(|number| number.to_string()).unwrap_or_default()
    }
}

fn print(line: &Line, output: Output) -> Result<(), Failure> {
    match output {
        // The trail itself holds nothing that acts on a terminal.
        Output::Json => output::line(&line.raw),
        Output::Table => output::line(super::shown::escaped(&row(line)).trim_end()),
    }
}

fn header() -> String {
    columns(["TIME", "KIND", "DECISION", "WHY", "STATUS", "PRINCIPAL", "REQUEST", "GRANT"])
}

fn row(line: &Line) -> String {
    let time = line.text("time");
    let request = match line.text("mcp_method") {
        "" => [line.text("method"), line.text("service"), line.text("path")],
        method => [line.text("service"), method, line.text("tool")],
    };
    let request: Vec<&str> = request.into_iter().filter(|part| !part.is_empty()).collect();
    columns([
        time.get(11..23).unwrap_or(time),
        line.text("kind"),
        line.text("decision"),
        &line.why(),
        &line.number("status"),
        line.text("principal"),
        &request.join(" "),
        line.text("grant"),
    ])
}

/// Fixed widths, so that lines that come one by one stand under each other.
fn columns([time, kind, decision, why, status, principal, request, grant]: [&str; 8]) -> String {
    format!("{time:<14}{kind:<11}{decision:<10}{why:<22}{status:<8}{principal:<38}{request:<44}{grant}")
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people_says_what_happened_and_nothing_acts_on_the_terminal() {
        let raw = r#"{"seq":1,"time":"2026-11-22T10:41:02.123456Z","kind":"end","principal":"spiffe://d/a","service":"orders","method":"GET","path":"/v1/\u001b[31m","decision":"permit","reason":null,"end":"cut","cause":"revoked","status":200,"grant":"gr_1"}"#;
        let line = Line::parse(raw.to_owned()).unwrap();
        let shown = super::super::shown::escaped(&row(&line));
        for part in ["10:41:02.123", "permit", "cut: revoked", "200", "GET orders /v1/\\u{1b}[31m", "gr_1"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert!(!shown.contains('\u{1b}'));
        assert!(Line::parse("{\"seq\":1,".to_owned()).is_none());
    }

    #[test]
    fn the_last_lines_are_shown_though_the_trail_was_rotated_just_now() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let lines = |numbers: std::ops::RangeInclusive<u64>| {
            let line = |seq: u64| {
                let decision = ["permit", "deny"][seq as usize % 2];
                format!("{{\"seq\":{seq},\"decision\":\"{decision}\"}}\n")
            };
            numbers.map(line).collect::<String>()
        };
        std::fs::write(dir.path().join("audit-20261122T100000Z-000000000004.jsonl"), lines(1..=4)).unwrap();
        std::fs::write(dir.path().join("audit-20261122T110000Z-000000000005.jsonl"), lines(5..=5)).unwrap();
        let shown = |lines: usize, decision: Option<&str>| {
            let filter = Filter {
                principal: None,
                task: None,
                service: None,
                grant: None,
                decision: decision.map(str::to_owned),
                reason: None,
                kind: None,
            };
            let tail = Tail { lines, follow: false, file: None, filter };
            let mut follower = Follower::open(path.clone()).unwrap();
            let last = tail.last(&mut follower, &tail.filter.conditions()).unwrap();
            last.iter().map(|line| line.number("seq")).collect::<Vec<_>>()
        };
        std::fs::write(&path, "").unwrap();
        assert_eq!(shown(2, None), ["4", "5"]);
        std::fs::write(&path, lines(6..=7)).unwrap();
        assert_eq!(shown(2, None), ["6", "7"]);
        assert_eq!(shown(3, None), ["5", "6", "7"]);
        assert_eq!(shown(9, None), ["1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!(shown(3, Some("deny")), ["3", "5", "7"]);
    }
}
