//! A request as a person reads it before deciding, and the forms below it.

use super::html::Html;
use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::api::read::Caller;
use crate::control::api::story::{self, Chapter};
use crate::control::authz::Need;
use crate::control::state::{Approval, RequestRecord, RequestState};
use crate::control::workflow::{StageProgress, may_decide, may_see, progress};
use crate::model::event::Actor;
use crate::model::shown::{escaped, escaped_json};
use crate::model::{AccessRequest, AccessRequestId, Evaluation, Permission, RequestKind, Scope, Terms, User};
use axum::http::StatusCode;
use axum::response::Response;
use std::fmt::Display;

const WHY: &str =
    "<label>Why you decide so<input type=\"text\" name=\"reason\" required maxlength=\"4096\"></label>";

/// See the head of this file.
pub(super) struct Shown {
    pub(super) record: RequestRecord,
    waits_for: Vec<StageProgress>,
    story: Vec<Chapter>,
    /// The token of the forms, for whoever may have a say now.
    form: Option<String>,
}

impl Shown {
    /// The request, if the caller may see it.
    pub(super) async fn find(api: &Api, caller: &Caller, id: &str) -> Result<Self, Problem> {
        let id: AccessRequestId = id.parse().map_err(|_| Problem::not_found())?;
        let rules = api.plane.rules();
        let found = api.plane.with_state(|state| {
            let record = state.request(id).filter(|record| may_see(state, &rules, record, caller.id()))?;
            let (request, terms) = (&*record.request, record.terms());
            let has_a_say = may_decide(state, &rules, (request, terms), caller.id())
                || rules.roles.may(caller.id(), Need::Approve);
            let waits_for =
                terms.map(|terms| progress(state, &rules, (request, terms), &record.approvals).stages);
            Some((record.clone(), waits_for.unwrap_or_default(), has_a_say))
        });
        let (record, mut waits_for, has_a_say) = found.ok_or_else(Problem::not_found)?;
        waits_for.retain(|stage| !stage.complete && record.state == RequestState::Pending);
        let own = record.request.requester == *caller.id() || record.request.principal == *caller.id();
        let decides = record.state == RequestState::Pending && has_a_say && !own;
        let form = decides.then(|| api.site.form_token(caller.id(), &record.hash));
        let story = story::chapters(api, caller, id).await?;
        Ok(Self { record, waits_for, story, form })
    }

    /// The whole page, below what went wrong if something did.
    pub(super) fn page(&self, status: StatusCode, problem: Option<&Problem>) -> Response {
        let request = &*self.record.request;
        let title = format!("Access request {}", request.id);
        let mut html = Html::default().raw("<h1>").text(&title).raw("</h1>");
        if let Some(problem) = problem {
            html = html
                .raw("<p class=\"note\" role=\"alert\"><strong>Not done:</strong> ")
                .text(&problem.detail)
                .raw("</p>");
        }
        html = html.raw("<p class=\"note\"><strong>").text(self.record.state.as_str()).raw("</strong> ");
        html = html.text(&self.stands()).raw("</p>");
        html = self.policies(asked(html, request));
        if let Some(token) = &self.form {
            html = self.forms(html, token);
        } else if self.record.state == RequestState::Pending {
            html = html.raw("<p>You see this request, and have no say in it.</p>");
        }
        self.past(html).page(status, &title)
    }

    fn stands(&self) -> String {
        match &self.record.settled {
            None => format!("somebody has to decide by {}", self.record.request.expires_at),
            Some(settled) => {
                let why = settled.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
                format!("by {} at {}{why}", actor(&settled.by), settled.at)
            }
        }
    }

    fn policies(&self, html: Html) -> Html {
        let evaluation = self.story.iter().rev().find_map(Chapter::evaluation);
        let html = html.raw("<h2>What the policies say</h2><dl>");
        let html = match self.record.terms() {
            Some(terms) => terms_of(html.entry("Outcome", outcome(terms)), terms),
            None => html.entry("Outcome", "denied"),
        };
        let set = self.record.evaluated.as_ref().map(|evaluated| evaluated.policy.as_str());
        let by = evaluation.map(|evaluation| evaluation.determining.join(", "));
        let html =
            html.entry("Policy set", set.unwrap_or_default()).entry("Determined by", &by.unwrap_or_default());
        let html =
            html.entry("Waits for", &self.waits_for.iter().map(stage).collect::<Vec<_>>().join(", then "));
        let html = html
            .entry("Approved by", &self.record.approvals.iter().map(approval).collect::<Vec<_>>().join("; "));
        let html = html.raw("</dl>");
        let Some(facts) = evaluation.and_then(facts) else { return html };
        html.raw("<details><summary>Facts that they saw</summary><pre>").lines(&facts).raw("</pre></details>")
    }

