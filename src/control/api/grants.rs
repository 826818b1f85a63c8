//! `/v1/grants`: issue directly, alone or in bulk; list; look at one.

use crate::control::api::grant_view::GrantView;
use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, MAX_BODY, Query, bytes, content_type, json};
use crate::control::api::{Api, LOOKS, MAX_BULK_BODY, respond, respond_page};
use crate::control::authz::Need;
use crate::control::plane::Plane;
use crate::control::state::{Among, Command, Found, GrantSpec, Issued, Outcome};
use crate::model::grant::{Conditions, Limits};
use crate::model::{GrantId, Recording, Scope, ServiceName, SpiffeId, TaskId, Time, Ttl};
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

const PAGE: usize = 1_000;
const MAX_PAGE: usize = 100_000;

/// A grant to be issued.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGrant {
    /// For whom: a SPIFFE ID.
    #[schema(value_type = String, example = "spiffe://jitgate.local/agent/demo")]
    principal: SpiffeId,
    /// For which task.
    #[schema(value_type = String, example = "INC-4711")]
    task: TaskId,
    /// What it permits: RFC 9396 `authorization_details`.
    #[schema(value_type = Vec<Object>)]
    scope: Scope,
    /// How long.
    #[schema(value_type = String, example = "15m")]
    ttl: Ttl,
    /// Why; at most 4 KiB.
    #[schema(value_type = String)]
    reason: Arc<str>,
    /// From when; absent: from now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Time>,
    /// What must hold at each request.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    conditions: Conditions,
    /// How much it permits.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    limits: Limits,
    /// How much of each request is recorded beside its audit line: `metadata` (nothing; the default), `arguments` or `full`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "full")]
    recording: Recording,
}

impl From<NewGrant> for GrantSpec {
    fn from(new: NewGrant) -> Self {
        Self {
            principal: new.principal,
            task: new.task,
            scope: new.scope,
            ttl: new.ttl,
            not_before: new.not_before,
            conditions: new.conditions,
            limits: new.limits,
            recording: new.recording,
            reason: new.reason,
        }
    }
}

