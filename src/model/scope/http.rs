//! An `http` permission: services, methods, path patterns and, where given, a rule for the query.

use super::error::{PermissionError, Quoted};
use super::list::{List, ListFault};
use super::method::Methods;
use super::path::PathPattern;
use super::query::QueryRule;
use super::services;
use crate::model::ServiceName;

const KEY: &str = "paths";

/// A permission to send HTTP requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpPermission {
    pub(super) locations: List<ServiceName>,
    methods: Methods,
    paths: List<PathPattern>,
    query: Option<Box<QueryRule>>,
}

impl HttpPermission {
    /// From service names, actions (`["*"]` for any) and path patterns; `query` as it is in the JSON form.
    ///
    /// # Errors
    /// Empty, too many, duplicate, `*` beside others, or not of the right form.
    pub fn new<L: AsRef<str>, A: AsRef<str>, P: AsRef<str>>(
        locations: &[L],
        actions: &[A],
        paths: &[P],
        query: Option<QueryRule>,
    ) -> Result<Self, PermissionError> {
        Ok(Self {
            locations: services(locations)?,
            methods: Methods::new(actions.iter().map(AsRef::as_ref))?,
            paths: patterns(paths)?,
            query: query.map(Box::new),
        })
    }

    /// The services that it is for, sorted.
    #[must_use]
    pub fn locations(&self) -> &[ServiceName] {
        &self.locations
    }

    /// The methods.
    #[must_use]
    pub fn methods(&self) -> &Methods {
        &self.methods
    }

    /// The path patterns, sorted.
    #[must_use]
    pub fn paths(&self) -> &[PathPattern] {
        &self.paths
    }

    /// The rule for the query; none when it is unrestricted.
    #[must_use]
    pub fn query(&self) -> Option<&QueryRule> {
        self.query.as_deref()
    }

    /// Whether it permits this at a service that it names. `action` is the method or [`Methods::UPGRADE`]; `path` and `query`
    /// are as the caller wrote them, in canonical form. Reference implementation.
    #[must_use]
    pub fn permits(&self, action: &str, path: &str, query: Option<&str>) -> bool {
        self.methods.has(action)
            && self.paths.iter().any(|pattern| pattern.matches(path))
            && self.query().is_none_or(|rule| rule.permits(query))
    }
}

fn patterns<P: AsRef<str>>(paths: &[P]) -> Result<List<PathPattern>, PermissionError> {
    let pattern = |text: &P| {
        let text = text.as_ref();
        PathPattern::new(text).map_err(|fault| PermissionError::Path { value: Quoted::of(text), fault })
    };
    let paths: Result<_, _> = paths.iter().map(pattern).collect();
    List::new(paths?).map_err(|fault| match fault {
        ListFault::Empty => PermissionError::Empty { key: KEY, example: "`[\"/**\"]` for every path" },
        ListFault::TooMany => PermissionError::TooMany { key: KEY },
        ListFault::Duplicate(path) => {
            PermissionError::Duplicate { key: KEY, value: Quoted::of(path.as_str()) }
        }
    })
}
