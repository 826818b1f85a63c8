//! How an [`Incoming`] ends without having been forwarded. Each refusal writes its line and counts once.

use super::Incoming;
use crate::access::{Denial, Unclear, View, view::Form};
use crate::mcp::{Refused, metadata};
use crate::model::scope::Permission;
use crate::model::{DenyReason, ServiceName};
use crate::proxy::body::Download;
use crate::proxy::reply::{self, Asking, Refusal, Shape, UserChallenge, detail, refuse};
use crate::proxy::router::Selected;
use http::Response;
use http::request::Parts;
use std::borrow::Cow;

impl Incoming<'_> {
    /// What would have been enough, from the request alone: a caller without a grant is shown the name that it used itself.
    pub(crate) fn required(
        &self,
        view: &View<'_>,
        selected: &Selected<'_>,
        denial: Denial,
    ) -> Option<Permission> {
        let shown = if denial.reason == DenyReason::NoGrant { selected.shown } else { selected.service };
        let service = asking_could_help(denial.reason).then(|| shown.parse::<ServiceName>().ok())??;
        match view.form() {
            Form::Grpc => Permission::for_grpc(&service, view.path()),
            Form::Http | Form::Upgrade => Permission::for_http(&service, view.action(), view.path()),
        }
    }

    pub(crate) fn refuse_unclear(self, unclear: Unclear, parts: &Parts) -> Response<Download> {
        // An answer to a method that no service gets (CONNECT, TRACE) says so.
        let status = if parts.method == http::Method::CONNECT { 405 } else { unclear.reason.status() };
        self.refuse(unclear.reason, status, unclear.detail, None)
    }

    pub(crate) fn refuse_denied(self, denial: Denial, required: Option<&Permission>) -> Response<Download> {
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
    pub(crate) fn refuse_unserved(self) -> Response<Download> {
        let reason = DenyReason::UpstreamUnavailable;
        self.refuse(reason, 502, "this proxy does not serve the service; ask its operator", None)
    }

    pub(crate) fn refuse(
        self,
        reason: DenyReason,
        status: u16,
        detail: &str,
        required: Option<&Permission>,
    ) -> Response<Download> {
        self.count(reason);
        let access_request = self.connected.worker.shared.access_request.as_ref();
        let asking = required.map(|required| Asking { required, access_request });
        let user = self.user_challenge(reason);
        let shape = &self.shape;
        let refusal = Refusal { reason, status, detail, request_id: self.id, asking, user, shape };
        let (response, length) = refuse(&refusal);
        self.draft.deny(reason, response.status().as_u16(), length);
        response
    }

    /// It is not what a request of MCP may be.
    pub(crate) fn refuse_message(self, refused: &Refused) -> Response<Download> {
        let reason = refused.fault.reason;
        self.count(reason);
        let mut refused = refused.clone();
        if let Shape::Mcp(asker) = &self.shape {
            refused.id = refused.id.or_else(|| asker.id.clone());
            if asker.probes() {
                refused = refused.to_a_probe();
            }
        }
        let (response, length) = reply::rpc(refused.reply(self.id), reason);
        self.draft.deny(reason, response.status().as_u16(), length);
        response
    }

    /// The metadata of the resource whose path is given (RFC 9728), the same for every name (law 11).
    pub(crate) fn answer_metadata(self, path: &str, parts: &Parts) -> Response<Download> {
        let authority = View::of(parts).map(|view| view.authority().to_owned()).unwrap_or_default();
        let servers = &self.connected.worker.shared.authorization_servers;
        let (response, length) = reply::json(metadata::document(&authority, path, servers));
        self.draft.answered(response.status().as_u16(), length);
        response
    }

    fn count(&self, reason: DenyReason) {
        let shared = &self.connected.worker.shared;
        let metrics = self.route.as_ref().map_or(&shared.unknown_service, |route| &route.metrics);
        metrics.deny(reason).inc();
    }
}

/// Whether a refused caller is told what would have been enough.
pub(crate) fn asking_could_help(reason: DenyReason) -> bool {
    match reason {
        DenyReason::NoGrant
        | DenyReason::OutOfScope
        | DenyReason::Revoked
        | DenyReason::Expired
        | DenyReason::NotYetValid
        | DenyReason::Condition
        | DenyReason::Limit => true,
        DenyReason::LockedDown
        | DenyReason::TokenRequired
        | DenyReason::TokenInvalid
        | DenyReason::Ambiguous
        | DenyReason::Malformed
        | DenyReason::TooLarge
        | DenyReason::Stale
        | DenyReason::AuditUnavailable
        | DenyReason::UpstreamUnavailable => false,
    }
}
