//! THE page: what happens to every request, in order.
//!
//! view -> token -> decide -> admit -> forward -> audit. Every path that does not reach `forward` ends in [`Incoming::refuse`].

use crate::access::view::{Form, HostBuffer};
use crate::access::{Denial, Request as Asked, Unclear, Verdict, View, decide, decide_after};
use crate::audit::record::{Draft, Protocol, TraceId};
use crate::identity::token::TokenFault;
use crate::model::scope::Permission;
use crate::model::{DenyReason, RequestId, ServiceName};
use crate::proxy::bearer::Bearer;
use crate::proxy::body::Download;
use crate::proxy::connection::Connected;
use crate::proxy::forward::{Admitted, forward};
use crate::proxy::reply::{Asking, Refusal, UserChallenge, detail, refuse};
use crate::proxy::router::{Route, Selected};
use crate::proxy::user::{Carried, Demand, Presented};
use crate::proxy::{ids, tunnel};
use crate::runtime::clock::{Mono, wall};
use crate::session::{Live, NotAdmitted};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Request, Response, Version};
use hyper::body::Incoming as Body;
use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

/// How many grants may be tried when their limits are used up, and how often a decision is made anew when a grant ends under it.
const TRIES: usize = 16;

/// Serves one request.
pub(crate) async fn serve(connected: &Connected, request: Request<Body>) -> Response<Download> {
    let (mut parts, body) = request.into_parts();
    let mut incoming = Incoming::begin(connected, &parts);
    let (admitted, form) = {
        let view = match View::of(&parts) {
            Ok(view) => view,
            Err(unclear) => return incoming.refuse_unclear(unclear, &parts),
        };
        incoming.form = view.form();
        let mut buffer: HostBuffer = [0; 253];
        let selected =
            connected.worker.shared.router.select(connected.route.as_ref(), view.authority(), &mut buffer);
        match incoming.admit(&view, &selected, &parts.headers).await {
            Ok(live) => {
                let Some(route) = selected.route else { return incoming.refuse_unserved() };
                (Ok((live, Arc::clone(route))), view.form())
            }
            Err(denial) => (Err(incoming.required(&view, &selected, denial)), view.form()),
        }
    };
    let (live, route) = match admitted {
        Ok(admitted) => admitted,
        Err((denial, required)) => return incoming.refuse_denied(denial, required.as_ref()),
    };
    incoming.keep_back(&mut parts.headers, &route);
    let admitted = match incoming.keep(live, route) {
        Ok(admitted) => admitted,
        Err(response) => return *response,
    };
    match form {
        // Pinned where it is made: an awaited call is moved first, and this one is large.
        Form::Http | Form::Grpc => pin!(forward(connected, admitted, parts, body)).await,
        // Boxed: its state would be moved with that of every request.
        Form::Upgrade => Box::pin(tunnel::open(connected, admitted, parts, body)).await,
    }
}

/// A request that was not decided yet, with its line in the audit trail begun.
struct Incoming<'a> {
    connected: &'a Connected,
    draft: Draft,
    id: RequestId,
    trace: TraceId,
    started: Mono,
    decided: Mono,
    form: Form,
    route: Option<Arc<Route>>,
    bearer: Bearer,
    token_fault: Option<TokenFault>,
    user: Presented,
}

impl<'a> Incoming<'a> {
    fn begin(connected: &'a Connected, parts: &Parts) -> Self {
        let started = Mono::now();
        connected.caller.reading_head(false, || started);
        let id = ids::request(wall());
        let trace = ids::trace(&parts.headers);
        let mut draft = Draft::begin(&connected.worker.shared.audit, &connected.audited, id, started);
        draft.trace(trace);
        let form = if is_grpc(parts) { Form::Grpc } else { Form::Http };
        draft.head(&parts.method, parts.uri.path(), protocol(parts.version, form));
        let bearer = Bearer::Foreign;
        let user = Presented::NotDemanded;
        Self {
            connected,
            draft,
            id,
            trace,
            started,
            decided: started,
            form,
            route: None,
            bearer,
            token_fault: None,
            user,
        }
    }

    /// Decides and admits; a use that has to be reserved first is the only thing waited for.
    async fn admit(
        &mut self,
        view: &View<'_>,
        selected: &Selected<'_>,
        headers: &HeaderMap,
    ) -> Result<Live, Denial> {
        let mut reserved = false;
        if let Some(route) = selected.route {
            self.draft.service(route.name());
            self.route = Some(Arc::clone(route));
        }
        self.bearer = self.look_at_token(headers)?;
        self.look_at_user(selected, headers).await;
        loop {
            let gate = &self.connected.worker.shared.gate;
            let cell = match self.try_admit(view, selected.service) {
                Ok(live) => return Ok(live),
                Err(Hindrance::Denied(denial)) => return Err(denial),
                Err(Hindrance::NeedsUse(cell)) => cell,
            };
            if reserved || Box::pin(gate.reserve_use(&cell)).await.is_err() {
                return Err(Denial { reason: DenyReason::Limit, nearest: Some(cell.id()) });
            }
            reserved = true;
        }
    }

