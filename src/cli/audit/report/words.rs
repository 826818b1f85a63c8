//! What a report says of requests, grants and calls, for people.

use super::call_words::calls;
use super::ledger::{Act, Asked, Dispute, Granted, Outcome};
use super::page::Page;
use super::source::{Standing, Trail};
use super::story::Story;
use crate::cli::requests;
use crate::model::event::Actor;
use crate::model::{PolicyOutcome, RequestKind, Scope, Terms, Time, User};
use serde_json::json;

/// The report as a document.
pub(super) fn page(story: &Story) -> Page {
    let mut page = Page { title: story.title.clone(), ..Page::default() };
    about(&mut page, story);
    summary(&mut page, story);
    if story.control.is_some() {
        page.heading("Requests");
        if story.known.requests.is_empty() {
            page.text("None: what was granted was granted by an operator.");
        }
        for asked in &story.known.requests {
            request(&mut page, asked);
        }
        page.heading("Grants");
        if story.known.grants.is_empty() {
            page.text("None.");
        }
        for granted in &story.known.grants {
            grant(&mut page, granted, story.at);
        }
        reviews(&mut page, story);
    }
    page.heading("Calls");
    calls(&mut page, &story.calls);
    if !story.refused.is_empty() {
        page.heading("Refused calls that name no grant");
        page.text("Of the same principals in the same time: nothing that they held permitted these.");
        calls(&mut page, &story.refused);
    }
    page
}

/// What the report rests on.
fn about(page: &mut Page, story: &Story) {
    for missing in &story.missing {
        page.warning(format!("Incomplete: {missing}"));
    }
    let control = story.control.as_ref().map_or_else(
        || "not asked".to_owned(),
        |log| format!("event log {} up to revision {}, at {}", log.log, log.revision, log.time),
    );
    page.fields([
        ("about", story.subject.words()),
        ("made at", story.at.to_string()),
        ("control plane", control),
    ]);
    if story.control.is_none() {
        page.text(
            "Requests, decisions, approvals and grants are not in this report, nor are refused calls that name no grant.",
        );
    }
    if story.trails.is_empty() {
        page.text("Calls are not in this report: no trail was read.");
    }
    trails(page, &story.trails, &story.disputes);
}

/// The trails of a report.
pub(super) fn trails(page: &mut Page, trails: &[Trail], disputes: &[Act<Dispute>]) {
    for trail in trails {
        if let Standing::Wrong { .. } = trail.standing {
            page.warning(format!("The trail `{}` is {}", trail.file.display(), trail.words()));
        }
        page.fields([
            ("trail", trail.file.display().to_string()),
            ("written by proxy", trail.proxy.clone().unwrap_or_default()),
            ("begins at", begins(trail)),
            ("proof", trail.words()),
        ]);
    }
    for dispute in disputes {
        let Act { at, what, .. } = dispute;
        let (proxy, meaning) = (&what.proxy, what.meaning());
        page.warning(match what.fault {
            Some(_) => format!("At {at} the trail of proxy `{proxy}` came with a checkpoint that {meaning}"),
            None => format!("At {at} the trail of proxy `{proxy}` was disputed: it {meaning}"),
        });
    }
}

fn begins(trail: &Trail) -> String {
    match (trail.first_line, trail.begins) {
        (Some(line), Some(time)) => format!("line {line}, {time}"),
        _ => String::new(),
    }
}

fn summary(page: &mut Page, story: &Story) {
    page.heading("Summary");
    let settled = |wanted: fn(&Outcome) -> bool| {
        let requests = story.known.requests.iter().filter_map(|asked| asked.settled.as_ref());
        requests.filter(|settled| wanted(&settled.what)).count()
    };
    let granted = settled(|outcome| matches!(outcome, Outcome::Granted | Outcome::Satisfied { .. }));
    let denied = settled(|outcome| matches!(outcome, Outcome::Denied { .. }));
    let ended = story.known.grants.iter().filter(|granted| granted.over(story.at).is_some()).count();
    let totals = story.calls.totals;
    let of_control = |text: String| if story.control.is_some() { text } else { String::new() };
    let tasks = story.known.tasks.iter().map(|end| {
        format!(
            "{} {} at {} by {}: {}",
            end.what.task,
            end.what.outcome.as_str(),
            end.at,
            who(&end.by),
            end.what.reason
        )
    });
    page.fields([
        (
            "requests",
            of_control(format!("{}: {granted} granted, {denied} denied", story.known.requests.len())),
        ),
        (
            "grants",
            of_control(format!(
                "{}: {} still live, {ended} over",
                story.known.grants.len(),
                story.known.grants.len() - ended
            )),
        ),
        (
            "calls",
            format!("{} permitted (of these {} cut), {} denied", totals.permitted, totals.cut, totals.denied),
        ),
        ("bytes", format!("{} in, {} out", totals.bytes_in, totals.bytes_out)),
        (
            "refused beside",
            if story.refused.is_empty() { String::new() } else { story.refused.totals.denied.to_string() },
        ),
        ("ended tasks", tasks.collect::<Vec<_>>().join("; ")),
    ]);
}

