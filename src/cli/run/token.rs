//! Keeps the token of the grant at hand: for the grant that counts now, and for the certificate that is in the files now.
//!
//! A token is bound to the certificate that asks for it, and ends with its grant. So another is asked for when the certificate was
//! replaced, when the gate has refused the one there is, and when an extension has taken the place of the grant.

use super::say;
use crate::cli::client::Client;
use crate::cli::grants::text;
use crate::cli::loopback::{Bearer, Gate};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// See the head of this file.
pub(super) struct Tokens {
    bearer: Arc<Bearer>,
    gate: Arc<Gate>,
    /// The grant whose token counts.
    grant: String,
    /// What the file of the certificate held.
    certificate: Option<Vec<u8>>,
    /// The grant that has no token: why is said once.
    without: Option<String>,
}

impl Tokens {
    pub(super) fn new(gate: Arc<Gate>, grant: String) -> Self {
        Self { bearer: Arc::default(), gate, grant, certificate: None, without: None }
    }

    /// What requests take the token from.
    pub(super) fn bearer(&self) -> &Arc<Bearer> {
        &self.bearer
    }

    /// Follows the grant to its extension: `grants` are those of the task.
    pub(super) fn follow(&mut self, grants: &[Value]) {
        let is_live = |grant: &&Value| text(grant, "state") == "live";
        if grants.iter().filter(is_live).any(|grant| text(grant, "id") == self.grant) {
            return;
        }
        let extends = |grant: &&Value| {
            grant.pointer("/lineage/extends").and_then(Value::as_str) == Some(self.grant.as_str())
        };
        if let Some(next) = grants.iter().filter(is_live).find(extends) {
            self.grant = text(next, "id");
            self.bearer.clear();
        }
    }

    /// Asks for a token where there is none that holds. What fails is tried again with the next look.
    pub(super) async fn refresh(&mut self, client: &mut Client) {
        let certificate = std::fs::read(client.certificate()).ok();
        if certificate != self.certificate {
            self.bearer.clear();
            self.gate.renew().await;
            // Now, whatever becomes of the token: else each look would have a new connection to the gate made.
            self.certificate = certificate;
            // What was refused to the old one may be given to the new one.
            self.without = None;
        }
        if !self.bearer.is_wanting() || self.without.as_ref() == Some(&self.grant) {
            return;
        }
        // It is bound to the certificate of the connection that it is asked for on.
        client.reconnect();
        let made: Result<Value, _> =
            client.post(&format!("/v1/grants/{}/token", self.grant), &json!({})).await;
        match made {
            Ok(made) => {
                let holds = made.get("expires_in").and_then(Value::as_u64).unwrap_or_default();
                self.bearer.set(&text(&made, "access_token"), Duration::from_secs(holds));
            }
            Err(error) if error.status().is_some() && !error.is_passing() => {
                say(&format!("no token of {}: {error}; services that demand one refuse", self.grant));
                self.without = Some(self.grant.clone());
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::connection::Target;
    use crate::config::IdentityFiles;
    use crate::identity::ServerRule;

    #[tokio::test]
    async fn a_certificate_is_new_once_whatever_becomes_of_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cert.pem");
        // With such files nothing is connected to, so that no token comes.
        let target = Target {
            endpoint: "https://127.0.0.1:1".parse().unwrap(),
            rule: ServerRule::Name,
            identity: IdentityFiles { certificate: file.clone(), key: dir.path().join("key.pem") },
            ca: dir.path().join("ca.pem"),
        };
        let mut tokens = Tokens::new(Arc::new(Gate::new(target.clone())), "gr_1".to_owned());
        let mut client = Client::new(target);
        std::fs::write(&file, "one").unwrap();
        tokens.refresh(&mut client).await;
        assert_eq!(tokens.certificate.as_deref(), Some(&b"one"[..]), "the next look sees nothing new");

        tokens.without = Some("gr_1".to_owned());
        tokens.refresh(&mut client).await;
        assert!(tokens.without.is_some(), "why is said once");
        std::fs::write(&file, "two").unwrap();
        tokens.refresh(&mut client).await;
        assert!(tokens.without.is_none(), "asked for again with the new certificate");
    }
}
