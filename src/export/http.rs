//! One attempt over HTTP: verified, bounded in time, no redirect followed. What an answer means follows OTLP/HTTP, on the safe side:
//! only what is about the content itself ends with a refusal, everything else is tried again.

use super::deliver::{Failed, Less, SinkError};
use crate::config::HttpReceiver;
use crate::identity::keyfile::{self, Secrecy};
use crate::identity::receiver::{http_client, no_answer};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Response, StatusCode, Url};
use std::time::Duration;

/// So much of an answer is read.
const ANSWER: usize = 64 << 10;

/// A receiver over HTTP.
pub(super) struct HttpSink {
    to: HttpReceiver,
    url: Url,
    content_type: &'static str,
    timeout: Duration,
    /// Made anew after a failure: its CA file may be another by then.
    client: Option<Client>,
}

impl HttpSink {
    pub(super) fn new(
        to: HttpReceiver,
        content_type: &'static str,
        timeout: Duration,
    ) -> Result<Self, SinkError> {
        let url = Url::parse(to.url.as_str()).map_err(|_| SinkError::Url)?;
        header(&to)?;
        let client = Some(http_client(&to.url, &to.tls, timeout)?);
        Ok(Self { to, url, content_type, timeout, client })
    }

    /// Posts a body; what was answered to it, unless that is longer than anything that we know.
    pub(super) async fn post(&mut self, body: Vec<u8>) -> Result<Option<Vec<u8>>, Failed> {
        let known = |error: SinkError| Failed::later(error.to_string());
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                http_client(&self.to.url, &self.to.tls, self.timeout).map_err(|error| known(error.into()))?
            }
        };
        let mut request = client
            .post(self.url.clone())
            .header(CONTENT_TYPE, self.content_type)
            .header(USER_AGENT, concat!("jitgate/", env!("CARGO_PKG_VERSION")));
        if let Some((name, value)) = header(&self.to).map_err(known)? {
            request = request.header(name, value);
        }
        let answer = request.body(body).send().await.map_err(|error| {
            let why = no_answer(&error);
            if error.is_timeout() {
                Failed::slow(why)
            } else if error.is_connect() {
                Failed::later(why)
            } else {
                Failed::broken(why)
            }
        })?;
        meaning(answer.status(), answer.headers())?;
        let answer = read(answer).await;
        self.client = Some(client);
        Ok(answer)
    }
}

/// The header that proves who sends; its file is read for each attempt, so that a new secret counts at once.
fn header(to: &HttpReceiver) -> Result<Option<(HeaderName, HeaderValue)>, SinkError> {
    let Some((name, file)) = &to.header else { return Ok(None) };
    let bytes = keyfile::read(file, Secrecy::Private)?;
    let mut value = HeaderValue::from_bytes(bytes.trim_ascii()).map_err(|_| SinkError::Header)?;
    if value.is_empty() {
        return Err(SinkError::Header);
    }
    value.set_sensitive(true);
    Ok(Some((name.parse().map_err(|_| SinkError::Header)?, value)))
}

/// What a status means.
fn meaning(status: StatusCode, headers: &HeaderMap) -> Result<(), Failed> {
    if status.is_success() {
        return Ok(());
    }
    let number = status.as_u16();
    let why = if status.is_redirection() {
        format!("it answered {number}: redirects are not followed, name its final URL")
    } else {
        format!("it answered {number}")
    };
    if matches!(number, 400 | 413 | 422) {
        return Err(Failed::Refused { why });
    }
    // Seconds alone: a date would be by the receiver's clock.
    let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Err(Failed::Later { why, after: after.map(Duration::from_secs), less: Less::No })
}

async fn read(mut answer: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    // It has said that it took it: an answer that breaks off changes nothing.
    while let Ok(Some(chunk)) = answer.chunk().await {
        if body.len() + chunk.len() > ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_content_is_a_refusal() {
        let none = HeaderMap::new();
        let meaning =
            |status: u16, headers: &HeaderMap| meaning(StatusCode::from_u16(status).unwrap(), headers);
        for taken in [200, 202, 204] {
            assert!(meaning(taken, &none).is_ok());
        }
        for content in [400, 413, 422] {
            assert!(matches!(meaning(content, &none), Err(Failed::Refused { .. })), "{content}");
        }
        // Also what OTLP does not call retryable: nothing is lost because a token or a path was wrong for a while.
        for later in [301, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
            assert!(matches!(meaning(later, &none), Err(Failed::Later { after: None, .. })), "{later}");
        }
        let busy = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
        let Err(Failed::Later { after, .. }) = meaning(503, &busy) else { panic!("not later") };
        assert_eq!(after, Some(Duration::from_secs(7)));
    }
}
