//! TLS towards services: verified against the system's roots or a CA file of the service's own.

use super::Connector;
use crate::config::{Protocol, ServiceConfig, Transport};
use crate::identity::tls::{UpstreamError, system_roots, upstream_config};
use std::path::PathBuf;

/// Why TLS towards a service cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The CA file cannot be read.
    #[error("cannot read `{path}`, the `upstream_ca` of service `{service}`")]
    Unreadable {
        /// The service.
        service: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no system root store.
    #[error(
        "service `{service}` is reached over https, and this system has no CA certificates: install `ca-certificates` or set `upstream_ca`"
    )]
    NoSystemRoots {
        /// The service.
        service: String,
    },
    /// The roots are of no use.
    #[error("the CA certificates for service `{service}` cannot be used")]
    Roots {
        /// The service.
        service: String,
        /// Why.
        #[source]
        source: UpstreamError,
    },
}

/// Whether a service can be reached as it is configured, as far as files tell.
pub(crate) fn check(service: &ServiceConfig) -> Result<(), TlsSetupError> {
    Connector::of(service).map(drop)
}

impl Connector {
    /// What a service's configuration asks for.
    ///
    /// # Errors
    /// [`TlsSetupError`] if an `https` address cannot be verified.
    pub(crate) fn of(service: &ServiceConfig) -> Result<Self, TlsSetupError> {
        let http2 = service.protocol == Protocol::Grpc;
        if !service.upstreams.iter().any(|address| address.transport == Transport::Https) {
            return Ok(Self::new(None, http2));
        }
        let name = || service.name.to_string();
        let roots = match &service.upstream_ca {
            Some(path) => std::fs::read(path).map_err(|source| TlsSetupError::Unreadable {
                service: name(),
                path: path.clone(),
                source,
            })?,
            None => system_roots().ok_or_else(|| TlsSetupError::NoSystemRoots { service: name() })?,
        };
        let alpn: &[&[u8]] = if http2 { &[b"h2"] } else { &[b"http/1.1"] };
        let config = upstream_config(&roots, alpn)
            .map_err(|source| TlsSetupError::Roots { service: name(), source })?;
        Ok(Self::new(Some(config), http2))
    }
}
