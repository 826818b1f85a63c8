//! A scope: what a grant permits, as RFC 9396 `authorization_details`, in two forms with exactly one canonical rendering each.
//!
//! A scope is a list of permissions. The order of permissions is kept (it is what the approver saw) and means nothing; the lists
//! inside a permission are sets: they are sorted, and a value that is there twice is refused. An empty list, an unknown member,
//! `null` and a duplicate key are refused (law 1): "any" is always written out.
//!
//! **JSON form**, canonical by RFC 8785:
//!
//! ```json
//! {"type":"http","locations":["orders"],"actions":["GET","HEAD"],"paths":["/v1/orders/*"],"query":{"status":["open"]}}
//! {"type":"grpc","locations":["stock"],"actions":["/inventory.v1.Stock/Get"]}
//! {"type":"mcp","locations":["ops"],"actions":["tools/call"],"tools":["restart_service"],"arguments":true}
//! ```
//!
//! **Text form**, for people; there is no white space in it:
//!
//! ```text
//! permission = services ":" methods ":" paths        ; type http
//!            / services ":" calls                    ; type grpc
//!            / services ":" mcp [ ":" named ]        ; type mcp
//! services   = service *( "," service )              ; names of the proxy's configuration
//! methods    = "*" / method *( "," method )          ; RFC 9110 tokens; UPGRADE opens a WebSocket; "*" is all of them
//! paths      = path *( "," path )                    ; see `path`; a path with a comma is written in JSON
//! calls      = "*" / call *( "," call )
//! call       = "/" grpc-service "/" ( grpc-method / "*" )
//! mcp        = mcp-method *( "," mcp-method )       ; each with a slash, none begins with one, all about the same
//! named      = names arguments                       ; tools/call, prompts/get
//!            / "*" / uri *( "," uri )                ; resources/read, resources/subscribe, resources/unsubscribe
//! names      = "*" / name *( "," name )              ; no white space, comma, brace or quotation mark
//! arguments  = "{*}" / "{" [ member *( "," member ) ] "}"
//! member     = ( word / json-string ) "=" ( word / json )
//! ```
//!
//! The first colon ends the services. A second colon makes it `http`, and all after it is paths, which may have colons of their
//! own; calls have none. Methods of HTTP never have a slash; those of MCP have one, and none in front.
//!
//! `{*}` is any arguments. `{service="billing",replicas=2}` is exactly these and no others: the values are JSON literals, and a bare
//! word (other than `true`, `false` and `null`) is a string. Any other schema, a `query`, and a path with a comma are written in JSON.
//!
//! ```
//! use jitgate::model::{Permission, Scope};
//! let permission: Permission = "orders:HEAD,GET:/v1/orders/*".parse()?;
//! assert_eq!(permission.to_string(), "orders:GET,HEAD:/v1/orders/*");
//! assert_eq!(
//!     permission.canonical_json(),
//!     r#"{"actions":["GET","HEAD"],"locations":["orders"],"paths":["/v1/orders/*"],"type":"http"}"#
//! );
//! let permission: Permission = "ops:tools/call:restart_service{server=srv-7}".parse()?;
//! assert_eq!(permission.to_string(), r#"ops:tools/call:restart_service{server="srv-7"}"#);
//! assert!(Scope::parse_all(&["orders:GET:/v1/**", "stock:/inventory.v1.Stock/Get"]).is_ok());
//! assert!("orders:GET:/v1/*.json".parse::<Permission>().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod conditions;
mod contain;
mod error;
mod grpc;
mod http;
mod json;
pub mod limits;
mod list;
mod mcp;
mod method;
mod overlap;
mod path;
mod query;
#[cfg(test)]
mod tests;
mod text;
pub mod window;

pub use error::{PermissionError, Quoted, ScopeError};
pub use grpc::{GrpcAction, GrpcActions, GrpcPermission};
pub use http::HttpPermission;
pub use list::{List, ListFault, MAX_ENTRIES};
pub use mcp::{
    Arguments, MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, McpParts, McpPermission, McpTarget, Names, PatternFault,
    Schema, SchemaFault, UriFault, UriPattern, UriSegment, Uris,
};
pub use method::{MethodFault, Methods};
pub use overlap::Comparisons;
pub use path::{PathFault, PathPattern, Segment};
pub use query::{Parameter, QueryRule, Values};

use crate::model::{McpCall, ServiceName};
use std::collections::HashMap;
use std::sync::Arc;

/// The most permissions that a scope may have.
pub const MAX_PERMISSIONS: usize = 10_000;

/// One or more permissions, none of them twice. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope(Arc<[Permission]>);

/// One entry of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Plain HTTP, WebSockets included.
    Http(HttpPermission),
    /// gRPC.
    Grpc(GrpcPermission),
    /// MCP.
    Mcp(McpPermission),
}

impl Scope {
    /// From permissions.
    ///
    /// # Errors
    /// [`ScopeError::Empty`], [`ScopeError::TooMany`] or [`ScopeError::Duplicate`].
    pub fn new(permissions: Vec<Permission>) -> Result<Self, ScopeError> {
        if permissions.is_empty() {
            return Err(ScopeError::Empty);
        }
        if permissions.len() > MAX_PERMISSIONS {
            return Err(ScopeError::TooMany);
        }
        let mut seen = HashMap::new();
        for (second, permission) in permissions.iter().enumerate() {
            if let Some(first) = seen.insert(permission, second) {
                return Err(ScopeError::Duplicate { first, second });
            }
        }
        Ok(Self(permissions.into()))
    }

    /// From a JSON array of permissions.
    ///
    /// # Errors
    /// [`ScopeError`], with the position of what is wrong.
    pub fn from_json(json: &str) -> Result<Self, ScopeError> {
        json::list(json).and_then(Self::new)
    }

