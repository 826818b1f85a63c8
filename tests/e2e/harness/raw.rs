//! A client that sends any bytes at all over TLS, for messages that no library would write.

use super::client::{Protocol, open, tls};
use super::pki::{Authority, Leaf};
use super::wait::within;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(crate) struct Raw {
    stream: TlsStream<TcpStream>,
}

impl Raw {
    pub(crate) async fn connect(ca: &Authority, leaf: &Leaf, to: SocketAddr, protocol: Protocol) -> Self {
        let config = Arc::new(tls(ca, Some(leaf), &[protocol]));
        Self { stream: within("connecting", open(to, config)).await.unwrap() }
    }

    /// Sends; a peer that has closed already is not an error of the test.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = async {
            if self.stream.write_all(bytes.as_ref()).await.is_ok() {
                let _closed_already = self.stream.flush().await;
            }
        };
        within("sending", sending).await;
    }

    /// Sends; whether the peer still took it.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within("sending", self.stream.write_all(bytes)).await.is_ok()
    }

    /// Everything until the peer closes or resets.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        let mut piece = [0; 4096];
        let reading = async {
            while let Ok(count @ 1..) = self.stream.read(&mut piece).await {
                all.extend_from_slice(&piece[..count]);
            }
        };
        within("the end of the connection", reading).await;
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Reads until `mark` was seen; what follows it in the same read comes along.
    pub(crate) async fn read_until(&mut self, mark: &str) -> String {
        let mut all = Vec::new();
        let mut piece = [0; 4096];
        let reading = async {
            while !String::from_utf8_lossy(&all).contains(mark) {
                match self.stream.read(&mut piece).await {
                    Ok(count @ 1..) => all.extend_from_slice(&piece[..count]),
                    Ok(0) | Err(_) => panic!("closed before `{mark}`: {}", String::from_utf8_lossy(&all)),
                }
            }
        };
        within(mark, reading).await;
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// A frame as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Raw {
    /// Every frame that comes until `done` or the end of the connection, and whether it ended.
    pub(crate) async fn frames(
        &mut self,
        what: &str,
        mut done: impl FnMut(&Frame) -> bool,
    ) -> (Vec<Frame>, bool) {
        let mut frames = Vec::new();
        let reading = async {
            loop {
                let mut head = [0; 9];
                if self.stream.read_exact(&mut head).await.is_err() {
                    return true;
                }
                let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
                if self.stream.read_exact(&mut payload).await.is_err() {
                    return true;
                }
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                let frame = Frame { kind: head[3], flags: head[4], stream, payload };
                let is_last = done(&frame);
                frames.push(frame);
                if is_last {
                    return false;
                }
            }
        };
        let ended = within(what, reading).await;
        (frames, ended)
    }
}

/// The status codes of every HTTP/1.1 answer in a text, in order.
pub(crate) fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

/// What an HTTP/2 client begins with (RFC 9113, section 3.4).
pub(crate) fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat()
}

/// An HTTP/2 frame (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A whole GET of the service `orders` in one HEADERS frame.
pub(crate) fn headers_frame(stream: u32, path: &str) -> Vec<u8> {
    let fields =
        [(":method", "GET"), (":scheme", "https"), (":authority", "orders.localhost"), (":path", path)];
    frame(1, 0x5, stream, &block(&fields))
}

/// Fields in the plainest form that HPACK has (RFC 7541, section 6.2.2), whatever they are.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
