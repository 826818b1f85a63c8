//! The bearer token of a request (RFC 6750): ours, somebody else's, or none.
//!
//! A token of ours holds, or the request is refused; it is never passed on. What is not ours is none of the gate's business: it
//! narrows nothing and permits nothing. Each connection remembers a few that it has seen, by their digest, so that a repeated one
//! costs no signature check; the time is looked at again each time, and other keys forget everything.

use crate::identity::Peer;
use crate::identity::token::{GateKeys, GrantToken, TokenFault};
use crate::model::{GrantId, Time};
use aws_lc_rs::digest;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use parking_lot::Mutex;
use std::sync::Arc;

/// Tokens that a connection remembers.
const REMEMBERED: usize = 4;

/// Whose the `authorization` of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// There is none, or it is not ours.
    Foreign,
    /// A token of ours that holds: only this grant counts.
    Ours(GrantId),
}

impl Bearer {
    /// The grant that alone counts.
    pub(crate) fn grant(self) -> Option<GrantId> {
        match self {
            Self::Foreign => None,
            Self::Ours(grant) => Some(grant),
        }
    }
}

/// SHA-256 of a token: what is remembered must not hold on to the caller's bytes.
pub(super) type Fingerprint = [u8; 32];

#[derive(Clone, Copy)]
enum Known {
    Foreign,
    Ours(GrantToken),
}

/// What one connection remembers.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    keys: Option<Arc<GateKeys>>,
    /// The latest last.
    seen: Vec<(Fingerprint, Known)>,
}

impl Remembered {
    /// Looks at the bearer token of a request that came on this connection. `keys` are those of now; without any, no token holds.
    ///
    /// # Errors
    /// [`TokenFault`]: it means to be a token of ours, and does not hold.
    pub(crate) fn bearer(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        keys: Option<Arc<GateKeys>>,
        now: Time,
    ) -> Result<Bearer, TokenFault> {
        // The view refuses a second one.
        let Some(value) = headers.get(AUTHORIZATION) else { return Ok(Bearer::Foreign) };
        let Some(token) = token_of(value) else { return Ok(Bearer::Foreign) };
        // Nobody can tell whose it is.
        let keys = keys.ok_or(TokenFault::UnknownKey)?;
        let fingerprint = fingerprint(token);
        let known = match self.recall(&keys, &fingerprint) {
            Some(known) => known,
            None => {
                let known = match keys.is_ours(token) {
                    true => Known::Ours(keys.verify(token, peer, now)?),
                    false => Known::Foreign,
                };
                self.remember(&keys, fingerprint, known);
                known
            }
        };
        match known {
            Known::Foreign => Ok(Bearer::Foreign),
            Known::Ours(token) => Ok(Bearer::Ours(token.at(now)?.grant())),
        }
    }

    fn recall(&self, keys: &Arc<GateKeys>, token: &Fingerprint) -> Option<Known> {
        let mut memory = self.0.lock();
        if !memory.keys.as_ref().is_some_and(|known| Arc::ptr_eq(known, keys)) {
            *memory = Memory { keys: Some(Arc::clone(keys)), seen: Vec::new() };
        }
        memory.seen.iter().find(|(seen, _)| seen == token).map(|(_, known)| *known)
    }

    /// Nothing if other keys have come meanwhile: what held by the old ones does not count.
    fn remember(&self, keys: &Arc<GateKeys>, token: Fingerprint, known: Known) {
        let mut memory = self.0.lock();
        if !memory.keys.as_ref().is_some_and(|known| Arc::ptr_eq(known, keys)) {
            return;
        }
        if memory.seen.len() >= REMEMBERED {
            memory.seen.remove(0);
        }
        memory.seen.push((token, known));
    }
}

pub(super) fn fingerprint(token: &str) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    fingerprint
}

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1); none of another scheme. The scheme's case does not matter (RFC 9110 section
/// 11.1).
pub(super) fn token_of(value: &HeaderValue) -> Option<&str> {
    let value = std::str::from_utf8(value.as_bytes()).ok()?;
    let (scheme, token) = value.split_once([' ', '\t']).unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::token::tests::{AGENT, HEADER, NOW, Signer, claims};

    #[test]
    fn a_token_that_held_is_looked_at_again_when_time_or_keys_have_changed() {
        let (signer, peer) = (Signer::new("k"), Peer::for_tests(AGENT, Time::MAX));
        let token = signer.sign(HEADER, &claims().to_string());
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap());
        let (keys, at) = (Arc::new(signer.keys()), |seconds: i64| Time::from_micros(seconds * 1_000_000));
        let remembered = Remembered::default();
        let ask = |keys: &Arc<GateKeys>, now| remembered.bearer(&headers, &peer, Some(Arc::clone(keys)), now);
        let ours = Ok(Bearer::Ours(GrantId::from_bits(7)));
        assert_eq!(ask(&keys, at(NOW)), ours);
        assert_eq!((ask(&keys, at(NOW + 9)), remembered.0.lock().seen.len()), (ours, 1));
        assert_eq!(ask(&keys, at(NOW + 10)), Err(TokenFault::Expired));
        let others = Arc::new(Signer::new("k").keys());
        assert_eq!(ask(&others, at(NOW)), Err(TokenFault::Signature));
        assert_eq!(remembered.bearer(&headers, &peer, None, at(NOW)), Err(TokenFault::UnknownKey));
        // Keys that come between the look and the note: nothing is noted for them.
        let (fingerprint, token) = ([0; 32], Known::Foreign);
        assert!(
            remembered.recall(&keys, &fingerprint).is_none()
                && remembered.recall(&others, &fingerprint).is_none()
        );
        remembered.remember(&keys, fingerprint, token);
        assert!(remembered.recall(&others, &fingerprint).is_none());
        // What was remembered is bounded, whoever fills it.
        for number in 0..100 {
            headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {number}")).unwrap());
            let foreign = remembered.bearer(&headers, &peer, Some(Arc::clone(&keys)), at(NOW));
            assert_eq!(foreign, Ok(Bearer::Foreign));
        }
        assert_eq!(remembered.0.lock().seen.len(), REMEMBERED);
    }

    #[test]
    fn the_scheme_is_read_as_others_read_it() {
        for (value, token) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bEARER  a.b.c", Some("a.b.c")),
            ("Bearer\ta.b.c", Some("a.b.c")),
            ("Bearer", Some("")),
            ("Basic a.b.c", None),
            ("Bearera.b.c", None),
            ("DPoP a.b.c", None),
        ] {
            assert_eq!(token_of(&HeaderValue::from_static(value)), token, "{value}");
        }
    }
}
