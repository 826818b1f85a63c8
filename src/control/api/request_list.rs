//! `GET /v1/requests`: those that a caller may know of, a page at a time.

use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, Query};
use crate::control::api::request_view::RequestView;
use crate::control::api::{Api, LOOKS, limit, respond_page};
use crate::control::state::{RequestRecord, RequestState, State};
use crate::control::workflow::may_see;
use crate::model::{AccessRequestId, SpiffeId, TaskId};
use axum::extract::State as Shared;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

/// Requests on one page, unless told.
const PAGE: usize = 1_000;
const MAX_PAGE: usize = 10_000;

/// Which requests to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// `pending`, `approved`, `denied`, `expired`, `cancelled`; absent: all.
    state: Option<String>,
    #[param(value_type = Option<String>)]
    task: Option<TaskId>,
    #[param(value_type = Option<String>)]
    principal: Option<SpiffeId>,
    #[param(value_type = Option<String>)]
    requester: Option<SpiffeId>,
    /// Go on after this request: from the `link` header of the page before.
    #[param(value_type = Option<String>)]
    after: Option<AccessRequestId>,
    /// At most so many: 1,000 unless told, at most 10,000.
    limit: Option<usize>,
}

impl Filter {
    /// The page after this one: the same question, further on.
    fn next(&self, last: AccessRequestId, limit: usize) -> String {
        let encode = |text: &str| text.replace('%', "%25").replace('#', "%23").replace('+', "%2B");
        let mut link = format!("</v1/requests?after={last}&limit={limit}");
        let named = [
            ("state", self.state.as_deref()),
            ("task", self.task.as_ref().map(TaskId::as_str)),
            ("principal", self.principal.as_ref().map(SpiffeId::as_str)),
            ("requester", self.requester.as_ref().map(SpiffeId::as_str)),
        ];
        for (key, value) in named {
            value.into_iter().for_each(|value| link.push_str(&format!("&{key}={}", encode(value))));
        }
        link.push_str(">; rel=\"next\"");
        link
    }
}

/// Lists requests by id, oldest first. A caller without a role sees those that name it, and those that it may decide on.
#[utoipa::path(get, path = "/v1/requests", tag = "requests", params(Filter),
    responses((status = 200, body = Vec<RequestView>),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    caller: Caller,
    Shared(api): Shared<Api>,
    Query(filter): Query<Filter>,
) -> Result<Response, Problem> {
    let limit = limit(filter.limit, PAGE, MAX_PAGE)?;
    let wanted = match &filter.state {
        None => None,
        Some(name) => {
            Some(RequestState::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| {
                Problem::malformed("`state` is `pending`, `approved`, `denied`, `expired` or `cancelled`")
            })?)
        }
    };
    let who = caller.id().clone();
    let list = move |api: &Api| {
        let page = page(api, &who, (&filter, wanted), limit);
        respond_page(&page, limit, |last| filter.next(last.id(), limit))
    };
    api.listed(&caller, list).await?
}

/// What of it the caller may know of, by id.
fn page(
    api: &Api,
    caller: &SpiffeId,
    (filter, wanted): (&Filter, Option<RequestState>),
    limit: usize,
) -> Vec<RequestView> {
    let (now, rules) = (api.plane.control_time(), api.plane.rules());
    let takes = |state: &State, record: &RequestRecord| {
        let request = &record.request;
        wanted.is_none_or(|wanted| record.state == wanted)
            && filter.task.as_ref().is_none_or(|task| request.task == *task)
            && filter.principal.as_ref().is_none_or(|principal| request.principal == *principal)
            && filter.requester.as_ref().is_none_or(|requester| request.requester == *requester)
            && may_see(state, &rules, record, caller)
    };
    let only_pending = (wanted == Some(RequestState::Pending)).then(|| {
        let mut pending: Vec<_> =
            api.plane.with_state(|state| state.pending().map(|(_, id)| id).collect::<Vec<_>>());
        pending.sort_unstable();
        pending
    });
    let (mut page, mut after) = (Vec::new(), filter.after);
    loop {
        let mut looked = 0_usize;
        // A part at a time: the writer waits while the state is looked at.
        api.plane.with_state(|state| {
            let records: Box<dyn Iterator<Item = &RequestRecord>> = match &only_pending {
                Some(ids) => {
                    let next = ids.partition_point(|id| after.is_some_and(|after| *id <= after));
                    Box::new(ids.iter().skip(next).filter_map(|id| state.request(*id)))
                }
                None => Box::new(state.requests(after)),
            };
            for record in records.take(LOOKS) {
                (looked, after) = (looked.saturating_add(1), Some(record.request.id));
                if takes(state, record) {
                    page.push(RequestView::new(state, &rules, (record, &api.site), now));
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
