//! The metadata of a protected resource (RFC 9728): where a client of MCP learns who issues tokens for it.
//!
//! The same for every name that is asked for, whether there is such a service or not (law 11): it is made of the request's authority
//! and of what is configured for the gate as a whole.

use serde::Serialize;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

#[derive(Serialize)]
struct Metadata<'a> {
    resource: String,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    authorization_servers: &'a [String],
    bearer_methods_supported: [&'static str; 1],
    tls_client_certificate_bound_access_tokens: bool,
    authorization_details_types_supported: [&'static str; 3],
}

/// The path of the resource whose metadata are asked for with this path: `/.well-known/oauth-protected-resource/mcp` is about `/mcp`.
#[must_use]
pub fn resource_path(path: &str) -> Option<&str> {
    path.strip_prefix(WELL_KNOWN).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where the metadata of a resource are: the `resource_metadata` of a challenge. `authority` and `path` are the request's own.
#[must_use]
pub fn url(authority: &str, path: &str) -> String {
    // Not by `format!`: it is made for every request, in case that it is refused.
    ["https://", authority, WELL_KNOWN, if path == "/" { "" } else { path }].concat()
}

/// The document. Tokens are bound to the client's certificate (RFC 8705) and come in the `Authorization` header alone.
#[must_use]
pub fn document(authority: &str, resource_path: &str, authorization_servers: &[String]) -> Vec<u8> {
    let metadata = Metadata {
        resource: format!("https://{authority}{resource_path}"),
        authorization_servers,
        bearer_methods_supported: ["header"],
        tls_client_certificate_bound_access_tokens: true,
        authorization_details_types_supported: ["http", "grpc", "mcp"],
    };
    serde_json::to_vec(&metadata).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_about_whatever_is_asked_for() {
        assert_eq!(
            url("ops.localhost:8443", "/mcp"),
            "https://ops.localhost:8443/.well-known/oauth-protected-resource/mcp"
        );
        assert_eq!(resource_path("/.well-known/oauth-protected-resource/mcp"), Some("/mcp"));
        assert_eq!(resource_path("/.well-known/oauth-protected-resource"), Some(""));
        assert_eq!(resource_path("/.well-known/oauth-protected-resources"), None);
        assert_eq!(resource_path("/mcp"), None);
        let servers = ["https://control.example:8444".to_owned()];
        let document: serde_json::Value =
            serde_json::from_slice(&document("ops.localhost", "/mcp", &servers)).unwrap();
        assert_eq!(document["resource"], "https://ops.localhost/mcp");
        assert_eq!(document["authorization_servers"][0], "https://control.example:8444");
        assert_eq!(document["tls_client_certificate_bound_access_tokens"], true);
    }
}
