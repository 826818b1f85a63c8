//! The token of the grant, for services that demand one beside the certificate. The command never gets to see it.
//!
//! Who keeps it fresh is told when it did not do any more; until there is another, requests go without.

use crate::runtime::clock::Mono;
use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::Notify;

/// What the gate says where a token is missing (RFC 6750 section 3), and where one does not hold.
const DEMANDED: &[u8] = b"Bearer realm=\"jitgate\"";
const REFUSED: &[u8] = b"Bearer realm=\"jitgate\", error=\"invalid_token\"";

/// A token, as long as it holds.
#[derive(Default)]
pub(in crate::cli) struct Bearer {
    held: Mutex<Option<Held>>,
    wanting: Notify,
}

struct Held {
    value: HeaderValue,
    until: Mono,
}

impl Bearer {
    /// Takes over a token that holds for so long.
    pub(in crate::cli) fn set(&self, token: &str, holds: Duration) -> bool {
        let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}")) else { return false };
        value.set_sensitive(true);
        *self.held.lock() = Some(Held { value, until: Mono::now().plus(holds) });
        true
    }

    /// There is none any more.
    pub(in crate::cli) fn clear(&self) {
        self.held.lock().take();
    }

    /// Whether there is none that holds.
    pub(in crate::cli) fn is_wanting(&self) -> bool {
        self.value().is_none()
    }

    /// Until the gate has refused one.
    pub(in crate::cli) async fn refused(&self) {
        self.wanting.notified().await;
    }

    /// The value for `authorization`.
    pub(super) fn value(&self) -> Option<HeaderValue> {
        let held = self.held.lock();
        held.as_ref().filter(|held| Mono::now() < held.until).map(|held| held.value.clone())
    }

    /// Learns from an answer to a request that went with `sent`: what the gate refused once does not hold.
    pub(super) fn learn<B>(&self, sent: &HeaderValue, answer: &Response<B>) {
        if answer.status() != StatusCode::UNAUTHORIZED || !says(answer.headers(), REFUSED) {
            return;
        }
        let mut held = self.held.lock();
        if held.as_ref().is_some_and(|held| held.value == *sent) {
            held.take();
            self.wanting.notify_one();
        }
    }
}

/// Whether an answer says that a token of the grant is missing.
pub(super) fn is_demanded<B>(answer: &Response<B>) -> bool {
    answer.status() == StatusCode::UNAUTHORIZED && says(answer.headers(), DEMANDED)
}

fn says(headers: &HeaderMap, challenge: &[u8]) -> bool {
    headers.get_all(WWW_AUTHENTICATE).iter().any(|value| value.as_bytes() == challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, challenges: &[&'static str]) -> Response<()> {
        let mut answer = Response::builder().status(status).body(()).unwrap();
        for challenge in challenges {
            answer.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        answer
    }

    #[test]
    fn a_demand_is_the_gates_own_words_alone() {
        let user = "Bearer realm=\"jitgate\", token=\"user\"";
        assert!(is_demanded(&answer(401, &["Bearer realm=\"jitgate\""])));
        assert!(is_demanded(&answer(401, &[user, "Bearer realm=\"jitgate\""])));
        for other in
            [answer(403, &["Bearer realm=\"jitgate\""]), answer(401, &[user]), answer(401, &["Basic"])]
        {
            assert!(!is_demanded(&other), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_token_is_used_until_it_ends_or_is_refused() {
        let bearer = Bearer::default();
        assert!(bearer.is_wanting());
        assert!(bearer.set("a", Duration::from_secs(60)) && !bearer.set("a\n", Duration::from_secs(60)));
        let sent = bearer.value().unwrap();
        assert!(sent == "Bearer a" && sent.is_sensitive());
        let refused = answer(401, &["Bearer realm=\"jitgate\", error=\"invalid_token\""]);
        bearer.learn(&HeaderValue::from_static("Bearer b"), &refused);
        bearer.learn(&sent, &answer(401, &["Bearer realm=\"other\", error=\"invalid_token\""]));
        assert!(!bearer.is_wanting());
        bearer.learn(&sent, &refused);
        assert!(bearer.is_wanting());
        bearer.refused().await;
        bearer.set("c", Duration::ZERO);
        assert!(bearer.is_wanting(), "it is over already");
    }
}