fn request(page: &mut Page, asked: &Asked) {
    let request = &asked.request;
    page.subheading(format!("Request {}", request.id));
    let settled = asked.settled.as_ref();
    page.fields([
        ("asked by", request.requester.to_string()),
        ("for", request.principal.to_string()),
        ("on behalf of", request.on_behalf_of.as_ref().map(user).unwrap_or_default()),
        ("proved by", request.authenticated.as_ref().map(user).unwrap_or_default()),
        ("asked at", request.requested_at.to_string()),
        ("asked from", request.source.map(|source| source.to_string()).unwrap_or_default()),
        ("task", request.task.to_string()),
        ("kind", kind(&request.kind)),
        ("role", request.role.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("permissions", scope(&request.scope)),
        ("for how long", request.ttl.to_string()),
        ("why", request.reason.clone()),
        ("ticket", request.ticket.clone().unwrap_or_default()),
        ("emergency", if request.emergency { "yes" } else { "" }.to_owned()),
        (
            "outcome",
            settled.map_or_else(|| "still waits for a decision".to_owned(), |settled| outcome(&settled.what)),
        ),
        ("decided at", settled.map(|settled| settled.at.to_string()).unwrap_or_default()),
        ("decided by", settled.map(|settled| who(&settled.by)).unwrap_or_default()),
        ("grants", asked.grants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    ]);
    for evaluation in &asked.evaluations {
        let said = &evaluation.what;
        page.fields([
            ("evaluated at", evaluation.at.to_string()),
            ("policy set", said.policy.clone()),
            ("determined by", said.determining.join(", ")),
            ("said", policy(&said.outcome)),
        ]);
        let evaluation = json!({"facts": said.facts});
        page.table(&["FACT THAT WAS KNOWN", "VALUE"], requests::facts(&evaluation), "");
    }
    let approvals = asked.approvals.iter().map(|approval| {
        let said = &approval.what;
        [
            approval.at.to_string(),
            who(&approval.by),
            (said.stage + 1).to_string(),
            said.scope.as_ref().map_or_else(|| "all".to_owned(), scope),
            said.ttl.map_or_else(|| "all".to_owned(), |ttl| ttl.to_string()),
            said.reason.clone(),
            said.authenticated.as_ref().map(user).unwrap_or_default(),
        ]
    });
    page.table(
        &["APPROVED AT", "BY", "STAGE", "OF THE PERMISSIONS", "OF THE TIME", "WHY", "PROVED BY"],
        approvals,
        "Nobody approved it.",
    );
    let steps = asked.steps.iter().map(|step| {
        let asked = step.what.asked.map(|id| id.to_string()).unwrap_or_default();
        [step.at.to_string(), who(&step.by), step.what.number.to_string(), asked]
    });
    page.table(&["STEP OPENED AT", "BY", "STEP", "DECIDED ANEW BY"], steps, "");
}

fn grant(page: &mut Page, granted: &Granted, now: Time) {
    let grant = &granted.grant;
    page.subheading(format!("Grant {}", grant.id));
    let lineage = grant.lineage.as_deref().cloned().unwrap_or_default();
    let end = match &granted.ended {
        Some(end) => {
            let why = end.what.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{} at {} by {}{why}", end.what.cause.as_str(), end.at, who(&end.by))
        }
        None if granted.over(now).is_some() => format!("expired at {}", grant.expires_at),
        None => "still live".to_owned(),
    };
    let text = |id: Option<String>| id.unwrap_or_default();
    let json = |value: serde_json::Value| value.to_string();
    let within = lineage.within.iter().map(scope).collect::<Vec<_>>().join("; ");
    page.fields([
        ("principal", grant.principal.to_string()),
        ("task", grant.task.to_string()),
        ("permissions", scope(&grant.scope)),
        ("and only", within),
        ("granted at", granted.issued_at.to_string()),
        ("granted by", who(&granted.issued_by)),
        ("why", granted.reason.clone()),
        ("on request", text(lineage.request.map(|id| id.to_string()))),
        ("in the place of", text(lineage.extends.map(|id| id.to_string()))),
        ("a part of", text(lineage.parent.map(|id| id.to_string()))),
        ("from", grant.not_before.to_string()),
        ("until", grant.expires_at.to_string()),
        (
            "conditions",
            if grant.conditions.is_unconditional() { String::new() } else { json(json!(grant.conditions)) },
        ),
        ("limits", if grant.limits.is_unlimited() { String::new() } else { json(json!(grant.limits)) }),
        ("recording", grant.recording.as_str().to_owned()),
        ("end", end),
        ("revocation", text(granted.ended.as_ref().and_then(|end| Some(end.what.revocation?.to_string())))),
    ]);
    let none = if granted.use_is_logged { "No proxy reported any use of it." } else { "" };
    let used = granted
        .used
        .iter()
        .map(|used| [used.proxy.to_string(), used.requests.to_string(), used.bytes.to_string()]);
    page.table(&["USED AT PROXY", "REQUESTS", "BYTES"], used, none);
    let confirmed = granted.confirmed.iter().map(|confirmed| {
        [confirmed.proxy.to_string(), confirmed.at.to_string(), confirmed.streams_cut.to_string()]
    });
    page.table(&["END CONFIRMED BY PROXY", "AT", "STREAMS CUT BY THEN"], confirmed, "");
}

fn reviews(page: &mut Page, story: &Story) {
    if story.known.reviews.is_empty() {
        return;
    }
    page.heading("Reviews");
    let rows = story.known.reviews.iter().map(|review| {
        let state = match &review.closed {
            Some(closed) if closed.what.justified => "justified",
            Some(_) => "not justified",
            None if review.is_overdue(story.at) => "open, overdue",
            None => "open",
        };
        let closed = review.closed.as_ref();
        [
            review.id.to_string(),
            review.grant.to_string(),
            review.due.to_string(),
            state.to_owned(),
            closed.map(|closed| who(&closed.by)).unwrap_or_default(),
            closed.map(|closed| closed.what.findings.clone()).unwrap_or_default(),
        ]
    });
    page.table(&["REVIEW", "GRANT", "DUE", "STATE", "CLOSED BY", "FINDINGS"], rows, "");
}

/// Who did something.
pub(super) fn who(actor: &Actor) -> String {
    match actor {
        Actor::System => "the control plane itself".to_owned(),
        Actor::Identity(id) => id.to_string(),
    }
}

/// A scope on one line.
pub(super) fn scope(scope: &Scope) -> String {
    scope.canonical_texts().join(" ")
}

fn user(user: &User) -> String {
    let person = user.person.as_ref().map(|person| format!(" ({person})")).unwrap_or_default();
    let acr = user.acr.as_ref().map(|acr| format!(", acr {acr}")).unwrap_or_default();
    format!("{} of {}{person}{acr}", user.subject, user.issuer)
}

fn kind(kind: &RequestKind) -> String {
    match kind {
        RequestKind::Access => String::new(),
        RequestKind::Extension { of } => format!("more time for {of}"),
        RequestKind::Delegation { of } => format!("a part of {of} for another"),
        RequestKind::Step { of, number } => format!("step {number} of {of}"),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Granted => "granted".to_owned(),
        Outcome::Satisfied { grant } => format!("answered by the live grant {grant}"),
        Outcome::Denied { reason } => format!("denied: {reason}"),
        Outcome::Cancelled { reason } => format!("cancelled: {reason}"),
        Outcome::Lapsed => "nobody decided in time".to_owned(),
    }
}

fn policy(outcome: &PolicyOutcome) -> String {
    match outcome {
        PolicyOutcome::Denied { because } => format!("denied: {}", because.join("; ")),
        PolicyOutcome::Permitted(terms) => terms_of(terms),
    }
}

/// On which terms a request may be granted.
fn terms_of(terms: &Terms) -> String {
    let stages = terms.stages.iter().map(|stage| {
        let from: Vec<String> = stage.from.iter().map(ToString::to_string).collect();
        format!("{} of {}", stage.approvals, from.join(" or "))
    });
    let mut parts = vec![match stages.collect::<Vec<_>>().join(", then ") {
        none if none.is_empty() => "permitted at once".to_owned(),
        stages => format!("permitted after approval by {stages}"),
    }];
    let ttl = |name: &str, ttl: Option<crate::model::Ttl>| ttl.map(|ttl| format!("{name} {ttl}"));
    parts.extend(ttl("at most", terms.max_ttl));
    parts.extend(ttl("in all at most", terms.max_total));
    parts.extend(ttl("idle at most", terms.idle_timeout));
    parts.extend(terms.max_uses.map(|uses| format!("at most {uses} uses")));
    parts.extend((!terms.recording.is_metadata()).then(|| format!("recorded: {}", terms.recording.as_str())));
    parts.extend(terms.review.then(|| "reviewed afterwards".to_owned()));
    parts.extend(terms.pin_source.then(|| "from the address that asked".to_owned()));
    parts.extend(terms.max_risk.map(|risk| format!("while the risk is at most {}", risk.as_str())));
    parts.join(", ")
}
