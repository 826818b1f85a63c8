//! One question to one witness: `POST PREFIX/add-checkpoint`, bounded in time and in what is read.

use super::answer::{Answer, Asked};
use crate::config::{ReceiverTls, WebhookUrl, WitnessConfig};
use crate::identity::receiver::{ReceiverError, http_client, no_answer};
use crate::tlog::Hash;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Response, StatusCode, Url};
use std::fmt::Write as _;
use std::time::Duration;

/// So much of an answer is read: signature lines of a few hundred bytes.
const ANSWER: usize = 64 << 10;
/// By it a size is told from any other text.
const SIZE: &str = "text/x.tlog.size";

/// Why a witness cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("witness `{name}` cannot be asked")]
pub struct SetupError {
    name: String,
    source: ReceiverError,
}

/// Where it is asked.
pub(super) struct Line {
    prefix: WebhookUrl,
    url: Url,
    tls: ReceiverTls,
    timeout: Duration,
    /// Made anew after a failure: its CA file may be another by then.
    client: Option<Client>,
}

impl Line {
    pub(super) fn new(witness: &WitnessConfig) -> Result<Self, SetupError> {
        let failed = |source| SetupError { name: witness.name.to_string(), source };
        let url = format!("{}/add-checkpoint", witness.url.as_str());
        let url = Url::parse(&url).map_err(|_| failed(ReceiverError::Client))?;
        let client = http_client(&witness.url, &witness.tls, witness.timeout).map_err(failed)?;
        let (prefix, tls, timeout) = (witness.url.clone(), witness.tls.clone(), witness.timeout);
        Ok(Self { prefix, url, tls, timeout, client: Some(client) })
    }

    /// Shows it a checkpoint.
    pub(super) async fn ask(&mut self, asked: Asked, proof: &[Hash], note: &str) -> Answer {
        let later = |why: String| Answer::Later { why, after: None };
        let client = match self.client.take() {
            Some(client) => client,
            None => match http_client(&self.prefix, &self.tls, self.timeout) {
                Ok(client) => client,
                Err(error) => return later(error.to_string()),
            },
        };
        let request = client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .header(USER_AGENT, concat!("jitgate/", env!("CARGO_PKG_VERSION")))
            .body(body(asked.old, proof, note));
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return later(no_answer(&error).to_owned()),
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = match read(answer).await {
            Ok(text) => text,
            Err(why) => return later(why.to_owned()),
        };
        self.client = Some(client);
        meaning(status, &headers, text)
    }
}

/// What is asked.
pub(super) fn body(old: u64, proof: &[Hash], note: &str) -> String {
    let mut body = format!("old {old}\n");
    for hash in proof {
        let _ = writeln!(body, "{hash}");
    }
    body + "\n" + note
}

/// What a status means.
pub(super) fn meaning(status: StatusCode, headers: &HeaderMap, text: String) -> Answer {
    match status.as_u16() {
        200 => Answer::Signed(text),
        409 => {
            let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let is_size =
                kind.and_then(|kind| kind.split(';').next()).is_some_and(|kind| kind.trim() == SIZE);
            let size = text.strip_suffix('\n').and_then(|digits| {
                let size: u64 = digits.parse().ok()?;
                (size.to_string() == digits).then_some(size)
            });
            Answer::Conflict(size.filter(|_| is_size))
        }
        422 => Answer::Unproved,
        404 => Answer::Refused(
            "it does not know this log, or has another prefix: give its operator the log's `key.pub`, and check `url`",
        ),
        403 => Answer::Refused("it does not know the key of this log: give its operator the log's `key.pub`"),
        400 => Answer::Refused("it answered 400: it does not understand what it was asked"),
        300..400 => Answer::Refused("it redirects, which is not followed: name its final URL"),
        number @ (408 | 429 | 500..600) => {
            // Seconds alone: a date would be by its clock.
            let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Answer::Later { why: format!("it answered {number}"), after: after.map(Duration::from_secs) }
        }
        _ => Answer::Refused("it answered what no witness answers: check `url`"),
    }
}

async fn read(mut answer: Response) -> Result<String, &'static str> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err("its answer is too long"),
            Ok(None) => return String::from_utf8(body).map_err(|_| "its answer is no text"),
            Err(_) => return Err("its answer broke off"),
        }
    }
}
