//! Server-sent events, as far as `/v1/events` uses them: `id`, `event`, `data` on one line each, comments to keep the line open.

use super::ClientError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

/// Longest line; an event of a bulk grant is long.
const LONGEST_LINE: usize = 64 * 1024 * 1024;

/// A stream of events.
pub(in crate::cli) struct Events {
    body: Incoming,
    lines: Lines,
    /// The connection ends with it.
    _sender: Option<SendRequest<Full<Bytes>>>,
}

impl Events {
    pub(super) fn new(body: Incoming, sender: Option<SendRequest<Full<Bytes>>>) -> Self {
        Self { body, lines: Lines::default(), _sender: sender }
    }

    /// The `data` of the next event; `None` when the stream is over.
    pub(in crate::cli) async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            while let Some(line) = self.lines.next() {
                if let Some(data) = line.strip_prefix("data:") {
                    return Ok(Some(data.trim_start().to_owned()));
                }
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(ClientError::Broken)?;
            if let Ok(bytes) = frame.into_data() {
                self.lines.push(&bytes).map_err(|error| ClientError::Body(error.into()))?;
            }
        }
    }
}

/// Bytes as they come, lines as they are complete.
#[derive(Default)]
struct Lines {
    waiting: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        if self.waiting.len().saturating_add(bytes.len()) > LONGEST_LINE {
            return Err("an event is longer than 64 MiB");
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    fn next(&mut self) -> Option<String> {
        let end = self.waiting.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.waiting.drain(..=end).collect();
        let text = String::from_utf8_lossy(&line);
        Some(text.trim_end_matches(['\n', '\r']).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_whole_however_the_bytes_come() {
        let mut lines = Lines::default();
        lines.push(b"id: 1\r\nda").unwrap();
        assert_eq!(lines.next().as_deref(), Some("id: 1"));
        assert_eq!(lines.next(), None);
        lines.push("ta: {\"a\":\"ü\"}\n\n".as_bytes()).unwrap();
        assert_eq!(lines.next().as_deref(), Some("data: {\"a\":\"ü\"}"));
        assert_eq!(lines.next().as_deref(), Some(""));
        assert_eq!(lines.next(), None);
    }
}
