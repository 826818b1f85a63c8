//! What the control plane keeps of a proxy's trail: a key and a checkpoint that nobody at the proxy can replace.

use super::verify::VerifyError;
use crate::audit::verify::Trusted;
use crate::cli::Failure;
use crate::cli::client::with_client;
use crate::cli::connection::Connection;
use crate::tlog::{Checkpoint, VerifierKey};
use serde_json::Value;

/// Asks for them.
pub(super) fn kept(proxy: &str, connection: &Connection) -> Result<(VerifierKey, Trusted), Failure> {
    let proxies: Value = with_client(connection, async |client| Ok(client.get("/v1/proxies").await?))?;
    let known = proxies.as_array().into_iter().flatten();
    let known = known.into_iter().find(|known| known.get("name").and_then(Value::as_str) == Some(proxy));
    let text = |name: &str| known?.get("trail")?.get(name)?.as_str();
    let nothing = || Failure::failed(VerifyError::NotKept(proxy.to_owned()));
    let (key, note) = (text("key").ok_or_else(nothing)?, text("checkpoint").ok_or_else(nothing)?);
    opened(proxy, key, note).map_err(Failure::failed)
}

/// A key and a checkpoint, as they are kept.
pub(super) fn opened(proxy: &str, key: &str, note: &str) -> Result<(VerifierKey, Trusted), VerifyError> {
    let refused = |reason: String| VerifyError::Witness { proxy: proxy.to_owned(), reason };
    let key: VerifierKey = key.parse().map_err(|error: crate::tlog::NoteError| refused(error.to_string()))?;
    let checkpoint = Checkpoint::open(note, &key).map_err(|error| refused(error.to_string()))?;
    let name = format!("the checkpoint of `{proxy}` at the control plane");
    Ok((key, Trusted { name, checkpoint }))
}
