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
const BODY: usize = 512 << 10;
/// A receiver that refuses so many parts of a record, and took none, takes nothing.
const NOTHING: u32 = 64;

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

/// Whether a receiver that failed may be able to take less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Less {
    /// That is not what it failed for.
    No,
    /// If it goes on so: it broke the connection, as some do when a body is longer than they take.
    Perhaps,
    /// It took too long.
    Yes,
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
        /// Whether less at once may do.
        less: Less,
    },
    /// The receiver will never take this.
    Refused {
        /// Why.
        why: String,
    },
}

impl Failed {
    pub(super) fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None, less: Less::No }
    }

    pub(super) fn slow(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None, less: Less::Yes }
    }

    pub(super) fn broken(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None, less: Less::Perhaps }
    }
}

/// How many records the receiver took the request for, but not in, or not whole; 0 where it took all.
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
                let bodies = ocsf::bodies(records, BODY);
                match records {
                    // One alone may be thousands of events, of which a receiver takes some at once; fewer records are the worker's to try.
                    [record] => post_parts(sink, bodies, record.seq).await,
                    _ => post_all(sink, bodies).await.map(|()| Taken::default()),
                }
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
                // Not before it has got through: it is sent again and again until then.
                for record in records.iter().filter(|record| syslog::is_cut(record)) {
                    tracing::warn!(
                        seq = record.seq,
                        bytes = record.text.len(),
                        "a line is too long for a message of syslog: its end was not sent and stays in the log"
                    );
                }
                Ok(Taken::default())
            }
        }
    }
}

async fn post_all(sink: &mut HttpSink, bodies: Vec<Vec<u8>>) -> Result<(), Failed> {
    for body in bodies {
        sink.post(body).await?;
    }
    Ok(())
}

/// The events of one record, in ever smaller parts where the receiver refuses them: what it refuses does not keep back the others.
async fn post_parts(sink: &mut HttpSink, mut bodies: Vec<Vec<u8>>, seq: u64) -> Result<Taken, Failed> {
    bodies.reverse();
    let (mut took_some, mut tried, mut refused, mut last) = (false, 0_u32, 0_u32, None);
    while let Some(body) = bodies.pop() {
        match sink.post(body.clone()).await {
            Ok(_) => took_some = true,
            Err(Failed::Refused { why }) => {
                tried += 1;
                // It takes nothing at all, and needs not be shown the rest.
                if !took_some && tried == NOTHING {
                    return Err(Failed::Refused { why });
                }
                match halves(&body) {
                    Some((first, second)) => {
                        bodies.push(second.to_vec());
                        bodies.push(first.to_vec());
                    }
                    None => {
                        refused += 1;
                        last = Some(why);
                    }
                }
            }
            Err(later @ Failed::Later { .. }) => return Err(later),
        }
    }
    match last {
        None => Ok(Taken::default()),
        Some(why) if !took_some => Err(Failed::Refused { why }),
        Some(why) => {
            tracing::error!(
                seq,
                refused,
                why,
                "a receiver refused events of this line and took the others; the line stays in the log"
            );
            Ok(Taken { rejected: 1 })
        }
    }
}

/// Two parts of whole lines, about as long as each other; `None` of one line.
fn halves(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let lines = body.strip_suffix(b"\n").unwrap_or(body);
    let (before, after) = lines.split_at_checked(lines.len() / 2)?;
    let end = memchr::memrchr(b'\n', before);
    let end = end.or_else(|| memchr::memchr(b'\n', after).map(|at| before.len() + at))?;
    body.split_at_checked(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpReceiver;
    use crate::model::Time;
    use serde_json::{Value, json};
    use std::io::{BufRead, BufReader, Read, Write};

    /// Takes bodies of at most so many bytes, without one that it never takes.
    fn receiver(most: usize) -> (String, std::sync::mpsc::Receiver<Vec<u8>>) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let (taken, bodies) = std::sync::mpsc::sync_channel(4_096);
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    let line = line.trim().to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.parse().unwrap();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let takes = length <= most && !body.windows(6).any(|part| part == b"poison");
                let status = if takes { "204 No Content" } else { "413 Payload Too Large" };
                if takes {
                    taken.send(body).unwrap();
                }
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        (url, bodies)
    }

    fn record(events: Vec<Value>) -> Record {
        Record {
            seq: 1,
            time: Time::default(),
            kind: "end".into(),
            notable: false,
            trace_id: None,
            text: String::new(),
            fields: Vec::new(),
            ocsf: events,
        }
    }

    #[tokio::test]
    async fn one_record_of_many_events_goes_in_parts_to_a_receiver_that_takes_little() {
        let (url, bodies) = receiver(3_000);
        let to = HttpReceiver { url: url.parse().unwrap(), tls: Default::default(), header: None };
        let sink = HttpSink::new(to, "application/x-ndjson", Duration::from_secs(10)).unwrap();
        let mut sink = Sink::OcsfHttp(sink);
        let events: Vec<Value> = (0..2_000).map(|n| json!({"n": n, "x": "y".repeat(500)})).collect();
        sink.deliver(&[record(events.clone())]).await.unwrap();
        let read = |bodies: Vec<Vec<u8>>| -> Vec<Value> {
            let lines = bodies.concat();
            lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
        };
        assert_eq!(read(bodies.try_iter().collect()), events);
        // What it takes in no part is refused, and several records are the worker's to part.
        let poison = vec![json!({"n": "poison"}), json!({"m": "poison"})];
        assert!(matches!(sink.deliver(&[record(poison)]).await, Err(Failed::Refused { .. })));
        let two = [record(events), record(vec![json!({"n": 1})])];
        assert!(matches!(sink.deliver(&two).await, Err(Failed::Refused { .. })));
    }

    #[tokio::test]
    async fn an_event_that_is_refused_does_not_keep_back_those_behind_it() {
        let (url, bodies) = receiver(3_000);
        let to = HttpReceiver { url: url.parse().unwrap(), tls: Default::default(), header: None };
        let sink = HttpSink::new(to, "application/x-ndjson", Duration::from_secs(10)).unwrap();
        let mut sink = Sink::OcsfHttp(sink);
        let events = vec![json!({"n": 1}), json!({"n": "poison"}), json!({"n": 3}), json!({"n": 4})];
        assert_eq!(sink.deliver(&[record(events)]).await.unwrap(), Taken { rejected: 1 });
        let taken = bodies.try_iter().collect::<Vec<_>>().concat();
        assert_eq!(String::from_utf8(taken).unwrap(), "{\"n\":1}\n{\"n\":3}\n{\"n\":4}\n");
        // Nor does one that is too long.
        let events = vec![json!({"n": "x".repeat(4_000)}), json!({"n": 2})];
        assert_eq!(sink.deliver(&[record(events)]).await.unwrap(), Taken { rejected: 1 });
        assert_eq!(bodies.try_iter().collect::<Vec<_>>().concat(), b"{\"n\":2}\n");
    }
}
