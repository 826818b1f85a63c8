//! Who speaks on a control channel, and what is asked of the control plane in their name.

use crate::control::plane::Plane;
use crate::control::state::{Command, Outcome, Refusal};
use crate::model::event::Actor;
use crate::model::{ProxyName, SpiffeId};
use tonic::Status;

/// Who is at the other end, by their certificate.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) identity: SpiffeId,
    pub(super) proxy: ProxyName,
}

pub(super) async fn submit(plane: &Plane, caller: &Caller, command: Command) -> Result<Outcome, Status> {
    plane.submit(Actor::Identity(caller.identity.clone()), command).await.map_err(|refusal| match refusal {
        Refusal::Busy | Refusal::Unknown | Refusal::Stopping => unavailable(refusal),
        Refusal::Role { .. }
        | Refusal::SelfGrant { .. }
        | Refusal::Empty
        | Refusal::TooMany { .. }
        | Refusal::Reason
        | Refusal::TtlAboveCap { .. }
        | Refusal::Start { .. }
        | Refusal::RecordsLess { .. }
        | Refusal::Entry { .. }
        | Refusal::NotFound { .. }
        | Refusal::NameTaken { .. }
        | Refusal::Future { .. }
        | Refusal::Full { .. }
        | Refusal::Access(_) => Status::permission_denied(refusal.to_string()),
    })
}

pub(super) fn unavailable(refusal: Refusal) -> Status {
    Status::unavailable(refusal.to_string())
}
