//! A scope: what a grant permits, as RFC 9396 `authorization_details`, in two forms (JSON and text) with exactly one canonical
//! rendering each.

pub mod conditions;
pub mod limits;

use crate::model::ServiceName;
use serde::{Deserialize, Serialize};

/// One or more permissions; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(Box<[Permission]>);

impl Scope {
    /// The permissions, in the order given.
    #[must_use]
    pub fn permissions(&self) -> &[Permission] {
        &self.0
    }

    /// Whether any permission names this service.
    #[must_use]
    pub fn names(&self, service: &ServiceName) -> bool {
        self.0.iter().any(|permission| permission.locations().contains(service))
    }
}

/// One entry of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Permission {
    /// Plain HTTP.
    Http {
        /// Service names.
        locations: Box<[ServiceName]>,
        /// Methods, or `*`.
        actions: Box<[Box<str>]>,
        /// Path patterns.
        paths: Box<[Box<str>]>,
    },
}

impl Permission {
    /// The services that it is for; never empty.
    #[must_use]
    pub fn locations(&self) -> &[ServiceName] {
        match self {
            Self::Http { locations, .. } => locations,
        }
    }
}
