//! What a filtered list may say beside its items: that it is filtered, and how to ask.
//!
//! It is the same for every caller with a grant for the service, whatever was cut out of the list and whether anything was: it says what
//! the configuration says, and nothing of what the service has (law 11).

use super::super::privilege::ListKind;
use crate::model::scope::Permission;
use serde::Serialize;

/// The member of a result's `_meta`.
pub const KEY: &str = "io.jitgate/access";

/// The hint of a service's lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hint {
    requestable: Box<[Permission]>,
}

#[derive(Serialize)]
struct Says<'h> {
    filtered: bool,
    detail: &'static str,
    tool: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_request: Option<&'h str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requestable: Vec<&'h Permission>,
}

impl Hint {
    /// One that names what may be asked for; nothing: that more may be there.
    #[must_use]
    pub fn new(requestable: Vec<Permission>) -> Self {
        Self { requestable: requestable.into() }
    }

    /// The value of [`KEY`] in a list of this kind: one line of JSON. `access_request`: where to ask.
    #[must_use]
    pub fn says(&self, kind: ListKind, access_request: Option<&str>) -> String {
        let of_kind = |permission: &&Permission| match permission {
            Permission::Mcp(mcp) => mcp.actions().has(kind.used_with()),
            Permission::Http(_) | Permission::Grpc(_) => false,
        };
        let says = Says {
            filtered: true,
            detail: "this list shows what your grants permit now; more may be there: ask for what the task needs",
            tool: "request_access",
            access_request,
            requestable: self.requestable.iter().filter(of_kind).collect(),
        };
        serde_json::to_string(&says).unwrap_or_else(|_| "{}".to_owned())
    }
}
