//! Asks the ticket system whether a ticket is open.
//!
//! No answer means no: only a 200 with JSON in which the configured place holds one of the configured states is open. What is asked
//! about is a claim of a caller, so it is refused before any call unless it is a plain name, and it is one percent-encoded segment of the
//! URL, which cannot lead anywhere else. Everything is bounded: time, answer, questions at once, answers that are kept.

use crate::config::TicketConfig;
use crate::identity::keyfile::{self, FileError, Secrecy};
use crate::identity::tls::{UpstreamError, system_roots, upstream_config};
use crate::runtime::clock::Mono;
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long it is believed that a ticket is open. That one is not open is never kept.
const BELIEVED: Duration = Duration::from_secs(30);
/// Open tickets that are kept.
const KEPT: usize = 1_024;
/// Questions at once; more wait, within their own time.
const AT_ONCE: usize = 32;
/// Bytes of an answer.
const ANSWER: usize = 256 << 10;
/// Bytes of a ticket's name.
const LONGEST: usize = 64;

/// What the ticket system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The ticket is open.
    Open,
    /// It is not: it is in another state, or there is none of that name.
    Closed,
    /// There was no answer that can be understood. It counts as not open.
    Unknown,
}

impl Answer {
    /// The verified fact for a request: `None` if there was no answer.
    #[must_use]
    pub fn fact(self) -> Option<bool> {
        match self {
            Self::Open => Some(true),
            Self::Closed => Some(false),
            Self::Unknown => None,
        }
    }
}

/// A text that is no ticket's name; nobody was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ticket: expected 1 to 64 letters, digits or any of `._#-`, not only dots")]
pub struct NoTicket;

/// Why tickets cannot be asked about.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file with the header's value.
    #[error("the secret of the ticket system cannot be read: {0}")]
    Secret(#[source] FileError),
    /// Its content, or the header's name, cannot be sent.
    #[error(
        "`tickets.header`, or the content of `tickets.secret_file`, is no HTTP header: write one line, for instance `Bearer TOKEN`"
    )]
    Header,
    /// The CA file.
    #[error("cannot read `{path}`, the `ca` of the ticket system")]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no system root store.
    #[error(
        "the ticket system is reached over https, and this system has no CA certificates: install `ca-certificates` or set `ca`"
    )]
    NoSystemRoots,
    /// The roots are of no use.
    #[error("the CA certificates for the ticket system cannot be used")]
    Roots(#[from] UpstreamError),
    /// TLS, or the HTTP client.
    #[error("the ticket system's URL is not usable")]
    Client,
}

/// Asks one ticket system.
#[derive(Debug)]
pub struct Tickets {
    config: TicketConfig,
    client: Client,
    room: Semaphore,
    open: Mutex<BTreeMap<String, Mono>>,
}

impl Tickets {
    /// From the configuration; the secret must be there, and is read again for each question.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(config: TicketConfig) -> Result<Self, SetupError> {
        header(&config)?;
        let roots = match (&config.ca, config.url.url().is_encrypted()) {
            (Some(path), true) => {
                Some(std::fs::read(path).map_err(|source| SetupError::Ca { path: path.clone(), source })?)
            }
            (None, true) => Some(system_roots().ok_or(SetupError::NoSystemRoots)?),
            (_, false) => None,
        };
        let encrypted = roots.is_some();
        let tls = match roots {
            Some(roots) => (*upstream_config(&roots, &[b"http/1.1"])?).clone(),
            None => crate::identity::tls::trusting_nobody().map_err(|_| SetupError::Client)?,
        };
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .http1_only()
            .https_only(encrypted)
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|_| SetupError::Client)?;
        Ok(Self { config, client, room: Semaphore::new(AT_ONCE), open: Mutex::default() })
    }

    /// Whether a ticket is open, at `now`.
    ///
    /// # Errors
    /// [`NoTicket`] for what cannot be one.
    pub async fn check(&self, ticket: &str, now: Mono) -> Result<Answer, NoTicket> {
        let encoded = encoded(ticket)?;
        self.open.lock().retain(|_, since| now.since(*since) < BELIEVED);
        if self.open.lock().contains_key(ticket) {
            return Ok(Answer::Open);
        }
        let answer = tokio::time::timeout(self.config.timeout, self.ask(&encoded)).await;
        let answer = answer.ok().flatten().unwrap_or(Answer::Unknown);
        if answer == Answer::Open {
            let mut open = self.open.lock();
            if open.len() < KEPT {
                open.insert(ticket.to_owned(), now);
            }
        }
        Ok(answer)
    }

    /// `None` where there was no answer that can be understood.
    async fn ask(&self, encoded: &str) -> Option<Answer> {
        let _permit = self.room.acquire().await.ok()?;
        let url = Url::parse(&self.config.url.of(encoded)).ok()?;
        let mut request = self
            .client
            .get(url)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("jitgate/", env!("CARGO_PKG_VERSION")));
        match header(&self.config) {
            Ok(Some((name, value))) => request = request.header(name, value),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "tickets cannot be asked about");
                return None;
            }
        }
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(error = %error.without_url(), "the ticket system does not answer");
                return None;
            }
        };
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Some(Answer::Closed),
            status => {
                tracing::warn!(status = status.as_u16(), "the ticket system's answer is none");
                return None;
            }
        }
        let kind = answer.headers().get(CONTENT_TYPE)?.to_str().ok()?;
        let kind = kind.split(';').next().unwrap_or(kind).trim().to_ascii_lowercase();
        if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json")) {
            return None;
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.ok()? {
            if body.len().saturating_add(chunk.len()) > ANSWER {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        let body: Value = serde_json::from_slice(&body).ok()?;
        let state = body.pointer(&self.config.pointer)?.as_str()?;
        Some(if self.config.open.contains(state) { Answer::Open } else { Answer::Closed })
    }
}

/// The header that proves who asks.
fn header(config: &TicketConfig) -> Result<Option<(HeaderName, HeaderValue)>, SetupError> {
    let Some((name, file)) = &config.header else { return Ok(None) };
    let bytes = keyfile::read(file, Secrecy::Private).map_err(SetupError::Secret)?;
    let mut value = HeaderValue::from_bytes(bytes.trim_ascii()).map_err(|_| SetupError::Header)?;
    if value.is_empty() {
        return Err(SetupError::Header);
    }
    value.set_sensitive(true);
    Ok(Some((name.parse().map_err(|_| SetupError::Header)?, value)))
}

/// A ticket's name as one segment of a path. `.` and `..` are no names: URLs understand them, also encoded.
fn encoded(ticket: &str) -> Result<String, NoTicket> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._#-".contains(&byte);
    let named = (1..=LONGEST).contains(&ticket.len()) && ticket.bytes().all(good);
    if !named || ticket.bytes().all(|byte| byte == b'.') {
        return Err(NoTicket);
    }
    Ok(ticket.replace('#', "%23"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_name_is_asked_about() {
        assert_eq!(encoded("INC-4711").unwrap(), "INC-4711");
        assert_eq!(encoded("org.repo#12").unwrap(), "org.repo%2312");
        let long = "x".repeat(65);
        for hostile in
            ["", ".", "..", "...", "a/b", "../x", "a?b", "a%2fb", "a b", "a\r\nx", "é", "a\\b", "a@b", &long]
        {
            assert_eq!(encoded(hostile), Err(NoTicket), "{hostile}");
        }
    }
}
