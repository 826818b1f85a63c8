//! To the service, byte for byte, and back.

use super::answer;
use super::calls::Calls;
use super::cancel::Canceller;
use super::looker::Looker;
use super::standing::Standing;
use super::whole::Whole;
use crate::access::stream::{CutCause, Direction};
use crate::mcp::list::Hint;
use crate::mcp::{Limits, Version};
use crate::proxy::body::{Download, Exchange, Upload, poll_cut};
use crate::proxy::connection::Connected;
use crate::proxy::forward::{Admitted, Failure, address, failed, patience, set_headers, wait};
use crate::session::Live;
use http::header::{ACCEPT_ENCODING, ORIGIN};
use http::request::Parts;
use http::{Request, Response};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What goes along with an admitted request.
pub(super) struct Sending {
    /// The address that its session lives at.
    pub(super) place: Option<usize>,
    pub(super) whole: Whole,
    pub(super) calls: Calls,
    pub(super) standing: Standing,
    pub(super) version: Version,
    pub(super) limits: Limits,
    pub(super) initialize: bool,
    pub(super) lasting: bool,
    /// What lists say beside their items.
    pub(super) hint: Option<Arc<Hint>>,
    /// That of a call that is recorded.
    pub(super) said: Option<Box<Said>>,
}

/// What is recorded of a call in the place of its body.
pub(super) struct Said {
    pub(super) arguments: serde_json::Value,
    /// What it answers to questions of the service.
    pub(super) inputs: Option<serde_json::Value>,
}

/// What else was admitted for the messages of one body: each of them must go on living.
pub(super) struct Also(Vec<Live>);

impl Also {
    pub(super) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<CutCause> {
        for live in &self.0 {
            if let Poll::Ready(cause) = poll_cut(live, Direction::Down, cx) {
                return Poll::Ready(cause);
            }
        }
        Poll::Pending
    }

    pub(super) fn lives(&self) -> bool {
        self.0.iter().all(|live| live.stream().cut_cause().is_none())
    }
}

pub(super) async fn send(
    connected: &Connected,
    admitted: Admitted,
    also: Vec<Live>,
    mut parts: Parts,
    sending: Sending,
) -> Response<Download> {
    let Admitted { live, mut record, route, request_id, trace, at: started, shape } = admitted;
    let Sending { place, whole, calls, standing, version, limits, initialize, lasting, hint, said } = sending;
    let also = Also(also);
    record.request_head(&parts.headers, None);
    if let Some(said) = said {
        record.call_arguments(&said.arguments, said.inputs.as_ref());
    }
    let te = set_headers(&mut parts, connected, &live, &route, request_id, trace);
    // An answer with a coding could not be looked at. The origin was checked here; behind us it says nothing.
    for name in [ACCEPT_ENCODING, ORIGIN] {
        parts.headers.remove(name);
    }
    let exchange = Exchange::new(live, patience(connected, &route));
    let upload = Upload::whole(whole.bytes, Box::new(whole.held), &exchange, &mut record, started);
    let mut request = Request::from_parts(parts, upload);
    let canceller = Canceller::of(connected, &route, calls.owned(), version, place);
    let access_request = connected.worker.shared.access_request.as_ref().filter(|_| hint.is_some());
    let access_request = access_request.map(ToString::to_string);
    let mut looker =
        Looker { calls, standing, version, limits, request_id, opens: None, hint, access_request };
    if !address(&mut request, &route, te) {
        return failed(&exchange, record, &shape, request_id, &Failure::Unaddressable);
    }
    let Some(upstream) = connected.worker.upstreams.get(route.index) else {
        return failed(&exchange, record, &shape, request_id, &Failure::Unaddressable);
    };
    // From here on something may reach the service.
    looker.calls.sent_through(canceller);
    let (answered, now) = {
        let answer = pin!(upstream.send_to(place, request, Some(&exchange), started));
        tokio::select! {
            biased;
            cause = poll_fn(|cx| also.poll_cut(cx)) => (Err(Failure::Cut(cause)), started),
            answered = wait(&exchange, &mut record, answer) => answered,
        }
    };
    match answered {
        Ok(answered) => {
            route.metrics.upstream_seconds.observe(now.since(started).as_secs_f64());
            let way = answer::Way { exchange, also, record, route, shape, request_id, initialize, lasting };
            answer::pass(way, looker, answered).await
        }
        // Its calls are cancelled as it goes.
        Err(failure) => failed(&exchange, record, &shape, request_id, &failure),
    }
}
