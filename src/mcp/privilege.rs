//! Which methods carry no privilege: a principal with any live grant for the service may use them, and they count neither as
//! activity nor as uses. Whatever is not in this table carries privilege and needs a grant that names it.
//!
//! | method | versions | | why |
//! |---|---|---|---|
//! | `initialize`, `ping`, `notifications/initialized` | with sessions | free | the handshake; says nothing but what the server is |
//! | `notifications/cancelled`, `notifications/progress` | with sessions | free | about calls of the own session |
//! | `notifications/roots/list_changed` | with sessions | free | tells the own session to ask again |
//! | `server/discover` | all | free | the handshake of 2026-07-28, and how newer clients find out about older servers |
//! | `tools/list`, `resources/list`, `resources/templates/list`, `prompts/list` | all | filtered | shows what is permitted |
//! | `subscriptions/listen` | 2026-07-28 | listen | each resource named in it needs `resources/subscribe` |
//! | `logging/setLevel` | with sessions | needs a grant | log lines may tell what no list would |
//! | `completion/complete` | all | needs a grant | values that complete an argument are data |
//! | `tasks/list` | 2025-11-25 | needs a grant | and is filtered: a server takes all callers of the gate for one |
//! | `resources/subscribe`, `resources/unsubscribe`, `tasks/*` | those that have them | needs a grant | about one resource, one call |
//! | methods that 2026-07-28 removed, such as `ping` | 2026-07-28 | refused | unknown to it: 404 and -32601 |

use super::version::Version;

/// What clients of 2026-07-28 begin with, also at older servers.
pub const PROBE: &str = "server/discover";

/// What a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`: tools by name.
    Tools,
    /// `resources/list`: resources by URI.
    Resources,
    /// `resources/templates/list`: templates by URI template.
    Templates,
    /// `prompts/list`: prompts by name.
    Prompts,
    /// `tasks/list`: tasks by handle; it needs a grant, as it is about calls and not about what may be called.
    Tasks,
}

impl ListKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Tools, Self::Resources, Self::Templates, Self::Prompts, Self::Tasks];

    /// The method that a listed item is used with.
    #[must_use]
    pub fn used_with(self) -> &'static str {
        match self {
            Self::Tools => "tools/call",
            Self::Resources | Self::Templates => "resources/read",
            Self::Prompts => "prompts/get",
            Self::Tasks => "tasks/get",
        }
    }

    /// The member of a result that holds the list.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Prompts => "prompts",
            Self::Tasks => "tasks",
        }
    }

    /// The member of an item that a permission is about.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
            Self::Tasks => "taskId",
        }
    }
}

/// What a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Any live grant for the service.
    Free,
    /// Any live grant for the service; the answer is filtered.
    List(ListKind),
    /// Any live grant for the service, and for each of [`super::Request::listened`] a permission of `resources/subscribe`.
    Listen,
    /// A grant that permits this very call.
    Granted,
}

/// What a request or notification needs in this version.
#[must_use]
pub fn needed(method: &str, version: Version) -> Privilege {
    let sessions = !version.is_stateless();
    match method {
        PROBE => Privilege::Free,
        "tools/list" => Privilege::List(ListKind::Tools),
        "resources/list" => Privilege::List(ListKind::Resources),
        "resources/templates/list" => Privilege::List(ListKind::Templates),
        "prompts/list" => Privilege::List(ListKind::Prompts),
        "subscriptions/listen" if !sessions => Privilege::Listen,
        "initialize"
        | "ping"
        | "notifications/initialized"
        | "notifications/cancelled"
        | "notifications/progress"
        | "notifications/roots/list_changed"
            if sessions =>
        {
            Privilege::Free
        }
        _ => Privilege::Granted,
    }
}

/// Whether 2026-07-28 removed a method: nobody can be granted it there.
#[must_use]
pub fn is_removed(method: &str) -> bool {
    matches!(
        method,
        "initialize"
            | "ping"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "tasks/result"
            | "tasks/list"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_needs_a_grant() {
        for version in Version::ALL {
            for method in [
                "tools/call",
                "resources/read",
                "prompts/get",
                "completion/complete",
                "logging/setLevel",
                "resources/subscribe",
                "tasks/get",
                "tasks/cancel",
                "Tools/list",
                "tools/list ",
                "notifications/x",
                "notifications/",
                "",
            ] {
                assert_eq!(needed(method, version), Privilege::Granted, "{method} {version}");
            }
            assert_eq!(needed("server/discover", version), Privilege::Free);
            assert_eq!(needed("prompts/list", version), Privilege::List(ListKind::Prompts));
            for handshake in ["initialize", "ping", "notifications/initialized", "notifications/cancelled"] {
                assert_eq!(
                    needed(handshake, version) == Privilege::Free,
                    !version.is_stateless(),
                    "{handshake} {version}"
                );
            }
            assert_eq!(needed("subscriptions/listen", version) == Privilege::Listen, version.is_stateless());
        }
    }
}