    /// Two forms, because a denial sends nothing of what was asked for: what is too large for a form can be denied all the same.
    fn forms(&self, html: Html, token: &str) -> Html {
        let request = &*self.record.request;
        let html = self.opened(html.raw("<h2>Decide</h2>"), token).raw(
            "<label>What, one entry a line: take away what is too much<textarea name=\"scope\" rows=\"6\"",
        );
        // These are approved as they are, or denied.
        let is_whole = request.plan.is_some() || request.envelope.is_some();
        let html = html.raw(if is_whole { " readonly>\n" } else { ">\n" });
        let html = html.lines(&texts(&request.scope).join("\n")).raw("</textarea></label>");
        let html =
            html.raw("<label>For how long, at most<input type=\"text\" name=\"ttl\" required value=\"");
        let html = html.text(&request.ttl.to_string()).raw("\"></label>").raw(WHY);
        let html = html.raw("<button name=\"decision\" value=\"approve\">Approve</button></form>");
        let html = self.opened(html.raw("<h2>Or deny</h2>"), token).raw(WHY);
        html.raw("<button name=\"decision\" value=\"deny\">Deny</button></form>")
    }

    /// The beginning of a form, up to what a person enters.
    fn opened(&self, html: Html, token: &str) -> Html {
        let path = format!("/approve/{}", self.record.request.id);
        let html = html.raw("<form method=\"post\" autocomplete=\"off\" action=\"").text(&path).raw("\">");
        // The first button is what Enter presses, and one that is disabled keeps the form from being sent: nobody decides by that key.
        let html = html.raw("<button disabled hidden></button>");
        let html = html.raw("<input type=\"hidden\" name=\"token\" value=\"").text(token).raw("\">");
        html.raw("<input type=\"hidden\" name=\"hash\" value=\"").text(&self.record.hash).raw("\">")
    }

    fn past(&self, html: Html) -> Html {
        let line = |chapter: &Chapter| {
            let (time, by, text) = chapter.line();
            format!("{time} {}: {text}", actor(by))
        };
        let html = html.raw("<h2>What happened</h2>").points(self.story.iter().map(line));
        html.raw("<p>Hash of the request: ").text(&self.record.hash).raw("</p>")
    }
}

/// Who, what, why, how long.
fn asked(html: Html, request: &AccessRequest) -> Html {
    let other = Some(&request.principal).filter(|principal| **principal != request.requester);
    let user = |user: &Option<User>| user.as_ref().map(person).unwrap_or_default();
    let html = html
        .raw("<dl>")
        .entry("Who asks", request.requester.as_str())
        .entry("For whom", other.map_or("", |other| other.as_str()))
        .entry("On behalf of", &user(&request.on_behalf_of))
        .entry("Authenticated", &user(&request.authenticated))
        .entry("From", &shown(request.source.as_ref()))
        .entry("Task", request.task.as_str())
        .entry("Ticket", &ticket(request))
        .entry("Kind", &kind(&request.kind))
        .entry("Role", &shown(request.role.as_ref()))
        .entry("Emergency", if request.emergency { "yes: break-glass" } else { "" })
        .entry("How long", &request.ttl.to_string())
        .entry("Not before", &shown(request.not_before.as_ref()))
        .entry("Asked at", &request.requested_at.to_string())
        .raw("</dl><h2>What</h2>")
        .points(texts(&request.scope));
    let html =
        request.plan.iter().flat_map(|plan| &plan.steps).enumerate().fold(html, |html, (number, step)| {
            let uses = step.max_uses.map(|uses| format!(", at most {uses} uses")).unwrap_or_default();
            let anew = if step.reassess { ", decided anew" } else { "" };
            let head = format!("Step {}{uses}{anew}", number.saturating_add(1));
            html.raw("<p>").text(&head).raw("</p>").points(texts(&step.scope))
        });
    let entries = request.envelope.iter().flat_map(|envelope| &envelope.entries);
    let html = entries.enumerate().fold(html, |html, (number, entry)| {
        let limits = serde_json::to_string(&entry.limits).unwrap_or_default();
        let limits = if entry.limits.is_unlimited() { "no limit of its own".to_owned() } else { limits };
        let head = format!("Entry {}, {limits}", number.saturating_add(1));
        html.raw("<p>").text(&head).raw("</p>").points(texts(&entry.scope))
    });
    html.raw("<h2>Why, in the requester's words</h2><pre>").lines(&request.reason).raw("</pre>")
}

