//! One attempt over HTTP: signed, bounded in time, no redirect followed, nothing of the answer used but its status and
//! `Retry-After`.
//!
//! Where it goes is the operator's word alone: no text of a caller is ever part of a URL or header, and no proxy of the environment
//! is used.

use crate::config::{WebhookConfig, WebhookFormat};
use crate::control::notify::queue::{Attempt, Delivery};
use crate::control::notify::sign::{SecretError, Secrets};
use crate::identity::tls::{UpstreamError, system_roots, trusting_nobody, upstream_config};
use crate::model::Time;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use std::path::PathBuf;
use std::time::Duration;

/// Why a webhook cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Its secrets.
    #[error(transparent)]
    Secrets(#[from] SecretError),
    /// Its CA file.
    #[error("cannot read `{path}`, the `ca` of webhook `{name}`")]
    Ca {
        /// Which webhook.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no system root store.
    #[error(
        "webhook `{name}` is reached over https, and this system has no CA certificates: install `ca-certificates` or set `ca`"
    )]
    NoSystemRoots {
        /// Which webhook.
        name: String,
    },
    /// The roots are of no use.
    #[error("the CA certificates for webhook `{name}` cannot be used")]
    Roots {
        /// Which webhook.
        name: String,
        /// Why.
        #[source]
        source: UpstreamError,
    },
    /// The HTTP client cannot be built, or does not take the URL.
    #[error("webhook `{name}` cannot be set up: its URL is not usable")]
    Client {
        /// Which webhook.
        name: String,
    },
}

/// Sends to one receiver.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    url: Url,
    secret_file: Option<PathBuf>,
    chat: bool,
}

impl Sender {
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, SetupError> {
        let name = || config.name.to_string();
        if let Some(file) = &config.secret_file {
            Secrets::load(file)?;
        }
        let unusable = |_| SetupError::Client { name: name() };
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(1)
            .timeout(config.timeout);
        if config.url.is_encrypted() {
            let roots = match &config.ca {
                Some(path) => std::fs::read(path).map_err(|source| SetupError::Ca {
                    name: name(),
                    path: path.clone(),
                    source,
                })?,
                None => system_roots().ok_or_else(|| SetupError::NoSystemRoots { name: name() })?,
            };
            let tls = upstream_config(&roots, &[b"http/1.1"])
                .map_err(|source| SetupError::Roots { name: name(), source })?;
            builder = builder.https_only(true).tls_backend_preconfigured((*tls).clone());
        } else {
            let tls = trusting_nobody().map_err(|_| SetupError::Client { name: name() })?;
            builder = builder.tls_backend_preconfigured(tls);
        }
        Ok(Self {
            client: builder.build().map_err(unusable)?,
            url: Url::parse(config.url.as_str()).map_err(|_| SetupError::Client { name: name() })?,
            secret_file: config.secret_file.clone(),
            chat: config.format == WebhookFormat::Chat,
        })
    }

    /// One attempt at `now`, wall time: receivers compare it with their own clock.
    pub(super) async fn attempt(&self, delivery: &Delivery, now: Time) -> Attempt {
        let failed = |why: String| Attempt::Failed { why, retry_after: None };
        let timestamp = now.as_millis() / 1_000;
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("jitgate/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &delivery.id)
            .header("webhook-timestamp", timestamp);
        if let Some(file) = &self.secret_file {
            // Read for each attempt: a new secret counts from the moment at which it is in the file.
            let signature = match Secrets::load(file) {
                Ok(secrets) => secrets.sign(&delivery.id, timestamp, &delivery.body),
                Err(error) => return failed(error.to_string()),
            };
            request = request.header("webhook-signature", signature);
        } else if !self.chat {
            return failed("there is no secret to sign with".to_owned());
        }
        match request.body(delivery.body.clone()).send().await {
            // The body of the answer is never read; dropping it closes the connection if it is long.
            Ok(answer) => read(answer.status(), answer.headers()),
            Err(error) => failed(explain(&error)),
        }
    }
}

/// What an answer means.
fn read(status: StatusCode, headers: &HeaderMap) -> Attempt {
    if status.is_success() {
        return Attempt::Delivered;
    }
    if status == StatusCode::GONE {
        return Attempt::Gone;
    }
    let asked = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    // Seconds alone: a date would be by the receiver's clock.
    let seconds =
        headers.get(RETRY_AFTER).filter(|_| asked).and_then(|value| value.to_str().ok()?.parse().ok());
    let why = if status.is_redirection() {
        format!("the receiver answered {}: redirects are not followed, name its final URL", status.as_u16())
    } else {
        format!("the receiver answered {}", status.as_u16())
    };
    Attempt::Failed { why, retry_after: seconds.map(Duration::from_secs) }
}

/// Why there was no answer, without the URL, whose path may be a secret.
fn explain(error: &reqwest::Error) -> String {
    let what = if error.is_timeout() {
        "the receiver did not answer in time"
    } else if error.is_connect() {
        "the receiver cannot be reached, or its certificate is not accepted"
    } else {
        "the connection to the receiver broke"
    };
    what.to_owned()
}