    /// Whose the token is, if there is one. The answer depends on the token, the certificate and the published keys alone.
    fn look_at_token(&mut self, headers: &HeaderMap) -> Result<Bearer, Denial> {
        if !headers.contains_key(AUTHORIZATION) {
            return Ok(Bearer::Foreign);
        }
        let gate = &self.connected.worker.shared.gate;
        let now = gate.lease().now(Mono::now()).map_err(|_| Denial::of(DenyReason::Stale))?;
        let peer = self.connected.caller.peer();
        self.connected.tokens.bearer(headers, peer, gate.token_keys(), now).map_err(|fault| {
            self.token_fault = Some(fault);
            Denial::of(DenyReason::TokenInvalid)
        })
    }

    /// Who is behind the request, where the service demands to know. A caller without a grant for it finds out nothing, not even
    /// by how long an answer takes (law 11): its token is not looked at.
    async fn look_at_user(&mut self, selected: &Selected<'_>, headers: &HeaderMap) {
        let Some((route, demand)) = selected.route.and_then(|route| Some((route, route.user.as_ref()?)))
        else {
            return;
        };
        self.user = Presented::Missing;
        let Connected { users, caller, worker, .. } = self.connected;
        if !caller.slot().load().names(selected.service) {
            return;
        }
        self.user = match demand.carried(headers, self.bearer) {
            Carried::Nothing => Presented::Missing,
            Carried::Unclear(fault) => Presented::Refused(fault),
            Carried::Token(token) => match users.recall(route.index, demand, token) {
                Some(proof) => Presented::Proven(proof),
                None => {
                    let now = || worker.shared.gate.lease().now(Mono::now()).ok();
                    // Boxed: its state would be moved with that of every request.
                    Box::pin(users.verify(route.index, demand, token, (caller.peer(), now))).await
                }
            },
        };
        if let Some(named) = self.user.named() {
            self.draft.user(named);
        }
    }

    /// Our own token never reaches a service, its user's does where it says so; what else is in `authorization` does unless the
    /// service says otherwise.
    fn keep_back(&self, headers: &mut HeaderMap, route: &Route) {
        let user = route.user.as_ref();
        if let Some(header) = user.and_then(Demand::kept_back) {
            headers.remove(header);
        }
        let carries_user = user.is_some_and(|demand| demand.header() == AUTHORIZATION);
        if self.bearer.grant().is_some() || !(route.service.forward_authorization || carries_user) {
            headers.remove(AUTHORIZATION);
        }
    }

    fn try_admit(&mut self, view: &View<'_>, service: &str) -> Result<Live, Hindrance> {
        let Self { connected, draft, started, decided, user, bearer, route, .. } = self;
        let gate = &connected.worker.shared.gate;
        let mut limited: Option<Denial> = None;
        let mut refused: Option<Arc<crate::access::Cell>> = None;
        for _ in 0..TRIES {
            let before = Mono::now();
            let now = gate.lease().now(before).map_err(|_| Denial::of(DenyReason::Stale))?;
            let asked = Asked {
                service,
                view,
                call: None,
                source: connected.caller.source().ip(),
                token: bearer.grant(),
                token_required: route.as_ref().is_some_and(|route| route.service.token_required),
                user: user.at(now),
            };
            let set = connected.caller.slot().load();
            let verdict = match &refused {
                None => decide(&set, &asked, now),
                Some(cell) => decide_after(&set, &asked, now, cell),
            };
            *decided = Mono::now();
            let took = decided.since(before);
            draft.decided(gate.table().revision(), took);
            connected.worker.shared.metrics.decision_seconds.observe(took.as_secs_f64());
            let permit = match verdict {
                Verdict::Permit(permit) => permit,
                Verdict::Deny(denial) => {
                    return Err(limited.map_or(denial, |limited| limited.best(denial)).into());
                }
            };
            draft.grant(permit.cell().id(), permit.cell().task());
            match gate.admit(permit, &connected.caller, *started) {
                Ok(live) => return Ok(live),
                Err(NotAdmitted::NeedsUse(cell)) => return Err(Hindrance::NeedsUse(cell)),
                Err(NotAdmitted::Ended) => {}
                Err(NotAdmitted::Limit(cell)) => {
                    limited = Some(Denial { reason: DenyReason::Limit, nearest: Some(cell.id()) });
                    refused = Some(cell);
                }
            }
        }
        Err(limited.unwrap_or(Denial::of(DenyReason::Revoked)).into())
    }

    /// What would have been enough, from the request alone: a caller without a grant is shown the name that it used itself.
    fn required(
        &self,
        view: &View<'_>,
        selected: &Selected<'_>,
        denial: Denial,
    ) -> (Denial, Option<Permission>) {
        let shown = if denial.reason == DenyReason::NoGrant { selected.shown } else { selected.service };
        let required = match denial.reason {
            DenyReason::NoGrant
            | DenyReason::OutOfScope
            | DenyReason::Revoked
            | DenyReason::Expired
            | DenyReason::NotYetValid
            | DenyReason::Condition
            | DenyReason::Limit => shown.parse::<ServiceName>().ok().and_then(|service| match view.form() {
                Form::Grpc => Permission::for_grpc(&service, view.path()),
                Form::Http | Form::Upgrade => Permission::for_http(&service, view.action(), view.path()),
            }),
            DenyReason::LockedDown
            | DenyReason::TokenRequired
            | DenyReason::TokenInvalid
            | DenyReason::Ambiguous
            | DenyReason::Malformed
            | DenyReason::TooLarge
            | DenyReason::Stale
            | DenyReason::AuditUnavailable
            | DenyReason::UpstreamUnavailable => None,
        };
        (denial, required)
    }

