//! Which grants a revocation is for.

use crate::model::{GrantId, ServiceName, SpiffeId, TaskId};
use serde::{Deserialize, Serialize};

/// Which grants a revocation is for. `all` is written out; nothing is ever implied by an empty value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Selector {
    /// One grant.
    Grant(GrantId),
    /// All grants of a task.
    Task(TaskId),
    /// All grants of a principal.
    Principal(SpiffeId),
    /// All grants with a permission at a service.
    Service(ServiceName),
    /// Every grant.
    All(Everything),
    /// The grants that a policy set, named by its hash, no longer allows. Nobody asks for this: it is what loading one led to.
    Policies(String),
}

/// The literal `true` of `{"all": true}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "bool", into = "bool")]
pub struct Everything;

impl TryFrom<bool> for Everything {
    type Error = &'static str;
    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Ok(Self) } else { Err("`all` must be `true`") }
    }
}

impl From<Everything> for bool {
    fn from(_: Everything) -> Self {
        true
    }
}
