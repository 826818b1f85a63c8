//! The gRPC service of the control channel. It is mounted behind the control plane's mTLS listener, which puts the verified
//! [`Peer`] of the connection into each request's extensions, as `Arc<Peer>`; without one nothing is served.

use crate::control::authz::Need;
use crate::control::plane::Plane;
use crate::control::publish::Followers;
use crate::control::publish::caller::Caller;
use crate::control::publish::channel::{self, Wire};
use crate::identity::peer::Peer;
use crate::model::{ProxyName, SpiffeId};
use crate::wire::chunk::MAX_MESSAGE_BYTES;
use crate::wire::generated as raw;
use crate::wire::generated::sync_server::{Sync, SyncServer};
use futures_util::Stream;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

/// Messages that may wait for one proxy.
const QUEUE: usize = 2;

/// Serves proxies from a [`Plane`].
#[derive(Debug, Clone)]
pub struct SyncService {
    plane: Plane,
    followers: Followers,
}

impl SyncService {
    /// A service over this plane. One for each process: it knows which process speaks for which proxy.
    #[must_use]
    pub fn new(plane: Plane) -> Self {
        Self { plane, followers: Followers::default() }
    }

    /// As a router, to be merged with the API's.
    pub fn router(self) -> axum::Router {
        let service = SyncServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        tonic::service::Routes::new(service).into_axum_router()
    }

    /// The proxy that an identity speaks for.
    fn caller(&self, identity: &SpiffeId) -> Result<Caller, Status> {
        if !self.plane.rules().roles.may(identity, Need::Enforce) {
            return Err(Status::permission_denied("needs the role `proxy`"));
        }
        let last = identity.path().rsplit('/').next().unwrap_or_default();
        let proxy = last.parse::<ProxyName>().map_err(|error| {
            Status::permission_denied(format!("the last part of `{identity}` names the proxy: {error}"))
        })?;
        Ok(Caller { identity: identity.clone(), proxy })
    }
}

#[tonic::async_trait]
impl Sync for SyncService {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<raw::Down, Status>> + Send>>;

    async fn follow(
        &self,
        request: Request<Streaming<raw::Up>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let peer = request
            .extensions()
            .get::<Arc<Peer>>()
            .ok_or_else(|| Status::unauthenticated("a client certificate is needed"))?;
        let caller = self.caller(peer.principal())?;
        let (down, mut messages) = mpsc::channel(QUEUE);
        let wire = Wire { up: request.into_inner(), down };
        tokio::spawn(channel::serve(self.plane.clone(), self.followers.clone(), caller, wire));
        Ok(Response::new(Box::pin(futures_util::stream::poll_fn(move |context| messages.poll_recv(context)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use crate::control::authz::Roles;
    use crate::control::clock::ControlClock;
    use crate::control::log::memory::MemoryLog;
    use crate::control::plane::PlaneOptions;
    use crate::control::state::Rules;
    use crate::model::LogId;
    use std::time::Duration;

    #[tokio::test]
    async fn only_the_role_proxy_may_follow_and_only_under_its_own_name() {
        let id = |text: &str| text.parse::<SpiffeId>().unwrap();
        let all_but_proxy = [Role::Viewer, Role::Approver, Role::Security, Role::Admin, Role::Broker];
        let roles = Roles::new(
            [
                (id("spiffe://d/proxy/edge-1"), vec![Role::Proxy]),
                (id("spiffe://d/proxy/Edge_2"), vec![Role::Proxy]),
                (id("spiffe://d/operator/edge-1"), all_but_proxy.to_vec()),
            ],
            [],
        );
        let options = PlaneOptions {
            rules: Rules::new(Duration::from_secs(60), roles),
            lease: Duration::from_secs(15),
            clock_drift: Duration::from_secs(1),
            clock: ControlClock::default(),
        };
        let plane = Plane::start(Arc::new(MemoryLog::new(LogId([1; 16]))), options).await.unwrap();
        let service = SyncService::new(plane);
        assert_eq!(service.caller(&id("spiffe://d/proxy/edge-1")).unwrap().proxy.as_str(), "edge-1");
        for refused in ["spiffe://d/operator/edge-1", "spiffe://d/agent/edge-1", "spiffe://d/proxy/Edge_2"] {
            let status = service.caller(&id(refused)).unwrap_err();
            assert_eq!(status.code(), tonic::Code::PermissionDenied, "{refused}");
        }
    }
}
