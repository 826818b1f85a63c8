//! `jitgate audit report`: what was asked, decided, approved, done, and how it ended; and how access is used on the whole.
//!
//! Calls come from the trails of proxies, everything before and after from the control plane's log. Where one of them says nothing, the
//! other is reported, with a word on what is missing.

mod access;
mod access_words;
mod call_words;
mod calls;
mod html;
mod ledger;
mod page;
mod source;
mod story;
mod text;
mod unused;
mod words;

use super::{Line, trail};
use crate::audit::search::{Field, Matcher};
use crate::cli::Failure;
use crate::cli::client::with_client;
use crate::cli::connection::Connection;
use crate::cli::output::{self, Output};
use crate::identity::keyfile::{self, Existing, Secrecy};
use crate::model::{GrantId, ProxyName, SpiffeId, TaskId, Time, TrailHead, Ttl};
use crate::runtime::clock::wall;
use access::Review;
use calls::Calls;
use ledger::{Act, Dispute, Granted, Interest, Ledger};
use page::Page;
use serde::Serialize;
use source::{Check, Log, Standing, Trail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use story::{Known, Story, Subject};
use unused::{Lack, Uses};

use super::search::Moment;

/// Report who asked for what, who decided, what was done and how it ended
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("about").required(true).multiple(true).args(["access", "task", "grant", "principal", "since", "until"]),
    after_help = "Examples:\n  jitgate audit report --task INC-4711\n  \
jitgate audit report --task INC-4711 --html INC-4711.html\n  \
jitgate audit report --principal spiffe://jitgate.local/agent/demo --since 7d --output json\n  \
jitgate audit report --grant gr_01k2abcdefghjkmnpqrstvwxyz --file /backup/audit/audit.jsonl --offline\n  \
jitgate audit report --access --since 30d --html access.html\n\n\
Requests, decisions and approvals come from the control plane, calls from the trail on this machine. If one of them cannot be\n\
read, the other is reported, and the exit code is 1, as it is when the trail is not as it was written. See docs/audit-report.md."
)]
pub(in crate::cli) struct Report {
    /// How access is used instead: permissions that nothing used, how long approvals took, serial renewals, open reviews
    #[arg(long, conflicts_with_all = ["grant", "offline"])]
    access: bool,
    /// Of --access: grants of the same permissions are a series if none begins later than this after the one before ended
    #[arg(long, value_name = "DURATION", default_value = "1h", requires = "access")]
    gap: Ttl,
    /// About this task
    #[arg(long)]
    task: Option<TaskId>,
    /// About this grant
    #[arg(long)]
    grant: Option<GrantId>,
    /// About this principal
    #[arg(long)]
    principal: Option<SpiffeId>,
    /// What went on at or after: a time (RFC 3339), or how long ago (`15m`, `24h`, `7d`)
    #[arg(long, value_name = "TIME|DURATION", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// What went on before: a time, or how long ago
    #[arg(long, value_name = "TIME|DURATION", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// Write it as one page of HTML, complete in itself and without scripts, to this file, which its owner alone can read; it replaces
    /// one that is there (`-`: standard output)
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How many calls are listed; all are counted
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000)]
    limit: usize,
    #[command(flatten)]
    sources: Sources,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sources")]
struct Sources {
    /// A trail [default: audit/audit.jsonl under --data, or where the running `up` writes it]; once for each proxy
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// A checkpoint of the trail that was kept elsewhere, to check it against; may be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The key that signed the checkpoints, as text or in a file [default: key.pub in the trail's .tlog folder]
    #[arg(long, value_name = "VKEY|FILE")]
    audit_key: Option<PathBuf>,
    /// Do not check whether the trail is as it was written; a long one is read faster so
    #[arg(long)]
    no_verify: bool,
    /// Do not ask the control plane: calls alone
    #[arg(long)]
    offline: bool,
    /// Read no trail: what the control plane knows alone
    #[arg(long, conflicts_with_all = ["file", "checkpoint", "audit_key", "no_verify", "offline"])]
    no_trail: bool,
}

/// Why a report is not good enough.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("`--checkpoint` and `--audit-key` are of one trail: report one `--file` at a time with them")]
    OneTrail,
    #[error("`--html -` and `--output json` both go to standard output: name a file for the page")]
    OneOutput,
    #[error("the report is not complete: {0}")]
    Incomplete(String),
    #[error("the trail at `{}` is not as it was written", .0.display())]
    Wrong(PathBuf),
}

