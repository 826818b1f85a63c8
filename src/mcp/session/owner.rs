//! Whose a session is.

use crate::model::{ServiceName, SpiffeId};

/// Who opened a session, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The principal of the connection.
    pub principal: SpiffeId,
    /// The service.
    pub service: ServiceName,
    /// Which of the service's addresses holds the session: every request of the session goes there.
    pub route: Route,
}

/// One of a service's addresses, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route(pub u32);
