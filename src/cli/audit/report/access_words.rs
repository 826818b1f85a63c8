//! The report on how access is used, for people.

use super::access::Review;
use super::page::Page;
use super::words::trails;
use crate::model::Ttl;
use std::time::Duration;

/// The report as a document.
pub(super) fn page(review: &Review) -> Page {
    let mut page = Page { title: review.title.clone(), ..Page::default() };
    for missing in &review.missing {
        page.warning(format!("Incomplete: {missing}"));
    }
    let log = &review.control;
    page.fields([
        ("about", review.subject.words()),
        ("made at", review.at.to_string()),
        ("control plane", format!("event log {} up to revision {}, at {}", log.log, log.revision, log.time)),
    ]);
    trails(&mut page, &review.trails, &review.disputes);
    summary(&mut page, review);
    unused(&mut page, review);
    times(&mut page, review);
    renewals(&mut page, review);
    open(&mut page, review);
    page
}

fn summary(page: &mut Page, review: &Review) {
    page.heading("Summary");
    let counts = &review.counts;
    let wholly = review.unused.iter().filter(|left| left.unused.wholly && !left.live).count();
    page.fields([
        ("requests", counts.requests.to_string()),
        ("granted at once", counts.granted_at_once.to_string()),
        ("granted by approval", counts.granted_by_approval.to_string()),
        ("answered by a live grant", counts.satisfied.to_string()),
        ("denied by policy", counts.denied_by_policy.to_string()),
        ("denied by people", counts.denied_by_people.to_string()),
        ("cancelled", counts.cancelled.to_string()),
        ("nobody decided in time", counts.lapsed.to_string()),
        ("still waiting", counts.waiting.to_string()),
        ("emergencies", counts.emergencies.to_string()),
        ("grants", counts.grants.to_string()),
        ("granted without a request", counts.by_operators.to_string()),
        ("revoked", counts.revoked.to_string()),
        ("over and never used", wholly.to_string()),
        ("series of renewals", review.renewals.len().to_string()),
        ("open reviews", review.open_reviews.len().to_string()),
        ("reviews that found no justification", counts.reviews_not_justified.to_string()),
    ]);
}

fn unused(page: &mut Page, review: &Review) {
    page.heading("Unused permissions");
    page.text("Granted, and no permitted call under the grant needed them. Such access could be narrower.");
    let rows = review.unused.iter().map(|left| {
        let how = match (left.unused.wholly, left.live) {
            (true, true) => "all, so far",
            (true, false) => "all",
            (false, true) => "some, so far",
            (false, false) => "some",
        };
        [
            left.principal.to_string(),
            left.task.to_string(),
            left.unused.grant.to_string(),
            left.granted_at.to_string(),
            left.requests.map(|requests| requests.to_string()).unwrap_or_default(),
            format!("{how}: {} of {}", left.unused.permissions.len(), left.unused.of),
            left.unused.permissions.join(" "),
        ]
    });
    page.table(
        &["PRINCIPAL", "TASK", "GRANT", "GRANTED AT", "REQUESTS", "UNUSED", "PERMISSIONS"],
        rows,
        "None.",
    );
    if !review.unsure.is_empty() {
        page.text("Of these grants it is not known which permissions were used:");
        let rows = review.unsure.iter().map(|unsure| [unsure.grant.to_string(), unsure.why.clone()]);
        page.table(&["GRANT", "BECAUSE"], rows, "");
    }
}

fn times(page: &mut Page, review: &Review) {
    page.heading("Approval times");
    page.text("From asking to the decision, where people decided.");
    let rows = review.approval_times.iter().map(|waits| {
        [
            waits.by.to_owned(),
            waits.name.clone(),
            waits.decisions.to_string(),
            length(waits.median_seconds),
            length(waits.p95_seconds),
            length(waits.longest_seconds),
        ]
    });
    page.table(&["BY", "NAME", "DECISIONS", "MEDIAN", "P95", "LONGEST"], rows, "Nobody had to decide.");
}

fn renewals(page: &mut Page, review: &Review) {
    page.heading("Serial renewals");
    page.text("The same permissions for the same principal, three times or more, back to back: standing access by another name.");
    let rows = review.renewals.iter().map(|series| {
        [
            series.principal.to_string(),
            series.permissions.join(" "),
            series.grants.len().to_string(),
            series.from.to_string(),
            series.to.map_or_else(|| "still live".to_owned(), |to| to.to_string()),
            length(series.seconds),
            series.tasks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        ]
    });
    page.table(&["PRINCIPAL", "PERMISSIONS", "GRANTS", "FROM", "TO", "IN ALL", "TASKS"], rows, "None.");
}

fn open(page: &mut Page, review: &Review) {
    page.heading("Open reviews");
    let rows = review.open_reviews.iter().map(|open| {
        let overdue = if open.is_overdue(review.at) { "overdue" } else { "open" };
        [
            open.id.to_string(),
            overdue.to_owned(),
            open.due.to_string(),
            open.request.to_string(),
            open.grant.to_string(),
            open.opened_at.to_string(),
        ]
    });
    page.table(&["REVIEW", "STATE", "DUE", "REQUEST", "GRANT", "OPENED AT"], rows, "None.");
}

/// Seconds as people write a length of time: to the second, if it is not short.
fn length(seconds: f64) -> String {
    let length = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let length = if length.as_secs() < 10 { length } else { Duration::from_secs(length.as_secs()) };
    Ttl::new(length).map_or_else(|_| "0s".to_owned(), |ttl| ttl.to_string())
}
