//! `jitgate grant`: an operator's direct grant, one or in bulk.

use super::client::{Body, with_client};
use super::connection::Connection;
use super::output::{self, Output};
use super::{Failure, grants, scopes};
use crate::model::grant::{Conditions, Limits, Rate, TimeWindow};
use crate::model::{Scope, SpiffeId, TaskId, Time, Ttl};
use http::Method;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::io::{BufRead, Read};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

/// Grant access directly, as a logged decision of yours
#[derive(Debug, clap::Args)]
#[command(
    name = "grant",
    after_help = "Examples:\n  \
jitgate grant --principal spiffe://jitgate.local/agent/demo --task INC-4711 \\\n    \
--scope 'orders:GET,HEAD:/v1/orders/*' --ttl 15m --reason 'look at one order'\n  \
jitgate grant --principal spiffe://jitgate.local/agent/demo --task INC-4711 --scope 'orders:GET:/v1/**' \\\n    \
--ttl 1h --reason 'office hours' --window 'mon-fri 08:00-18:00 Europe/Berlin' --rate 10/1m --max-uses 100\n  \
jitgate grant --principal spiffe://jitgate.local/agent/demo --task INC-4711 --scope 'orders:*:/v1/**' \\\n    \
--ttl 15m --reason 'repair by hand' --recording full\n  \
jitgate grant --file grants.jsonl --reason 'night run' --ttl 30m\n\n\
A scope is SERVICES:METHODS:PATHS, SERVICES:/pkg.Service/Method (gRPC), or RFC 9396 JSON.\n\
A line of FILE is an object with principal, task, scope, ttl, reason, and where wanted not_before, conditions, limits,\n\
 recording;\n\
 --task, --ttl and --reason fill in what a line leaves out. All grants of a file are made, or none."
)]
pub(super) struct GrantVerb {
    /// For whom: a SPIFFE ID
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    principal: Option<SpiffeId>,
    /// The unit of work that it is for
    #[arg(long, required_unless_present = "file")]
    task: Option<TaskId>,
    /// What it permits, in text or JSON form; repeatable
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    scope: Vec<String>,
    /// How long, for instance `15m`
    #[arg(long, required_unless_present = "file")]
    ttl: Option<Ttl>,
    /// Why, for those who read the trail
    #[arg(long, required_unless_present = "file")]
    reason: Option<String>,
    /// Many grants, one JSON object a line; `-` is standard input
    #[arg(long, value_name = "FILE.jsonl")]
    file: Option<PathBuf>,
    /// From when, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "file")]
    not_before: Option<Time>,
    /// How much of each request is recorded beside its audit line [default: metadata]
    #[arg(long, value_name = "LEVEL", value_parser = ["metadata", "arguments", "full"], conflicts_with = "file")]
    recording: Option<String>,
    #[command(flatten)]
    conditions: ConditionFlags,
    #[command(flatten)]
    limits: LimitFlags,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Conditions")]
struct ConditionFlags {
    /// Networks that the caller must be in, for instance `10.0.0.0/8`; repeatable
    #[arg(long, value_name = "CIDR", conflicts_with = "file")]
    source_network: Vec<ipnet::IpNet>,
    /// Time of day, for instance `mon-fri 08:00-18:00 Europe/Berlin` or `* 22:00-06:00 UTC`; repeatable
    #[arg(long, value_name = "DAYS FROM-TO ZONE", value_parser = window, conflicts_with = "file")]
    window: Vec<TimeWindow>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitFlags {
    /// Requests over its whole life
    #[arg(long, value_name = "N", conflicts_with = "file")]
    max_uses: Option<NonZeroU64>,
    /// Requests in a length of time at each proxy, for instance `10/1m`
    #[arg(long, value_name = "N/DURATION", value_parser = rate, conflicts_with = "file")]
    rate: Option<Rate>,
    /// Requests in flight at once at each proxy
    #[arg(long, value_name = "N", conflicts_with = "file")]
    concurrent: Option<NonZeroU32>,
    /// It ends when it was not used for this long
    #[arg(long, value_name = "DURATION", conflicts_with = "file")]
    idle_timeout: Option<Ttl>,
    /// Body bytes in both directions over its whole life
    #[arg(long, value_name = "BYTES", conflicts_with = "file")]
    max_bytes: Option<NonZeroU64>,
    /// Bytes of the arguments of one call at a service that speaks MCP
    #[arg(long, value_name = "BYTES", conflicts_with = "file")]
    argument_bytes: Option<NonZeroU64>,
    /// Bytes of the answer to one call at a service that speaks MCP
    #[arg(long, value_name = "BYTES", conflicts_with = "file")]
    response_bytes: Option<NonZeroU64>,
}

impl GrantVerb {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        match &self.file {
            Some(file) => {
                let lines = self.lines(file)?;
                bulk(connection, output, &lines)
            }
            None => {
                let body = self.body()?;
                with_client(connection, async |client| {
                    let grant: Value = client.post("/v1/grants", &body).await?;
                    match output {
                        Output::Json => output::json(&grant),
                        Output::Table => grants::one(&grant),
                    }
                })
            }
        }
    }