/// Issues grants: one (an object) or up to 100,000 (an array, or JSONL), all or none. A grant that exists already (same principal,
/// task and scope, on behalf of nobody, overlapping window) is returned as it is; if it records less than is asked, the call is refused.
#[utoipa::path(post, path = "/v1/grants", tag = "grants",
    request_body(content = NewGrant, description = "one; an array of them; or one a line as `application/jsonl`"),
    responses(
        (status = 201, description = "issued", body = GrantView),
        (status = 200, description = "existed already, all of them", body = GrantView),
        (status = "default", description = "refused, nothing was done", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    caller: Caller,
    Shared(api): Shared<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Grant)?;
    let lines = match content_type(&headers).as_deref() {
        Some("application/json") => false,
        Some("application/jsonl" | "application/x-ndjson") => true,
        Some(_) | None => return Err(Problem::content_type("application/json` or `application/jsonl")),
    };
    // Large bodies, one or two at a time: what waits is bounded in number and in bytes.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let is_small = length.is_some_and(|length: usize| length <= MAX_BODY);
    let _turn = if is_small {
        None
    } else {
        Some(Arc::clone(&api.bulk).try_acquire_owned().map_err(|_| Problem::busy())?)
    };
    let bytes = bytes(body, MAX_BULK_BODY).await?;
    let parse = move || parse(&bytes, lines);
    let (specs, one) = tokio::task::spawn_blocking(parse).await.map_err(|_| Problem::internal())??;
    let outcome = api.plane.submit(caller.actor(), Command::Grant(specs.into())).await?;
    let Outcome::Granted(issued) = outcome else { return Err(Problem::internal()) };
    let status =
        if issued.iter().all(|issued| issued.existing) { StatusCode::OK } else { StatusCode::CREATED };
    let location = issued.first().filter(|_| one).map(|issued| format!("/v1/grants/{}", issued.grant.id));
    // Off the runtime's threads: a bulk call is answered with some 60 MB.
    let write = move || {
        let views = views(&api, &issued);
        match (one, views.first()) {
            (true, Some(view)) => respond(status, view),
            _ => respond(status, &views),
        }
    };
    let mut response = tokio::task::spawn_blocking(write).await.map_err(|_| Problem::internal())??;
    if let Some(location) = location.and_then(|location| HeaderValue::try_from(location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The specifications, and whether it was a single object.
fn parse(bytes: &[u8], lines: bool) -> Result<(Vec<GrantSpec>, bool), Problem> {
    if lines {
        let lines = bytes.split(|byte| *byte == b'\n').enumerate();
        let filled = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
        let parsed = filled.map(|(number, line)| {
            serde_json::from_slice::<NewGrant>(line)
                .map(GrantSpec::from)
                .map_err(|error| Problem::malformed(format!("line {}: {error}", number.saturating_add(1))))
        });
        return Ok((parsed.collect::<Result<_, _>>()?, false));
    }
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let parsed: Vec<NewGrant> = json(bytes)?;
        return Ok((parsed.into_iter().map(GrantSpec::from).collect(), false));
    }
    Ok((vec![json::<NewGrant>(bytes)?.into()], true))
}

fn views(api: &Api, issued: &[Issued]) -> Vec<GrantView> {
    let now = api.plane.control_time();
    let some = |issued: &[Issued]| -> Vec<GrantView> {
        api.plane.with_state(|state| {
            let found = issued.iter().filter_map(|issued| state.find(issued.grant.id));
            found.map(|found| GrantView::new(found, now)).collect()
        })
    };
    // A part at a time: the writer waits while the state is looked at.
    issued.chunks(PAGE).flat_map(some).collect()
}

/// Which grants to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    #[param(value_type = Option<String>)]
    principal: Option<SpiffeId>,
    #[param(value_type = Option<String>)]
    task: Option<TaskId>,
    #[param(value_type = Option<String>)]
    service: Option<ServiceName>,
    /// `current` (live and upcoming; the default), `live`, `upcoming`, `ended` or `all`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    state: Wanted,
    /// Go on after this grant: from the `link` header of the page before.
    #[param(value_type = Option<String>)]
    after: Option<GrantId>,
    /// At most so many: 1,000 unless told, at most 100,000.
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    #[default]
    Current,
    Live,
    Upcoming,
    Ended,
    All,
}

impl Wanted {
    fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Live => "live",
            Self::Upcoming => "upcoming",
            Self::Ended => "ended",
            Self::All => "all",
        }
    }

    fn takes(self, found: Found<'_>, now: Time) -> bool {
        let over = found.end(now).is_some();
        let upcoming = now < found.grant().not_before;
        match self {
            Self::Current => !over,
            Self::Live => !over && !upcoming,
            Self::Upcoming => !over && upcoming,
            Self::Ended => over,
            Self::All => true,
        }
    }
}

impl Filter {
    fn takes(&self, found: Found<'_>, now: Time) -> bool {
        let grant = found.grant();
        self.principal.as_ref().is_none_or(|principal| grant.principal == *principal)
            && self.task.as_ref().is_none_or(|task| grant.task == *task)
            && self.service.as_ref().is_none_or(|service| grant.scope.names(service))
            && self.state.takes(found, now)
    }

    /// The narrowest index that has all of what is wanted. Of a principal there is one for what has ended as well: a caller who may
    /// see its own grants alone looks at these alone.
    fn among(&self) -> Among<'_> {
        let Self { principal, task, service, .. } = self;
        match (self.state, principal, task, service) {
            (Wanted::Ended | Wanted::All, Some(principal), _, _) => Among::Principal(principal),
            (Wanted::Ended | Wanted::All, None, _, _) => Among::All,
            (_, Some(principal), _, _) => Among::LiveOfPrincipal(principal),
            (_, None, Some(task), _) => Among::LiveOfTask(task),
            (_, None, None, Some(service)) => Among::LiveOfService(service),
            (_, None, None, None) => Among::All,
        }
    }

    fn page(&self, plane: &Plane, now: Time, limit: usize) -> Vec<GrantView> {
        let (mut page, mut after) = (Vec::new(), self.after);
        loop {
            let mut looked = 0_usize;
            // A part at a time: the writer waits while the state is looked at.
            plane.with_state(|state| {
                for found in state.grants(self.among(), after).take(LOOKS) {
                    (looked, after) = (looked.saturating_add(1), Some(found.grant().id));
                    if self.takes(found, now) {
                        page.push(GrantView::new(found, now));
                    }
                    if page.len() >= limit {
                        break;
                    }
                }
            });
            if looked < LOOKS || page.len() >= limit {
                return page;
            }
        }
    }

    fn next(&self, last: GrantId, limit: usize) -> String {
        let mut link = format!("</v1/grants?after={last}&limit={limit}&state={}", self.state.as_str());
        let encode = |text: &str| text.replace('%', "%25").replace('#', "%23").replace('+', "%2B");
        if let Some(principal) = &self.principal {
            link.push_str(&format!("&principal={principal}"));
        }
        if let Some(task) = &self.task {
            link.push_str(&format!("&task={}", encode(task.as_str())));
        }
        if let Some(service) = &self.service {
            link.push_str(&format!("&service={service}"));
        }
        link.push_str(">; rel=\"next\"");
        link
    }
}

