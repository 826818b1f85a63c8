//! The public keys of an outside issuer: from a file or from the web, kept fresh, believed for a bounded time.
//!
//! What cannot be read changes nothing and is tried again with growing pauses; keys that could not be confirmed for [`BELIEVED`]
//! are no longer used. Everything is bounded: time, size, how often somebody's unknown key makes us ask.

use crate::config::{IssuerConfig, KeySource};
use crate::identity::keyfile::{self, FileError, Secrecy};
use crate::identity::tls::{UpstreamError, system_roots, trusting_nobody, upstream_config};
use crate::identity::token::{KeySet, KeySetError};
use crate::model::JwsAlgorithm;
use crate::runtime::clock::Mono;
use arc_swap::ArcSwapOption;
use reqwest::header::{ACCEPT, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How often keys on the web are fetched.
const FETCH: Duration = Duration::from_secs(600);
/// How often a file is read.
const READ: Duration = Duration::from_secs(10);
/// The pause after a first failure; it doubles up to `FETCH`.
const PAUSE: Duration = Duration::from_secs(2);
/// At most so often, whoever brings tokens with unknown keys.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long keys that cannot be confirmed are believed.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);
/// How long one fetch may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long somebody with an unknown key waits for newer ones.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of a key set.
const MAX_SET: usize = 256 << 10;

/// Why an issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file with the keys.
    #[error("the keys of issuer `{issuer}` cannot be read")]
    File {
        /// Which issuer.
        issuer: String,
        /// Why.
        #[source]
        source: FileError,
    },
    /// Its content.
    #[error("the keys of issuer `{issuer}` cannot be used")]
    Keys {
        /// Which issuer.
        issuer: String,
        /// Why.
        #[source]
        source: KeySetError,
    },
    /// There is no system root store.
    #[error(
        "the keys of an issuer are reached over https, and this system has no CA certificates: install `ca-certificates` or set `ca`"
    )]
    NoSystemRoots,
    /// The CA file.
    #[error("the `ca` of an issuer cannot be read")]
    Ca(#[from] FileError),
    /// The roots are of no use.
    #[error("the CA certificates for an issuer's keys cannot be used")]
    Roots(#[from] UpstreamError),
    /// TLS, or the HTTP client.
    #[error("the URL of the keys of issuer `{issuer}` is not usable")]
    Client {
        /// Which issuer.
        issuer: String,
    },
}

/// Why keys could not be had this time.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the file cannot be read")]
    File(#[from] FileError),
    #[error("the server cannot be reached")]
    Reach(#[from] reqwest::Error),
    #[error("the server answers {0}")]
    Status(StatusCode),
    #[error("the answer is larger than 256 KiB")]
    TooLarge,
    #[error(transparent)]
    Keys(#[from] KeySetError),
}

struct Loaded {
    keys: Arc<KeySet>,
    /// What they were read from: the same text makes the same keys, for whoever remembers what they verified.
    text: Box<[u8]>,
    at: Mono,
}

/// The keys of one issuer.
pub(super) struct Keys {
    issuer: String,
    source: Source,
    algorithms: Vec<JwsAlgorithm>,
    loaded: ArcSwapOption<Loaded>,
    wanted: Notify,
    attempts: watch::Sender<u64>,
}

enum Source {
    File(PathBuf),
    Web { client: Client, url: Url },
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Keys {
    pub(super) fn new(config: &IssuerConfig) -> Result<Self, SetupError> {
        let issuer = config.issuer.clone();
        let source = match &config.keys {
            KeySource::File(path) => Source::File(path.clone()),
            KeySource::Url { url, ca } => {
                let unusable = || SetupError::Client { issuer: issuer.clone() };
                let tls = match (ca, url.is_encrypted()) {
                    (_, false) => trusting_nobody().map_err(|_| unusable())?,
                    (Some(path), true) => {
                        (*upstream_config(&keyfile::read(path, Secrecy::Public)?, &[b"http/1.1"])?).clone()
                    }
                    (None, true) => {
                        let roots = system_roots().ok_or(SetupError::NoSystemRoots)?;
                        (*upstream_config(&roots, &[b"http/1.1"])?).clone()
                    }
                };
                let client = Client::builder()
                    .no_proxy()
                    .redirect(Policy::none())
                    .referer(false)
                    .http1_only()
                    .https_only(url.is_encrypted())
                    .timeout(TIMEOUT)
                    .pool_max_idle_per_host(0)
                    .tls_backend_preconfigured(tls)
                    .build()
                    .map_err(|_| unusable())?;
                Source::Web { client, url: Url::parse(url.as_str()).map_err(|_| unusable())? }
            }
        };
        let keys = Self {
            source,
            algorithms: config.algorithms.iter().copied().collect(),
            loaded: ArcSwapOption::empty(),
            wanted: Notify::new(),
            attempts: watch::Sender::new(0),
            issuer,
        };
        if let Source::File(path) = &keys.source {
            let issuer = || keys.issuer.clone();
            let text = keyfile::read(path, Secrecy::Public)
                .map_err(|source| SetupError::File { issuer: issuer(), source })?;
            keys.read(&text).map_err(|source| SetupError::Keys { issuer: issuer(), source })?;
        }
        Ok(keys)
    }

    /// Takes over what a source says; nothing of it if it is no set of keys.
    fn read(&self, text: &[u8]) -> Result<(), KeySetError> {
        let known = self.loaded.load_full().filter(|loaded| *loaded.text == *text);
        let keys = match known {
            Some(loaded) => Arc::clone(&loaded.keys),
            None => Arc::new(KeySet::parse(text, &self.algorithms)?),
        };
        self.loaded.store(Some(Arc::new(Loaded { keys, text: text.into(), at: Mono::now() })));
        Ok(())
    }

    /// The keys, unless they are older than is believed.
    pub(super) fn current(&self, now: Mono) -> Option<Arc<KeySet>> {
        let loaded = self.loaded.load_full()?;
        (now.since(loaded.at) < BELIEVED).then(|| Arc::clone(&loaded.keys))
    }

    /// The keys after another look at their source, which is not taken more often than once a second; `None` if that failed or
    /// takes too long.
    pub(super) async fn newer(&self) -> Option<Arc<KeySet>> {
        let mut attempts = self.attempts.subscribe();
        self.wanted.notify_one();
        tokio::time::timeout(PATIENCE, attempts.changed()).await.ok()?.ok()?;
        self.current(Mono::now())
    }

    /// Keeps the keys fresh; never returns.
    pub(super) async fn keep(&self) {
        let usual = match &self.source {
            Source::File(_) => READ,
            Source::Web { .. } => FETCH,
        };
        let mut failures = 0_u32;
        loop {
            match self.fetch().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(
                        issuer = self.issuer,
                        error = &error as &dyn std::error::Error,
                        "the issuer's keys stay as they are"
                    );
                }
            }
            self.attempts.send_modify(|attempts| *attempts = attempts.wrapping_add(1));
            let pause = match failures {
                0 => usual,
                failures => PAUSE.saturating_mul(1 << failures.min(10).saturating_sub(1)).min(usual),
            };
            tokio::time::sleep(SHORTEST).await;
            tokio::select! {
                () = self.wanted.notified() => {}
                () = tokio::time::sleep(pause.saturating_sub(SHORTEST)) => {}
            }
        }
    }

    async fn fetch(&self) -> Result<(), FetchError> {
        let text = match &self.source {
            Source::File(path) => keyfile::read(path, Secrecy::Public)?,
            Source::Web { client, url } => {
                let request = client
                    .get(url.clone())
                    .header(ACCEPT, "application/jwk-set+json, application/json")
                    .header(USER_AGENT, concat!("jitgate/", env!("CARGO_PKG_VERSION")));
                let mut response = request.send().await?;
                if response.status() != StatusCode::OK {
                    return Err(FetchError::Status(response.status()));
                }
                let mut text = Vec::new();
                while let Some(piece) = response.chunk().await? {
                    if text.len() + piece.len() > MAX_SET {
                        return Err(FetchError::TooLarge);
                    }
                    text.extend_from_slice(&piece);
                }
                text
            }
        };
        Ok(self.read(&text)?)
    }
}