/// Each entry in text form; in JSON where the text form would have to be escaped to be seen.
fn texts(scope: &Scope) -> Vec<String> {
    let text = |permission: &Permission| {
        let text = permission.to_string();
        if escaped(&text) == text { text } else { escaped_json(&permission.canonical_json()) }
    };
    scope.permissions().iter().map(text).collect()
}

fn shown(value: Option<&impl Display>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

fn actor(actor: &Actor) -> &str {
    match actor {
        Actor::System => "the control plane",
        Actor::Identity(id) => id.as_str(),
    }
}

fn person(user: &User) -> String {
    let name = user.person.as_deref().unwrap_or("nobody of the configuration");
    format!("{name} ({} of {}, from a token that was verified)", user.subject, user.issuer)
}

fn ticket(request: &AccessRequest) -> String {
    let Some(ticket) = &request.ticket else { return String::new() };
    let checked = match request.ticket_open {
        Some(true) => "open, says the ticket system",
        Some(false) => "not open, says the ticket system",
        None => "a claim: it was not looked up",
    };
    format!("{ticket} ({checked})")
}

fn kind(kind: &RequestKind) -> String {
    match kind {
        RequestKind::Access => String::new(),
        RequestKind::Extension { of } => format!("more time for {of}"),
        RequestKind::Delegation { of } => format!("a part of {of} for another principal"),
        RequestKind::Step { of, number } => format!("step {} of the plan {of}", number.saturating_add(1)),
    }
}

fn outcome(terms: &Terms) -> &'static str {
    if terms.stages.is_empty() { "granted at once" } else { "people have to approve" }
}

fn terms_of(html: Html, terms: &Terms) -> Html {
    html.entry("At most for", &shown(terms.max_ttl.as_ref()))
        .entry("Extended to", &shown(terms.max_total.as_ref()))
        .entry("Idle at most", &shown(terms.idle_timeout.as_ref()))
        .entry("Uses at most", &shown(terms.max_uses.as_ref()))
        .entry("Bytes of the arguments of a call", &shown(terms.argument_bytes.as_ref()))
        .entry("Bytes of the answer to a call", &shown(terms.response_bytes.as_ref()))
        .entry("Risk at most", terms.max_risk.map_or("", crate::model::Risk::as_str))
        .entry("Recorded", terms.recording.as_str())
        .entry("Only from", if terms.pin_source { "the address that it was asked from" } else { "" })
        .entry("Afterwards", if terms.review { "somebody else has to review it" } else { "" })
        .entry(
            "Step-up",
            if terms.approver_step_up.is_some() {
                "approvers need a fresh token: use the command line"
            } else {
                ""
            },
        )
}

fn stage(stage: &StageProgress) -> String {
    let from: Vec<String> = stage.stage.from.iter().map(ToString::to_string).collect();
    format!("{} of {} ({} so far)", stage.stage.approvals, from.join(", "), stage.approved.len())
}

fn approval(approval: &Approval) -> String {
    let only = approval.scope.as_ref().map(|scope| format!(", only {}", texts(scope).join(" ")));
    let shorter = approval.ttl.map(|ttl| format!(", only for {ttl}"));
    let (only, shorter) = (only.unwrap_or_default(), shorter.unwrap_or_default());
    format!("{} at {}{only}{shorter}: {}", approval.by, approval.at, approval.reason)
}

fn facts(evaluation: &Evaluation) -> Option<String> {
    serde_json::to_string_pretty(&evaluation.facts).ok().map(|text| escaped_json(&text))
}