/// Lists grants by id. A caller without a role sees its own.
#[utoipa::path(get, path = "/v1/grants", tag = "grants", params(Filter),
    responses(
        (status = 200, description = "a page; `link` names the next", body = Vec<GrantView>),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(
    caller: Caller,
    Shared(api): Shared<Api>,
    Query(mut filter): Query<Filter>,
) -> Result<Response, Problem> {
    let limit = super::limit(filter.limit, PAGE, MAX_PAGE)?;
    if !caller.sees_all(&api) {
        match &filter.principal {
            Some(other) if other != caller.id() => {
                return respond(StatusCode::OK, &Vec::<GrantView>::new());
            }
            Some(_) | None => filter.principal = Some(caller.id().clone()),
        }
    }
    let list = move |api: &Api| {
        let page = filter.page(&api.plane, api.plane.control_time(), limit);
        respond_page(&page, limit, |last| filter.next(last.id(), limit))
    };
    api.listed(&caller, list).await?
}

/// The caller's own grants that are not over, by id: at most `limit` after `after`, for one task where one is named.
pub(super) fn own(
    api: &Api,
    caller: &Caller,
    (task, after): (Option<TaskId>, Option<GrantId>),
    limit: usize,
) -> Vec<GrantView> {
    let filter = Filter {
        principal: Some(caller.id().clone()),
        task,
        service: None,
        state: Wanted::Current,
        after,
        limit: Some(limit),
    };
    filter.page(&api.plane, api.plane.control_time(), limit)
}

/// One grant, if the caller may know of it.
pub(super) fn view(api: &Api, caller: &Caller, id: GrantId) -> Option<GrantView> {
    let (now, all) = (api.plane.control_time(), caller.sees_all(api));
    api.plane.with_state(|state| {
        let found = state.find(id).filter(|found| all || found.grant().principal == *caller.id());
        found.map(|found| GrantView::new(found, now))
    })
}

/// Shows one grant. A caller without a role sees its own; others do not exist for it.
#[utoipa::path(get, path = "/v1/grants/{id}", tag = "grants", params(("id" = String, Path, description = "`gr_…`")),
    responses(
        (status = 200, body = GrantView),
        (status = 404, description = "no such grant", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: GrantId = id.parse().map_err(|_| Problem::not_found())?;
    respond(StatusCode::OK, &view(&api, &caller, id).ok_or_else(Problem::not_found)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller without a role has its own identity as `principal`, whatever else it asks for.
    #[test]
    fn whoever_lists_its_own_grants_looks_at_nobody_elses() {
        let own: SpiffeId = "spiffe://d/agent/a".parse().unwrap();
        for state in [Wanted::Current, Wanted::Live, Wanted::Upcoming, Wanted::Ended, Wanted::All] {
            for (task, service) in
                [(None, None), (Some("t".parse().unwrap()), Some("orders".parse().unwrap()))]
            {
                let principal = Some(own.clone());
                let filter = Filter { principal, task, service, state, after: None, limit: None };
                let among = filter.among();
                assert!(
                    among == Among::Principal(&own) || among == Among::LiveOfPrincipal(&own),
                    "{state:?}: {among:?}"
                );
            }
        }
    }
}