impl Report {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        if output == Output::Json && self.html.as_deref() == Some(Path::new("-")) {
            return Err(Failure::usage(ReportError::OneOutput));
        }
        let now = wall();
        let subject = self.subject(now);
        if self.access {
            self.review(connection, output, subject, now)
        } else {
            self.story(connection, output, subject, now)
        }
    }

    /// What was asked, decided, approved, done, and how it ended.
    fn story(
        &self,
        connection: &Connection,
        output: Output,
        subject: Subject,
        now: Time,
    ) -> Result<(), Failure> {
        let mut missing = Vec::new();
        let interest = Interest { task: self.task.clone(), principal: self.principal.clone() };
        let (control, mut ledger) = self.sources.control(connection, interest, &mut missing);
        let (heads, disputes) = (std::mem::take(&mut ledger.heads), std::mem::take(&mut ledger.disputes));
        let proxies = std::mem::take(&mut ledger.proxies);
        let known = Known::of(ledger, &subject, now);
        let refusals = known.refusals(&subject, now);
        let mut ways = vec![subject.lines()];
        ways.extend(refusals.into_iter().map(|(_, conditions)| conditions));
        let matchers: Vec<Matcher<'_>> = ways.iter().map(Matcher::new).collect();
        let mut calls = Calls::at_most(self.limit).until(subject.until);
        let mut refused = Calls::at_most(self.limit);
        let trails =
            self.sources.trails(connection, (control.as_ref(), &heads), &mut missing, |path, check| {
                source::read(path, check, &ways, |way, line| {
                    let Some(hit) = matchers.get(way).and_then(|matcher| matcher.hit(line)) else { return };
                    let line = Line::from(hit);
                    if way == 0 {
                        calls.take(line);
                    } else if line.text("grant").is_empty() {
                        refused.take(line);
                    }
                })
            })?;
        if !self.sources.no_trail {
            missing.extend(unread((&known.grants, subject.since), &proxies, &trails));
        }
        if !self.sources.no_verify {
            missing.extend(disputed(&disputes, &trails));
        }
        let title = format!("Access report: {}", subject.words());
        let story =
            Story { title, at: now, subject, missing, control, trails, disputes, known, calls, refused };
        self.give(&story, &words::page(&story), output)?;
        verdict(&story.missing, &story.trails)
    }

    /// How access is used.
    fn review(
        &self,
        connection: &Connection,
        output: Output,
        subject: Subject,
        now: Time,
    ) -> Result<(), Failure> {
        let interest = Interest { task: self.task.clone(), principal: self.principal.clone() };
        let (control, mut ledger) =
            with_client(connection, async |client| source::ledger(client, interest).await)?;
        let mut missing = Vec::new();
        let mut uses = Uses::of(access::grants(&ledger, &subject));
        // Grants of this time may be used behind it.
        let ways = [subject.lines().with(Field::Decision, "permit")];
        let trails = self.sources.trails(
            connection,
            (Some(&control), &ledger.heads),
            &mut missing,
            |path, check| source::read(path, check, &ways, |_, line| uses.take(line, &ledger.grants)),
        )?;
        if !self.sources.no_verify {
            missing.extend(disputed(&ledger.disputes, &trails));
        }
        let (unused, unsure) = uses.unused(&ledger, &trails);
        let review = Review {
            title: "Access review".to_owned(),
            at: now,
            missing,
            control,
            trails,
            disputes: std::mem::take(&mut ledger.disputes),
            counts: access::counts(&ledger, &subject),
            unused: access::left(&ledger, unused, now),
            unsure,
            approval_times: access::approval_times(&ledger, &subject),
            renewals: access::renewals(&ledger, &subject, self.gap.get(), now),
            open_reviews: access::open_reviews(&mut ledger),
            subject,
        };
        self.give(&review, &access_words::page(&review), output)?;
        verdict(&review.missing, &review.trails)
    }

    fn subject(&self, now: Time) -> Subject {
        Subject {
            task: self.task.clone(),
            grant: self.grant,
            principal: self.principal.clone(),
            since: self.since.map(|since| since.resolve(now)),
            until: self.until.map(|until| until.resolve(now)),
        }
    }

    fn give(&self, data: &impl Serialize, page: &Page, output: Output) -> Result<(), Failure> {
        if let Some(path) = &self.html {
            let document = html::document(page);
            if path == Path::new("-") {
                return output::line(document.trim_end());
            }
            // As confidential as the trail.
            keyfile::write(path, document.as_bytes(), Secrecy::Private, Existing::Replace)
                .map_err(Failure::failed)?;
        }
        match (output, &self.html) {
            (Output::Json, _) => output::json(data),
            (Output::Table, None) => text::print(page),
            (Output::Table, Some(path)) => {
                output::line(&crate::cli::shown::escaped(&format!("wrote {}", path.display())))
            }
        }
    }
}

