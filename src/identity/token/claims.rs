//! The claims of a token whose signature holds, each read with the one type that it has (RFC 7519 section 4.1).

use crate::identity::token::TokenFault;
use crate::model::Time;
use serde_json::{Map, Value};
use std::time::Duration;

/// Verified claims. Only [`super::Jws::verify`] makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn verified(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// A claim as it is.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All of them.
    #[must_use]
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A text.
    ///
    /// # Errors
    /// [`TokenFault::Claims`] if it is there and is none.
    pub fn text(&self, name: &str) -> Result<Option<&str>, TokenFault> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TokenFault::Claims),
        }
    }

    /// One text or a list of texts.
    ///
    /// # Errors
    /// [`TokenFault::Claims`] if it is there and is neither.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>, TokenFault> {
        match self.0.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().ok_or(TokenFault::Claims)).collect()
            }
            Some(_) => Err(TokenFault::Claims),
        }
    }

    /// A point in time: seconds since the Unix epoch, whole or not (`NumericDate`).
    ///
    /// # Errors
    /// [`TokenFault::Claims`] if it is there and is none.
    pub fn time(&self, name: &str) -> Result<Option<Time>, TokenFault> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let micros = match (value.as_i64(), value.as_f64()) {
            (Some(seconds), _) => seconds.checked_mul(1_000_000),
            // Beyond 2^43 seconds a fraction means nothing any more, and before the epoch no token was made.
            (None, Some(seconds)) if (0.0..8e12).contains(&seconds) =>
            {
                #[allow(clippy::cast_possible_truncation, reason = "below 2^63: the range was just checked")]
                Some((seconds * 1e6) as i64)
            }
            (None, _) => None,
        };
        micros.map(|micros| Some(Time::from_micros(micros))).ok_or(TokenFault::Claims)
    }

    /// That it is for this audience.
    ///
    /// # Errors
    /// [`TokenFault::Audience`], [`TokenFault::Claims`].
    pub fn is_for(&self, audience: &str) -> Result<(), TokenFault> {
        if self.texts("aud")?.contains(&audience) { Ok(()) } else { Err(TokenFault::Audience) }
    }

    /// When it begins and ends, if it is valid at `now`: `exp` is needed, `nbf` counts where it is there. Whoever made it may have a
    /// clock that is `ahead` of ours.
    ///
    /// # Errors
    /// [`TokenFault::Expired`], [`TokenFault::NotYetValid`], [`TokenFault::Claims`].
    pub fn window(&self, now: Time, ahead: Duration) -> Result<(Option<Time>, Time), TokenFault> {
        let from = self.time("nbf")?;
        let until = self.time("exp")?.ok_or(TokenFault::Claims)?;
        if now >= until {
            return Err(TokenFault::Expired);
        }
        if from.is_some_and(|from| now.plus(ahead) < from) {
            return Err(TokenFault::NotYetValid);
        }
        Ok((from, until))
    }
}