    /// The one grant of the flags.
    fn body(&self) -> Result<Value, Failure> {
        let scope = Scope::parse_all(&self.scope).map_err(Failure::usage)?;
        let mut body = json!({
            "principal": self.principal,
            "task": self.task,
            "scope": serde_json::to_value(&scope).map_err(Failure::failed)?,
            "ttl": self.ttl,
            "reason": self.reason,
        });
        let object = body.as_object_mut().ok_or_else(|| Failure::failed("a grant is an object"))?;
        if let Some(not_before) = self.not_before {
            object.insert("not_before".to_owned(), json!(not_before));
        }
        if let Some(recording) = &self.recording {
            object.insert("recording".to_owned(), json!(recording));
        }
        let list = |given: bool| given.then_some(());
        let networks =
            list(!self.conditions.source_network.is_empty()).map(|()| self.conditions.source_network.clone());
        let windows = list(!self.conditions.window.is_empty()).map(|()| self.conditions.window.clone());
        let conditions = Conditions::new(networks, windows).map_err(Failure::usage)?;
        if !conditions.is_unconditional() {
            object.insert("conditions".to_owned(), json!(conditions));
        }
        let limits = Limits {
            max_uses: self.limits.max_uses,
            rate: self.limits.rate,
            concurrent_streams: self.limits.concurrent,
            idle_timeout: self.limits.idle_timeout,
            bytes: self.limits.max_bytes,
            argument_bytes: self.limits.argument_bytes,
            response_bytes: self.limits.response_bytes,
        };
        if !limits.is_unlimited() {
            object.insert("limits".to_owned(), json!(limits));
        }
        Ok(body)
    }

    /// The lines of a file, each complete with what the flags fill in; scopes may be in text form.
    fn lines(&self, file: &Path) -> Result<Vec<String>, Failure> {
        let fail = |error: std::io::Error| Failure::usage(format!("`{}`: {error}", file.display()));
        let reader: Box<dyn Read> = if file.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(std::fs::File::open(file).map_err(fail)?)
        };
        let mut grants = Vec::new();
        let mut wrong = Vec::new();
        for (index, line) in std::io::BufReader::new(reader).lines().enumerate() {
            let line = line.map_err(fail)?;
            if line.trim().is_empty() {
                continue;
            }
            match self.line(&line) {
                Ok(grant) => grants.push(grant),
                Err(error) => wrong.push(format!("{}:{}: {error}", file.display(), index + 1)),
            }
        }
        if wrong.is_empty() { Ok(grants) } else { Err(Failure::usage(wrong.join("\n"))) }
    }

