//! To the service and back: the request as it was checked, the response as it comes.

use crate::access::stream::{CutCause, Turn};
use crate::audit::record::{End, Record, TraceId};
use crate::config::{HostHeader, Transport};
use crate::model::{DenyReason, Recording, RequestId};
use crate::proxy::body::{Download, Exchange, Patience, Upload, note_long_life};
use crate::proxy::connection::Connected;
use crate::proxy::headers::{self, ours};
use crate::proxy::ids;
use crate::proxy::reply::{Refusal, Shape, refuse};
use crate::proxy::router::Route;
use crate::proxy::upstream::{Answered, UpstreamError};
use crate::runtime::clock::Mono;
use crate::session::Live;
use http::header::{ACCEPT_ENCODING, CONNECTION, HOST, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::{Body as _, Incoming};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

/// A request that was admitted, and where it goes.
pub(crate) struct Admitted {
    pub(crate) live: Live,
    pub(crate) record: Record,
    pub(crate) route: Arc<Route>,
    pub(crate) request_id: RequestId,
    pub(crate) trace: TraceId,
    /// When it was decided.
    pub(crate) at: Mono,
    /// The form of refusals.
    pub(crate) shape: Shape,
}

/// Forwards a request. Consumes what admitted it: nothing is forwarded without.
pub(crate) async fn forward(
    connected: &Connected,
    admitted: Admitted,
    mut parts: Parts,
    body: Incoming,
) -> Response<Download> {
    let Admitted { live, mut record, route, request_id, trace, at: started, shape } = admitted;
    record.request_head(&parts.headers, parts.uri.query());
    let te = set_headers(&mut parts, connected, &live, &route, request_id, trace);
    ask_for_readable(&mut parts, &record);
    let exchange = Exchange::new(live, patience(connected, &route));
    let upload = Upload::of(body, &exchange, &mut record, started);
    let mut request = Request::from_parts(parts, upload);
    if !address(&mut request, &route, te) {
        return failed(&exchange, record, &shape, request_id, &Failure::Unaddressable);
    }
    let Some(upstream) = connected.worker.upstreams.get(route.index) else {
        return failed(&exchange, record, &shape, request_id, &Failure::Unaddressable);
    };
    let (answered, now) = {
        let answer = pin!(upstream.send(request, &exchange, started));
        wait(&exchange, &mut record, answer).await
    };
    route.metrics.upstream_seconds.observe(now.since(started).as_secs_f64());
    match answered {
        Ok(Answered { response, channel, .. })
            if response.status() != http::StatusCode::SWITCHING_PROTOCOLS =>
        {
            let (mut parts, body) = response.into_parts();
            headers::clean_response(&mut parts.headers);
            record.status(parts.status.as_u16());
            record.response_head(&parts.headers);
            parts.version = Version::HTTP_11;
            parts.extensions.clear();
            Response::from_parts(parts, Download::of(body, exchange, record, channel, route, now))
        }
        Ok(_) => failed(&exchange, record, &shape, request_id, &Failure::Upstream(UpstreamError::Protocol)),
        Err(failure) => failed(&exchange, record, &shape, request_id, &failure),
    }
}

/// Why there is no response to pass on.
pub(crate) enum Failure {
    /// It was cut while waiting.
    Cut(CutCause),
    /// The service failed.
    Upstream(UpstreamError),
    /// The request cannot be put into the form that the service's protocol needs.
    Unaddressable,
}

/// Waits for the head of a response, and says when it came; ends at once when the exchange is cut.
pub(crate) async fn wait<T>(
    exchange: &Exchange,
    record: &mut Record,
    mut answer: Pin<&mut impl Future<Output = Result<T, UpstreamError>>>,
) -> (Result<T, Failure>, Mono) {
    poll_fn(|cx| {
        let polled = answer.as_mut().poll(cx);
        let now = Mono::now();
        // The cut comes first, so that its cause is told and not the broken connection that it led to.
        if let Err(cause) = exchange.live.check(now) {
            return Poll::Ready((Err(Failure::Cut(cause)), now));
        }
        match polled {
            Poll::Ready(answer) => Poll::Ready((answer.map_err(Failure::Upstream), now)),
            Poll::Pending => {
                exchange.live.stream().register(crate::access::stream::Direction::Down, cx.waker());
                let live = &exchange.live;
                match live.check(now).and_then(|()| note_long_life(live, Some(&mut *record))) {
                    Ok(()) => Poll::Pending,
                    Err(cause) => Poll::Ready((Err(Failure::Cut(cause)), now)),
                }
            }
        }
    })
    .await
}

/// The answer to the caller when there is no response to pass on.
pub(crate) fn failed(
    exchange: &Arc<Exchange>,
    mut record: Record,
    shape: &Shape,
    request_id: RequestId,
    failure: &Failure,
) -> Response<Download> {
    let (reason, status, end, detail) = match failure {
        Failure::Cut(CutCause::UpstreamTimeout) => {
            let end = End::UpstreamError("timeout");
            (DenyReason::UpstreamUnavailable, 504, end, "the service did not answer in time")
        }
        Failure::Cut(cause) => {
            exchange.live.count_cut(*cause);
            let (reason, detail) = cut_words(*cause);
            (reason, reason.status(), End::Cut(cause.as_str()), detail)
        }
        Failure::Upstream(_) if exchange.caller_broke_off() => {
            (DenyReason::Malformed, 400, End::ClientGone, "the request body broke off or cannot be read")
        }
        Failure::Upstream(error) => {
            let (cause, status) = error.cause();
            tracing::warn!(error = error as &dyn std::error::Error, %request_id, "the service did not answer");
            (
                DenyReason::UpstreamUnavailable,
                status,
                End::UpstreamError(cause),
                "the service cannot be reached now",
            )
        }
        Failure::Unaddressable => (
            DenyReason::UpstreamUnavailable,
            502,
            End::UpstreamError("address"),
            "the service cannot be addressed",
        ),
    };
    // Whatever is left of the request body has nowhere to go.
    exchange.live.cut(CutCause::Finished);
    let (response, length) = refuse(&Refusal { status, ..Refusal::plain(reason, detail, request_id, shape) });
    record.status(response.status().as_u16());
    record.add_bytes_out(length);
    record.finish(end);
    response
}

pub(crate) fn cut_words(cause: CutCause) -> (DenyReason, &'static str) {
    use crate::model::EndCause;
    match cause {
        CutCause::Grant(EndCause::Expired) => {
            (DenyReason::Expired, "the grant expired while the request ran")
        }
        CutCause::Grant(EndCause::Limit) => (DenyReason::Limit, "the grant's bytes are used up"),
        CutCause::Grant(
            EndCause::Revoked
            | EndCause::TaskDone
            | EndCause::TaskFailed
            | EndCause::Idle
            | EndCause::Superseded,
        ) => (DenyReason::Revoked, "the grant ended while the request ran"),
        CutCause::Stale => (DenyReason::Stale, "the grants in memory may be out of date; try again soon"),
        CutCause::Identity => (DenyReason::NoGrant, "the certificate no longer holds"),
        CutCause::Drain => (DenyReason::UpstreamUnavailable, "the proxy is shutting down"),
        CutCause::UpstreamTimeout | CutCause::ClientTimeout | CutCause::Finished => {
            (DenyReason::UpstreamUnavailable, "the exchange did not move in time")
        }
        CutCause::Audit => (DenyReason::AuditUnavailable, "the audit trail cannot be written"),
    }
}

pub(crate) fn patience(connected: &Connected, route: &Route) -> Patience {
    let limits = &connected.worker.shared.limits;
    Patience {
        caller_sends: limits.body_stall_timeout,
        caller_takes: limits.write_stall_timeout,
        first_byte: route.service.first_byte_timeout,
        service_idle: route.service.idle_timeout,
    }
}

/// At most so many fields are put in.
const OURS: usize = 11;

/// Takes out what must not reach the service and puts in what it is told. Says whether `te` is among it.
pub(crate) fn set_headers(
    parts: &mut Parts,
    connected: &Connected,
    live: &Live,
    route: &Route,
    request_id: RequestId,
    trace: TraceId,
) -> bool {
    // HTTP/2 names the host in `:authority`.
    let host = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let host = parts.headers.remove(HOST).or(host);
    let trailers = headers::clean_request(&mut parts.headers);
    headers::join_cookies(&mut parts.headers);
    let fields = &mut parts.headers;
    // Once, not in steps.
    let _ = fields.try_reserve(OURS);
    match (route.service.host_header, &host) {
        (HostHeader::Preserve, Some(host)) => fields.insert(HOST, host.clone()),
        (HostHeader::Preserve | HostHeader::Upstream, _) => fields.insert(HOST, route.host.clone()),
    };
    if let Some(host) = host {
        fields.insert(ours::FORWARDED_HOST, host);
    }
    fields.insert(ours::FORWARDED_FOR, connected.source.clone());
    fields.insert(ours::FORWARDED_PROTO, ours::HTTPS);
    fields.insert(ours::PRINCIPAL, connected.principal.clone());
    if let Some((grant, task)) = connected.told.of(live.cell()) {
        fields.insert(ours::GRANT, grant);
        fields.insert(ours::TASK, task);
    }
    if let Some(id) = headers::value(|out| request_id.write_to(out)) {
        fields.insert(ours::REQUEST_ID, id);
    }
    if let Some(traceparent) = ids::traceparent(trace) {
        fields.insert(ours::TRACEPARENT, traceparent);
    }
    if trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    trailers
}

/// Of a response with a coding only the digest could be recorded: where it is recorded, none is asked for.
pub(crate) fn ask_for_readable(parts: &mut Parts, record: &Record) {
    // One that asks for none may be signed.
    let plain = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if record.recording() == Recording::Full && !parts.headers.get_all(ACCEPT_ENCODING).iter().all(plain) {
        parts.headers.remove(ACCEPT_ENCODING);
    }
}

/// Puts the request target into the form of the service's protocol; path and query stay as they are, byte for byte. `te` says
/// whether the request has that field.
pub(crate) fn address(request: &mut Request<Upload>, route: &Route, te: bool) -> bool {
    let target = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let http2 = route.service.upstreams.first().is_some_and(|upstream| match upstream.transport {
        Transport::H2c => true,
        Transport::Https => route.service.protocol == crate::config::Protocol::Grpc,
        Transport::Http => false,
    });
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(target);
    if http2 {
        let Some(host) = request.headers_mut().remove(HOST) else { return false };
        uri.authority = host.to_str().ok().and_then(|host| host.parse().ok());
        uri.scheme = Some(match route.service.upstreams.first().map(|upstream| upstream.transport) {
            Some(Transport::Https) => Scheme::HTTPS,
            Some(Transport::Http | Transport::H2c) | None => Scheme::HTTP,
        });
    } else {
        // `te` belongs to the connection over HTTP/1.1, and has to be named there.
        if te {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("te"));
        }
        // Said by us, since hyper takes it that a `GET` or `HEAD` that does not say so has no body.
        let unsized_body = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
        if unsized_body {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    match Uri::from_parts(uri) {
        Ok(uri) => {
            *request.uri_mut() = uri;
            true
        }
        Err(_) => false,
    }
}

/// The first byte is awaited from now on: for requests whose body is not passed on through [`Upload`].
pub(crate) fn await_first_byte(exchange: &Exchange) {
    let deadline = Mono::now().plus(exchange.patience.first_byte);
    exchange.live.stream().set_deadline(Turn::ServiceSends, Some(deadline));
}