    /// The permissions, in the order given; never empty.
    #[must_use]
    pub fn permissions(&self) -> &[Permission] {
        &self.0
    }

    /// Whether any permission names this service.
    #[must_use]
    pub fn names(&self, service: &ServiceName) -> bool {
        self.0.iter().any(|permission| permission.names(service))
    }

    /// Whether it permits an HTTP request; see [`HttpPermission::permits`]. Reference implementation.
    #[must_use]
    pub fn permits_http(&self, service: &ServiceName, action: &str, path: &str, query: Option<&str>) -> bool {
        self.0.iter().any(|permission| match permission {
            Permission::Http(http) => permission.names(service) && http.permits(action, path, query),
            Permission::Grpc(_) | Permission::Mcp(_) => false,
        })
    }

    /// Whether it permits a gRPC call. Reference implementation.
    #[must_use]
    pub fn permits_grpc(&self, service: &ServiceName, path: &str) -> bool {
        self.0.iter().any(|permission| match permission {
            Permission::Grpc(grpc) => permission.names(service) && grpc.permits(path),
            Permission::Http(_) | Permission::Mcp(_) => false,
        })
    }

    /// Whether it permits an MCP request. Reference implementation.
    #[must_use]
    pub fn permits_mcp(&self, service: &ServiceName, call: &McpCall<'_>) -> bool {
        self.0.iter().any(|permission| match permission {
            Permission::Mcp(mcp) => permission.names(service) && mcp.permits(call),
            Permission::Http(_) | Permission::Grpc(_) => false,
        })
    }

    /// The JSON form by RFC 8785: byte for byte the same for equal scopes.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        let entries: Vec<String> = self.0.iter().map(Permission::canonical_json).collect();
        format!("[{}]", entries.join(","))
    }

    /// The canonical rendering of each permission, as [`Self::parse_all`] takes them.
    #[must_use]
    pub fn canonical_texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// SHA-256 of [`Self::canonical_json`].
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        sha256(self.canonical_json().as_bytes())
    }

    /// Replaces each service name by what `share` makes of it, unless the scope is shared already; see [`crate::model::Interner`].
    pub(in crate::model) fn share_names(&mut self, mut share: impl FnMut(&mut ServiceName)) {
        if let Some(permissions) = Arc::get_mut(&mut self.0) {
            permissions.iter_mut().flat_map(|permission| permission.names_mut()).for_each(&mut share);
        }
    }
}

impl From<Permission> for Scope {
    fn from(permission: Permission) -> Self {
        Self(Arc::new([permission]))
    }
}

impl Permission {
    /// The permission that a refused HTTP request would have needed, derived from the request alone; none when it could never be
    /// permitted (a method or path that no permission can spell). The query is left unrestricted.
    #[must_use]
    pub fn for_http(service: &ServiceName, action: &str, path: &str) -> Option<Self> {
        let path = PathPattern::literal(path)?;
        let only_this = action != "*";
        let http = HttpPermission::new(&[service.as_str()], &[action], &[path.as_str()], None).ok();
        http.filter(|_| only_this).map(Self::Http)
    }

    /// The permission that a refused gRPC call would have needed; none when its path is not `/pkg.Service/Method`.
    #[must_use]
    pub fn for_grpc(service: &ServiceName, path: &str) -> Option<Self> {
        let only_this = !path.contains('*');
        let grpc = GrpcPermission::new(&[service.as_str()], &[path]).ok();
        grpc.filter(|_| only_this).map(Self::Grpc)
    }

    /// The permission that a refused MCP request would have needed, with exactly its arguments; none when no permission can spell it
    /// (a name with `*`, arguments that are too many or too deep for a schema).
    #[must_use]
    pub fn for_mcp(service: &ServiceName, call: &McpCall<'_>) -> Option<Self> {
        McpPermission::exactly(service, call).map(Self::Mcp)
    }

    /// The services that it is for, sorted; never empty.
    #[must_use]
    pub fn locations(&self) -> &[ServiceName] {
        match self {
            Self::Http(http) => http.locations(),
            Self::Grpc(grpc) => grpc.locations(),
            Self::Mcp(mcp) => mcp.locations(),
        }
    }

    /// Whether it names this service.
    #[must_use]
    pub fn names(&self, service: &ServiceName) -> bool {
        self.locations().binary_search(service).is_ok()
    }

    /// The JSON form by RFC 8785.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        let mut json = String::new();
        // Writing to a string does not fail.
        let _ = text::write_json(self, &mut json);
        json
    }

    fn names_mut(&mut self) -> impl Iterator<Item = &mut ServiceName> {
        match self {
            Self::Http(http) => http.locations.iter_mut(),
            Self::Grpc(grpc) => grpc.locations.iter_mut(),
            Self::Mcp(mcp) => mcp.locations.iter_mut(),
        }
    }
}

/// SHA-256, for digests of canonical forms.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// The service names of a permission.
fn services<L: AsRef<str>>(locations: &[L]) -> Result<List<ServiceName>, PermissionError> {
    const KEY: &str = "locations";
    let service = |text: &L| {
        let text = text.as_ref();
        text.parse::<ServiceName>().map_err(|_| PermissionError::Service { value: Quoted::of(text) })
    };
    let names: Result<_, _> = locations.iter().map(service).collect();
    List::new(names?).map_err(|fault| match fault {
        ListFault::Empty => PermissionError::Empty { key: KEY, example: "the names of services" },
        ListFault::TooMany => PermissionError::TooMany { key: KEY },
        ListFault::Duplicate(name) => {
            PermissionError::Duplicate { key: KEY, value: Quoted::of(name.as_str()) }
        }
    })
}
