//! Streamable HTTP on the loopback interface: what carries the secret of this run goes on as it is, in either direction.
//!
//! The control plane's tools have a port of their own here: two servers for the client, each with its one path, and nothing is mixed.

use super::parts::{Parts, authority};
use super::watch;
use crate::cli::Failure;
use crate::cli::loopback::{Bearer, Gate, Loopback, Passage};
use crate::cli::output::{self, Output};
use crate::cli::run::signals::Signals;
use crate::mcp::rules::EndpointPath;
use crate::model::ServiceName;
use crate::runtime::clock::Mono;
use serde_json::{Map, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio_util::sync::CancellationToken;

/// An address that no other machine reaches.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "expected an address with a port, such as `127.0.0.1:0`".to_owned())?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => {
            Err("expected a loopback address: what is heard elsewhere would not be protected".to_owned())
        }
    }
}

/// Serves until a signal comes.
pub(super) async fn serve(parts: Parts, address: SocketAddr, output: Output) -> Result<(), Failure> {
    let mut signals = Signals::catch().map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch::certificate(parts.gates()));
    let mut urls = Map::new();
    let own: ServiceName = parts.service.clone();
    let mut start = async |name: &str, service, address, passage: Passage| {
        let path = passage.only.as_ref().map_or("/", EndpointPath::as_str).to_owned();
        let bound = Loopback::bind_at(service, address).await;
        let bound = bound.map_err(|error| Failure::failed(format!("{address}: {error}")))?;
        for (_, at) in bound.addresses() {
            let url = format!("http://{at}/{}{path}", bound.secret().reveal());
            urls.insert(name.to_owned(), json!(url));
        }
        bound.start(passage, &stop);
        Ok::<(), Failure>(())
    };
    let mut passage = passage(Arc::clone(&parts.gate), parts.path.clone());
    passage.task = parts.task.clone();
    start("service", own, address, passage).await?;
    if let Some(control) = &parts.control {
        let mut passage = self::passage(Arc::clone(control), EndpointPath::default());
        passage.authority = Some(authority(control.target()));
        let own: ServiceName = "access".parse().map_err(Failure::failed)?;
        start("access", own, SocketAddr::new(address.ip(), 0), passage).await?;
    }
    match output {
        Output::Json => output::json_line(&urls)?,
        Output::Table => {
            for (name, url) in &urls {
                output::line(&format!("{name}: {}", url.as_str().unwrap_or_default()))?;
            }
        }
    }
    signals.next().await;
    stop.cancel();
    watching.abort();
    Ok(())
}

/// Nothing is asked again, and no token is added.
fn passage(gate: Arc<Gate>, only: EndpointPath) -> Passage {
    Passage {
        gate,
        bearer: Arc::<Bearer>::default(),
        always_bears: false,
        task: None,
        authority: None,
        only: Some(only),
        settles: Mono::now(),
        heard: AtomicBool::new(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine() {
        assert!(
            loopback("127.0.0.1:0").is_ok()
                && loopback("[::1]:8080").is_ok()
                && loopback("127.9.9.9:1").is_ok()
        );
        for bad in
            ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "localhost:80", "127.0.0.1", "[::ffff:127.0.0.1]:1", ""]
        {
            assert!(loopback(bad).is_err(), "{bad}");
        }
    }
}
