//! A `grpc` permission: services and the methods that may be called there.

use super::error::{PermissionError, Quoted};
use super::list::{List, ListFault};
use super::services;
use crate::model::ServiceName;

const KEY: &str = "actions";
const MAX_BYTES: usize = 1_024;

/// A permission to call gRPC methods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrpcPermission {
    pub(super) locations: List<ServiceName>,
    actions: GrpcActions,
}

/// Which methods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GrpcActions {
    /// `*`: every method of every service behind the location.
    Any,
    /// These.
    Only(List<GrpcAction>),
}

/// `/pkg.Service/Method`, or `/pkg.Service/*` for every method of that service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrpcAction(Box<str>);

impl GrpcPermission {
    /// From service names and actions, `["*"]` for any.
    ///
    /// # Errors
    /// Empty, too many, duplicate, `*` beside others, or not of the right form.
    pub fn new<L: AsRef<str>, A: AsRef<str>>(
        locations: &[L],
        actions: &[A],
    ) -> Result<Self, PermissionError> {
        Ok(Self { locations: services(locations)?, actions: GrpcActions::new(actions)? })
    }

    /// The services that it is for, sorted.
    #[must_use]
    pub fn locations(&self) -> &[ServiceName] {
        &self.locations
    }

    /// The methods.
    #[must_use]
    pub fn actions(&self) -> &GrpcActions {
        &self.actions
    }

    /// Whether it permits a call with this path at a service that it names. Reference implementation.
    #[must_use]
    pub fn permits(&self, path: &str) -> bool {
        match &self.actions {
            GrpcActions::Any => is_action(path) && !path.ends_with('*'),
            GrpcActions::Only(actions) => actions.iter().any(|action| action.matches(path)),
        }
    }
}

impl GrpcActions {
    fn new<A: AsRef<str>>(actions: &[A]) -> Result<Self, PermissionError> {
        if actions.iter().any(|action| action.as_ref() == "*") {
            return match actions.len() {
                1 => Ok(Self::Any),
                _ => Err(PermissionError::MixedAny { key: KEY }),
            };
        }
        let parsed: Result<_, _> = actions.iter().map(|action| GrpcAction::new(action.as_ref())).collect();
        List::new(parsed?).map(Self::Only).map_err(|fault| match fault {
            ListFault::Empty => PermissionError::Empty { key: KEY, example: "`[\"*\"]` for every method" },
            ListFault::TooMany => PermissionError::TooMany { key: KEY },
            ListFault::Duplicate(action) => {
                PermissionError::Duplicate { key: KEY, value: Quoted::of(&action.0) }
            }
        })
    }

    /// The actions as they are written in a scope.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (any, actions) = match self {
            Self::Any => (Some("*"), [].as_slice()),
            Self::Only(actions) => (None, &**actions),
        };
        any.into_iter().chain(actions.iter().map(GrpcAction::as_str))
    }

    /// Whether each call that `other` permits is permitted.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Only(_), Self::Any) => false,
            (Self::Only(wide), Self::Only(narrow)) => narrow.iter().all(|action| {
                let whole = |wide: &GrpcAction| wide.is_whole_service() && wide.service() == action.service();
                wide.has(action) || wide.iter().any(whole)
            }),
        }
    }
}

impl GrpcAction {
    fn new(text: &str) -> Result<Self, PermissionError> {
        match is_action(text) {
            true => Ok(Self(text.into())),
            false => Err(PermissionError::Grpc { value: Quoted::of(text) }),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The gRPC service with its slashes, for instance `/pkg.Service/`: a prefix of each path that matches.
    #[must_use]
    pub fn service(&self) -> &str {
        self.0.rfind('/').and_then(|slash| self.0.get(..=slash)).unwrap_or(&self.0)
    }

    /// Whether it is `/pkg.Service/*`.
    #[must_use]
    pub fn is_whole_service(&self) -> bool {
        self.0.ends_with("/*")
    }

    /// Whether it matches the path of a call.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        if !self.is_whole_service() {
            return *self.0 == *path;
        }
        path.strip_prefix(self.service()).is_some_and(is_identifier)
    }
}

/// `/` full service name `/` method or `*`; Protocol Buffers identifiers.
fn is_action(text: &str) -> bool {
    let parts = text.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    text.len() <= MAX_BYTES
        && parts.is_some_and(|(service, method)| {
            service.split('.').all(is_identifier) && (method == "*" || is_identifier(method))
        })
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl serde::Serialize for GrpcActions {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.texts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(actions: &[&str]) -> Result<GrpcPermission, PermissionError> {
        GrpcPermission::new(&["stock"], actions)
    }

    #[test]
    fn calls_inside_and_outside() {
        let one = permission(&["/inventory.v1.Stock/Get"]).unwrap();
        let service = permission(&["/inventory.v1.Stock/*"]).unwrap();
        let any = permission(&["*"]).unwrap();
        for (path, by_one, by_service, by_any) in [
            ("/inventory.v1.Stock/Get", true, true, true),
            ("/inventory.v1.Stock/Put", false, true, true),
            ("/inventory.v1.Stocks/Get", false, false, true),
            ("/Echo/Say", false, false, true),
            ("/inventory.v1.Stock/", false, false, false),
            ("/inventory.v1.Stock/*", false, false, false),
            ("/inventory.v1.Stock/Get/x", false, false, false),
            ("/inventory.v1.Stock", false, false, false),
            ("inventory.v1.Stock/Get", false, false, false),
            ("/", false, false, false),
            ("", false, false, false),
            ("*", false, false, false),
        ] {
            assert_eq!(one.permits(path), by_one, "{path}");
            assert_eq!(service.permits(path), by_service, "{path}");
            assert_eq!(any.permits(path), by_any, "{path}");
        }
    }

    #[test]
    fn what_is_no_action() {
        let long = format!("/a/{}", "b".repeat(MAX_BYTES));
        for action in [
            "", "/", "//", "/a", "/a/", "/a/b/c", "a/b", "/*", "/*/*", "/*/b", "/a.*/b", "/a/b*", "/a/**",
            "/a./b", "/.a/b", "/a..b/c", "/1a/b", "/a/1b", "/a-b/c", "/a/b c", "/a/%62", "/a/é", "**", &long,
        ] {
            assert!(matches!(permission(&[action]), Err(PermissionError::Grpc { .. })), "{action}");
        }
        assert!(matches!(permission(&[]), Err(PermissionError::Empty { .. })));
        assert!(matches!(permission(&["*", "/a/b"]), Err(PermissionError::MixedAny { .. })));
        assert!(matches!(permission(&["/a/b", "/a/b"]), Err(PermissionError::Duplicate { .. })));
    }
}