impl Sources {
    /// What the control plane knows; if nothing, why that is missing.
    fn control(
        &self,
        connection: &Connection,
        interest: Interest,
        missing: &mut Vec<String>,
    ) -> (Option<Log>, Ledger) {
        if self.offline {
            return (None, Ledger::default());
        }
        match with_client(connection, async |client| source::ledger(client, interest).await) {
            Ok((log, ledger)) => (Some(log), ledger),
            Err(failure) => {
                let why = failure.text().replace('\n', "; ");
                missing.push(format!(
                    "requests, decisions, approvals and grants, because the control plane did not tell: {why}"
                ));
                (None, Ledger::default())
            }
        }
    }

    /// Reads each trail.
    fn trails(
        &self,
        connection: &Connection,
        (control, heads): (Option<&Log>, &BTreeMap<ProxyName, TrailHead>),
        missing: &mut Vec<String>,
        mut read: impl FnMut(&Path, Check) -> Trail,
    ) -> Result<Vec<Trail>, Failure> {
        if self.no_trail {
            return Ok(Vec::new());
        }
        let paths = if self.file.is_empty() { vec![trail(None, connection)] } else { self.file.clone() };
        let one = self.checkpoint.is_empty() && self.audit_key.is_none();
        if paths.len() > 1 && !one {
            return Err(Failure::usage(ReportError::OneTrail));
        }
        let mut trails = Vec::new();
        for path in paths {
            let named = (&*self.checkpoint, self.audit_key.as_deref());
            let check = match self.no_verify {
                true => Check::Not("that was not wanted".to_owned()),
                false => source::check(&path, named, heads, connection),
            };
            let read = read(&path, check);
            // What lies beside a trail proves it to nobody who does not trust its host.
            let kept =
                read.proxy.as_ref().is_some_and(|name| heads.keys().any(|known| known.as_str() == name));
            if control.is_some() && !self.no_verify && !kept {
                let whose = read.proxy.as_deref().unwrap_or("(no line says which)");
                missing.push(format!(
                    "a checkpoint of the trail `{}` at the control plane, which keeps none of a proxy `{whose}`",
                    path.display()
                ));
            }
            match &read.standing {
                Standing::Unread { why } => {
                    missing.push(format!("calls of the trail `{}`: {why}", path.display()));
                }
                Standing::Unverified { why } if !self.no_verify => {
                    missing.push(format!("a proof of the trail `{}`: {why}", path.display()));
                }
                Standing::Unverified { .. } | Standing::Verified { .. } | Standing::Wrong { .. } => {}
            }
            trails.push(read);
        }
        Ok(trails)
    }
}

/// Trails that were read and once contradicted what had been signed for: what they held before that is not proved.
fn disputed(disputes: &[Act<Dispute>], trails: &[Trail]) -> Vec<String> {
    let read = |proxy: &ProxyName| trails.iter().any(|trail| trail.proxy.as_deref() == Some(proxy.as_str()));
    let disputes = disputes.iter().filter(|dispute| read(&dispute.what.proxy));
    disputes
        .map(|Act { at, what, .. }| {
            format!(
                "a proof of what proxy `{}` wrote before {at}: its trail then {}",
                what.proxy,
                what.meaning()
            )
        })
        .collect()
}

/// Calls that are in no trail that was read: at proxies that the control plane knows of; where the use of a grant is not logged, at every
/// proxy, if there were any.
fn unread(
    (grants, since): (&[Granted], Option<Time>),
    proxies: &BTreeMap<ProxyName, Time>,
    trails: &[Trail],
) -> Vec<String> {
    let mut lacks: BTreeMap<&ProxyName, (bool, Lack)> = BTreeMap::new();
    for granted in grants {
        let begins = granted.begins();
        let from = since.map_or(begins, |since| since.max(begins));
        for proxy in unused::places(granted, proxies) {
            if let Some(lack) = unused::lack(proxy, from, trails) {
                lacks.entry(proxy).or_insert((false, lack)).0 |= granted.use_is_logged;
            }
        }
    }
    let told = |(proxy, (known, lack)): (&ProxyName, (bool, Lack))| {
        let calls = if known { "calls" } else { "calls that there may have been" };
        match lack {
            Lack::Unread => {
                format!("{calls} at proxy `{proxy}`, whose trail was not read: name it with --file")
            }
            Lack::Begins => {
                format!("the first {calls} at proxy `{proxy}`: what is left of its trail begins later")
            }
        }
    };
    lacks.into_iter().map(told).collect()
}

/// A report that lacks something, or rests on a trail that was changed, is a failure, however much it says.
fn verdict(missing: &[String], trails: &[Trail]) -> Result<(), Failure> {
    let wrong = trails.iter().find(|trail| matches!(trail.standing, Standing::Wrong { .. }));
    if let Some(trail) = wrong {
        return Err(Failure::failed(ReportError::Wrong(trail.file.clone())));
    }
    match missing {
        [] => Ok(()),
        missing => Err(Failure::failed(ReportError::Incomplete(missing.join("; ")))),
    }
}

#[cfg(test)]
mod tests;