    fn line(&self, line: &str) -> Result<String, String> {
        let told = |error: serde_json::Error| error.to_string();
        let mut grant: Members = serde_json::from_str(line).map_err(told)?;
        if let Some((_, scope)) = grant.0.iter_mut().find(|(key, _)| key == "scope")
            && let Some(texts) = scopes::texts(scope)
        {
            let parsed = Scope::parse_all(&texts).map_err(|error| error.to_string())?;
            *scope = to_raw_value(&parsed).map_err(told)?;
        }
        let fills = [
            ("task", self.task.as_ref().map(to_raw_value)),
            ("ttl", self.ttl.as_ref().map(to_raw_value)),
            ("reason", self.reason.as_ref().map(to_raw_value)),
        ];
        for (key, value) in fills {
            let (Some(value), false) = (value, grant.0.iter().any(|(known, _)| known == key)) else {
                continue;
            };
            grant.0.push((key.to_owned(), value.map_err(told)?));
        }
        serde_json::to_string(&grant).map_err(told)
    }
}

/// A JSON object whose values stay as they were written; a key that is there twice is refused, so that what is sent has one reading.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object that describes a grant")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if members.iter().any(|(known, _)| *known == key) {
                        return Err(serde::de::Error::custom(format_args!("`{key}` is there twice")));
                    }
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Reader)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

fn bulk(connection: &Connection, output: Output, lines: &[String]) -> Result<(), Failure> {
    if lines.is_empty() {
        return Err(Failure::usage("the file has no grants"));
    }
    let bytes = lines.join("\n").into_bytes();
    let answer: Value = with_client(connection, async |client| {
        let body = Some(Body { kind: "application/jsonl", bytes });
        Ok(client.call(Method::POST, "/v1/grants", body).await?)
    })?;
    match output {
        Output::Json => output::json(&answer),
        Output::Table => output::line(&format!("{} grants made", lines.len())),
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    let expected = "expected N/DURATION, for instance `10/1m`";
    let (requests, per) = text.split_once('/').ok_or(expected)?;
    let requests = requests.parse().map_err(|_| expected)?;
    Ok(Rate { requests, per: per.parse().map_err(|error: crate::model::time::TtlError| error.to_string())? })
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// `mon-fri 08:00-18:00 Europe/Berlin`.
fn window(text: &str) -> Result<TimeWindow, String> {
    let expected = "expected DAYS FROM-TO ZONE, for instance `mon-fri 08:00-18:00 Europe/Berlin`";
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [days, times, zone] = parts.as_slice() else { return Err(expected.to_owned()) };
    let (from, to) = times.split_once('-').ok_or(expected)?;
    let mut named = Vec::new();
    for part in days.split(',') {
        match part.split_once('-') {
            None => named.push(part.to_owned()),
            Some((first, last)) => {
                let at = |day: &str| DAYS.iter().position(|name| *name == day).ok_or(expected);
                let (first, last) = (at(first)?, at(last)?);
                let length = (last + DAYS.len() - first) % DAYS.len() + 1;
                named.extend(DAYS.iter().cycle().skip(first).take(length).map(|day| (*day).to_owned()));
            }
        }
    }
    let window = json!({"days": named, "from": from, "to": to, "zone": zone});
    serde_json::from_value(window).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_rates_as_people_write_them() {
        let shown = |text: &str| serde_json::to_value(window(text).unwrap()).unwrap();
        assert_eq!(shown("mon-wed 08:00-18:00 Europe/Berlin")["days"], json!(["mon", "tue", "wed"]));
        assert_eq!(shown("sat-mon,wed 08:00-18:00 UTC")["days"].as_array().unwrap().len(), 4);
        assert_eq!(shown("* 22:00-06:00 UTC")["days"], json!(["*"]));
        for bad in
            ["", "mon 08:00-18:00", "mon 8-18 UTC", "mon-fry 08:00-18:00 UTC", "* 08:00-18:00 Mars/Base"]
        {
            assert!(window(bad).is_err(), "{bad}");
        }
        assert_eq!(rate("10/1m").unwrap().requests.get(), 10);
        for bad in ["10", "0/1m", "x/1m", "10/0s", "10/", "/1m"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
