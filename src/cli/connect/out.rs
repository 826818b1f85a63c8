//! Standard output: messages, one a line, and nothing else.
//!
//! Invariant: a message that is JSON takes exactly one line, for every reader that we know of, whatever the service wrote: what ends a
//! line (also for those that split at U+2028) is no longer in it, and it means the same.

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Messages that wait for a client that does not read.
const WAITING: usize = 16;

/// Where messages go.
#[derive(Clone)]
pub(super) struct Out {
    lines: mpsc::Sender<Vec<u8>>,
    closed: CancellationToken,
}

impl Out {
    /// Writes on a task of its own, which ends with the last [`Out`].
    pub(super) fn open(to: impl AsyncWrite + Unpin + Send + 'static) -> (Self, JoinHandle<()>) {
        let (lines, waiting) = mpsc::channel(WAITING);
        let closed = CancellationToken::new();
        let writing = tokio::spawn(write(to, waiting, closed.clone()));
        (Self { lines, closed }, writing)
    }

    /// Sends one JSON text; waits for a client that is slow. Nobody reads any more: it is lost.
    pub(super) async fn send(&self, message: &[u8]) {
        let _ = self.lines.send(one_line(message)).await;
    }

    /// Until nobody reads any more.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut waiting: mpsc::Receiver<Vec<u8>>,
    closed: CancellationToken,
) {
    while let Some(line) = waiting.recv().await {
        if to.write_all(&line).await.is_err() || to.flush().await.is_err() {
            closed.cancel();
            return;
        }
    }
}

/// In JSON, a line's end stands between tokens, where a space means the same; the others stand in strings, where an escape does.
fn one_line(json: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(json.len() + 1);
    let mut rest = json;
    while let Some((&first, after)) = rest.split_first() {
        let (put, next): (&[u8], &[u8]) = match rest {
            [b'\n' | b'\r', ..] => (b" ", after),
            [0xc2, 0x85, after @ ..] => (b"\\u0085", after),
            [0xe2, 0x80, 0xa8, after @ ..] => (b"\\u2028", after),
            [0xe2, 0x80, 0xa9, after @ ..] => (b"\\u2029", after),
            _ => {
                line.push(first);
                rest = after;
                continue;
            }
        };
        line.extend_from_slice(put);
        rest = next;
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_means_the_same() {
        let text = "{\n \"a\":\r\n\t\"x\u{2028}y\u{2029}z\u{85} \u{feff}é\\n\" }";
        let line = one_line(text.as_bytes());
        let line = std::str::from_utf8(&line).unwrap();
        let inside = line.strip_suffix('\n').unwrap();
        assert!(!inside.contains(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}']), "{inside:?}");
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }
}