    /// Sets the audit line's place aside; from here on the request is forwarded.
    fn keep(mut self, live: Live, route: Arc<Route>) -> Result<Admitted, Box<Response<Download>>> {
        if self.draft.record_at(live.cell().recording()).is_err() {
            let reason = DenyReason::AuditUnavailable;
            let detail = "the grant demands a recording, and nothing can be recorded; try again later";
            return Err(Box::new(self.refuse(reason, reason.status(), detail, None)));
        }
        let (request_id, trace, at, grpc) = (self.id, self.trace, self.decided, self.form == Form::Grpc);
        match self.draft.admit() {
            Ok(record) => {
                route.metrics.permit.inc();
                Ok(Admitted { live, record, route, request_id, trace, at, grpc })
            }
            Err(_) => {
                let reason = DenyReason::AuditUnavailable;
                route.metrics.deny(reason).inc();
                let detail = "the audit trail cannot be written; try again later";
                let refusal = Refusal {
                    reason,
                    status: reason.status(),
                    detail,
                    request_id,
                    asking: None,
                    user: None,
                    grpc,
                };
                Err(Box::new(refuse(&refusal).0))
            }
        }
    }

    fn refuse_unclear(self, unclear: Unclear, parts: &Parts) -> Response<Download> {
        // An answer to a method that no service gets (CONNECT, TRACE) says so.
        let status = if parts.method == http::Method::CONNECT { 405 } else { unclear.reason.status() };
        self.refuse(unclear.reason, status, unclear.detail, None)
    }

    fn refuse_denied(self, denial: Denial, required: Option<&Permission>) -> Response<Download> {
        let user = self.user_challenge(denial.reason);
        let own = detail(denial.reason);
        let detail = match (self.token_fault, user, self.user.fault()) {
            (Some(fault), _, _) => fault.to_string().into(),
            (None, Some(_), Some(fault)) => fault.to_string().into(),
            (None, Some(user), None) if user.alone => user.demand.explanation().into(),
            (None, Some(user), None) => format!("{own}; {}", user.demand.explanation()).into(),
            (None, None, _) => Cow::Borrowed(own),
        };
        self.refuse(denial.reason, denial.reason.status(), &detail, required)
    }

    /// What the user of the service has to prove, if that is what is missing.
    fn user_challenge(&self, reason: DenyReason) -> Option<UserChallenge<'_>> {
        let route = self.route.as_ref()?;
        let demand = route.user.as_ref()?;
        let missing = self.user.is_missing();
        let wanted = if missing { DenyReason::TokenRequired } else { DenyReason::TokenInvalid };
        let alone = self.bearer.grant().is_some() || !route.service.token_required || !missing;
        let is_users = reason == wanted && self.token_fault.is_none();
        is_users.then_some(UserChallenge { demand, sent: !missing, alone })
    }

    /// A live grant names a service that this proxy does not have.
    fn refuse_unserved(self) -> Response<Download> {
        let reason = DenyReason::UpstreamUnavailable;
        self.refuse(reason, 502, "this proxy does not serve the service; ask its operator", None)
    }

    fn refuse(
        self,
        reason: DenyReason,
        status: u16,
        detail: &str,
        required: Option<&Permission>,
    ) -> Response<Download> {
        let shared = &self.connected.worker.shared;
        let metrics = self.route.as_ref().map_or(&shared.unknown_service, |route| &route.metrics);
        metrics.deny(reason).inc();
        let grpc = self.form == Form::Grpc;
        let access_request = shared.access_request.as_ref();
        let asking = required.map(|required| Asking { required, access_request });
        let user = self.user_challenge(reason);
        let refusal = Refusal { reason, status, detail, request_id: self.id, asking, user, grpc };
        let (response, length) = refuse(&refusal);
        self.draft.deny(reason, response.status().as_u16(), length);
        response
    }
}

/// Why a request is not admitted right now.
enum Hindrance {
    Denied(Denial),
    NeedsUse(Arc<crate::access::Cell>),
}

impl From<Denial> for Hindrance {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

fn protocol(version: Version, form: Form) -> Protocol {
    match (form, version) {
        (Form::Grpc, _) => Protocol::Grpc,
        (Form::Http | Form::Upgrade, Version::HTTP_2) => Protocol::Http2,
        (Form::Http | Form::Upgrade, Version::HTTP_10) => Protocol::Http10,
        (Form::Http | Form::Upgrade, _) => Protocol::Http11,
    }
}

fn is_grpc(parts: &Parts) -> bool {
    let value = parts.headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    value.is_some_and(|value| value.starts_with(b"application/grpc"))
}
