//! An upstream that knows no HTTP library: it keeps every byte that arrives and reads it by the strictest reading there is
//! (RFC 9112). What has a second reading is a violation, and so is whatever follows a request unasked.

use super::wait::within;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A request that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
}

/// A running recorder. It stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    open: Arc<watch::Sender<usize>>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) whole: Vec<Whole>,
    /// What cannot be read in exactly one way, with why.
    pub(crate) violations: Vec<String>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            open: Arc::new(watch::Sender::new(0)),
        };
        let accepting = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.open.send_modify(|open| *open += 1);
                let recorder = accepting.clone();
                tokio::spawn(async move {
                    recorder.read(stream).await;
                    recorder.open.send_modify(|open| *open -= 1);
                });
            }
        });
        recorder
    }

    /// Everything since the last call.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut self.seen.lock())
    }

    /// Waits until nothing is connected: what was on its way has arrived.
    pub(crate) async fn quiet(&self) {
        let mut open = self.open.subscribe();
        within("the end of the connections to the service", open.wait_for(|open| *open == 0)).await.unwrap();
    }

    async fn read(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let mut piece = [0; 16 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            bytes.extend_from_slice(&piece[..count]);
            loop {
                match request(&bytes) {
                    Ok(Some((whole, length))) => {
                        bytes.drain(..length);
                        self.seen.lock().whole.push(whole);
                        // Each answer ends its connection, so that what was still to come shows.
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                        let _half_closed = stream.shutdown().await;
                    }
                    Ok(None) => break,
                    Err(why) => {
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        self.seen.lock().violations.push(format!("{why} in {text:?}"));
                        return;
                    }
                }
            }
        }
    }
}

/// The first request and its length in bytes, if it is whole.
fn request(bytes: &[u8]) -> Result<Option<(Whole, usize)>, &'static str> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > 256 * 1024 { Err("a head without end") } else { Ok(None) };
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is not text")?;
    let mut lines = head.split("\r\n");
    let mut line = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) =
        (line.next(), line.next(), line.next(), line.next())
    else {
        return Err("a request line of another form");
    };
    let (mut length, mut chunked, mut hosts) = (None, false, 0);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a line without colon")?;
        if name.is_empty()
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~!#$%&'*+^`|".contains(&b))
        {
            return Err("a header name that is none");
        }
        if value.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
            return Err("a control character in a header");
        }
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("content-length") {
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            if !digits || length.replace(value.parse::<usize>().map_err(|_| "a length")?).is_some() {
                return Err("a length with two readings");
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if value != "chunked" || chunked {
                return Err("an encoding with two readings");
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case("host") {
            hosts += 1;
        }
    }
    if hosts != 1 || length.is_some() && chunked {
        return Err("not one host, or two framings");
    }
    let rest = &bytes[end + 4..];
    let body = match (length, chunked) {
        (Some(length), _) => rest.get(..length).map(|body| (body.to_vec(), length)),
        (None, true) => chunks(rest)?,
        (None, false) => Some((Vec::new(), 0)),
    };
    let whole = |(body, length)| {
        (Whole { method: method.to_owned(), target: target.to_owned(), body }, end + 4 + length)
    };
    Ok(body.map(whole))
}

/// A chunked body without extensions and trailers (RFC 9112, section 7.1), if it is whole.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[at..at + line]).map_err(|_| "a chunk size that is not text")?;
        if size.is_empty() || size.len() > 8 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("a chunk size with two readings");
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk size")?;
        at += line + 2;
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if &data[size..] != b"\r\n" {
            return Err("a chunk that is longer than it says, or trailers");
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
