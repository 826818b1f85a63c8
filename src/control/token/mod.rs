//! The control plane's access tokens (RFC 9068): which keys sign and are published, and what a token of a grant says.
//!
//! Refuses to know who may have one: that is the API's. A token never outlives its grant and never stands in for it; nothing here
//! changes what anybody may do.

mod mint;
mod ring;

pub use mint::{MintError, Minted};
pub use ring::{RingError, Settings};

use crate::control::plane::Plane;
use crate::identity::token::{Claims, GateKeys, TokenKeys};
use crate::model::Time;
use parking_lot::Mutex;
use ring::Ring;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often keys are looked after.
const EVERY: Duration = Duration::from_secs(5);

/// Signs tokens and publishes the keys to verify them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: String,
    audience: String,
    ring: Mutex<Ring>,
    plane: Plane,
}

impl Tokens {
    /// Reads the keys, or makes the first one if the file does not exist; publishes them.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn open(
        path: &Path,
        (issuer, audience): (String, String),
        settings: Settings,
        plane: Plane,
    ) -> Result<Self, RingError> {
        let ring = Ring::open(path, settings, plane.control_time())?;
        let tokens = Self(Arc::new(Inner { issuer, audience, ring: Mutex::new(ring), plane }));
        tokens.publish();
        Ok(tokens)
    }

    /// The public keys, for a JWK set: those that sign, are about to, or have signed tokens that may still run.
    #[must_use]
    pub fn jwks(&self) -> Vec<serde_json::Value> {
        self.0.ring.lock().jwks()
    }

    /// Makes a new key, which signs as soon as every proxy knows it; older ones stay published until their tokens have ended.
    /// Answers its name.
    ///
    /// # Errors
    /// [`RingError`]: nothing has changed.
    pub fn rotate(&self) -> Result<String, RingError> {
        let kid = self.0.ring.lock().rotate(self.0.plane.control_time())?;
        self.publish();
        Ok(kid)
    }

    /// Rotates when that is due, and drops keys of which no token is left.
    ///
    /// # Errors
    /// [`RingError`]: nothing has changed.
    pub fn turn(&self) -> Result<(), RingError> {
        let changed = self.0.ring.lock().turn(self.0.plane.control_time())?;
        if changed {
            self.publish();
        }
        Ok(())
    }

    /// The claims of a token of ours that is valid at `now`; whether its grant is live is another question.
    #[must_use]
    pub fn inspect(&self, token: &str, now: Time) -> Option<Claims> {
        GateKeys::new(&self.published()).ok()?.inspect(token, now).ok()
    }

    fn published(&self) -> TokenKeys {
        let jwks = serde_json::json!({ "keys": self.jwks() }).to_string();
        TokenKeys { issuer: self.0.issuer.clone(), audience: self.0.audience.clone(), jwks }
    }

    fn publish(&self) {
        self.0.plane.publish_token_keys(self.published());
    }
}

/// Looks after the keys until stopped.
pub async fn run(tokens: Tokens, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = tokens.turn() {
            tracing::error!(error = &error as &dyn std::error::Error, "the keys for tokens stay as they are");
        }
    }
}
