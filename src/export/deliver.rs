//! From records to what the receiver of one export takes, in one attempt.

use super::file::FileSink;
use super::http::HttpSink;
use super::ocsf;
use super::otlp::{self, Whose};
use super::record::{Form, Record};
use super::stream::StreamSink;
use super::syslog;
use crate::config::{ExportConfig, ExportTarget};
use crate::identity::keyfile::FileError;
use crate::identity::receiver::ReceiverError;
use std::time::Duration;

/// OCSF events are sent in bodies of about so many bytes: an event of the log may be about thousands of grants.
const BODY: usize = 2 << 20;

/// Why an export cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("export `{name}`: {source}")]
pub struct SetupError {
    /// Which.
    pub name: String,
    /// Why.
    pub source: SinkError,
}

/// What is wrong with where an export goes.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Its TLS.
    #[error(transparent)]
    Tls(#[from] ReceiverError),
    /// The header's value.
    #[error(transparent)]
    Secret(#[from] FileError),
    /// What the header's file holds.
    #[error(
        "the content of `secret_file` is no value of a header: write one line, for instance `Bearer TOKEN`"
    )]
    Header,
    /// The URL.
    #[error("its URL is not usable")]
    Url,
    /// Its thread.
    #[error("no thread can be started for it: {0}")]
    Thread(#[source] std::io::Error),
}

/// What became of an attempt that did not succeed.
#[derive(Debug)]
pub(super) enum Failed {
    /// It is made again: the receiver cannot be reached, is busy, or does not let us in.
    Later {
        /// Why.
        why: String,
        /// How long the receiver asks us to wait.
        after: Option<Duration>,
        /// It took too long: it may be able to take less.
        slow: bool,
    },
    /// The receiver will never take this.
    Refused {
        /// Why.
        why: String,
    },
}

impl Failed {
    pub(super) fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None, slow: false }
    }

    pub(super) fn slow(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None, slow: true }
    }
}

/// How many records the receiver took the request for, but not in; 0 where it took all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) rejected: u64,
}

/// Where one export goes.
pub(super) enum Sink {
    OcsfHttp(HttpSink),
    OcsfFile(FileSink),
    Otlp(HttpSink, Whose),
    Syslog(StreamSink, Whose),
}

impl Sink {
    pub(super) fn new(config: &ExportConfig, origin: &str, host: &str) -> Result<Self, SinkError> {
        let whose = || Whose { origin: origin.to_owned(), host: host.to_owned() };
        Ok(match &config.target {
            ExportTarget::OcsfHttp(to) => {
                Self::OcsfHttp(HttpSink::new(to.clone(), "application/x-ndjson", config.timeout)?)
            }
            ExportTarget::OcsfFile(path) => Self::OcsfFile(FileSink::new(path.clone())),
            ExportTarget::Otlp(to) => {
                Self::Otlp(HttpSink::new(to.clone(), "application/x-protobuf", config.timeout)?, whose())
            }
            ExportTarget::Syslog(to) => Self::Syslog(StreamSink::new(to.clone(), config.timeout)?, whose()),
        })
    }

    /// What records are read for.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::OcsfHttp(_) | Self::OcsfFile(_) => Form::Ocsf,
            Self::Otlp(..) | Self::Syslog(..) => Form::Fields,
        }
    }

    /// One attempt to hand these records over. It has succeeded when the receiver has confirmed them.
    pub(super) async fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failed> {
        match self {
            Self::OcsfHttp(sink) => {
                for body in ocsf::bodies(records, BODY) {
                    sink.post(body).await?;
                }
                Ok(Taken::default())
            }
            Self::OcsfFile(sink) => {
                for body in ocsf::bodies(records, BODY) {
                    sink.append(&body).map_err(|error| Failed::later(error.to_string()))?;
                }
                Ok(Taken::default())
            }
            Self::Otlp(sink, whose) => {
                let answer = sink.post(otlp::request(records, whose)).await?;
                let answer = answer.as_deref().and_then(otlp::rejected);
                // Whatever answers so, it may be no receiver at all: a page of maintenance is a success, too.
                let answer = answer.ok_or_else(|| Failed::later("it does not answer as OTLP does"))?;
                let Some((rejected, why)) = answer else { return Ok(Taken::default()) };
                // The protocol forbids to send it again.
                tracing::error!(
                    rejected,
                    why,
                    "a receiver of OTLP took a request and rejected records in it"
                );
                Ok(Taken { rejected })
            }
            Self::Syslog(sink, whose) => {
                sink.send(&syslog::frames(records, whose)).await?;
                Ok(Taken::default())
            }
        }
    }
}
