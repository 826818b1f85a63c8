//! One attempt over TLS (RFC 5425), and its confirmation. Syslog has none of its own, and what was handed to the network may be lost
//! with the receiver. So each batch is a session: it is sent, closed with `close_notify`, and has arrived when the receiver, which
//! then has read to the end, closes as well: RFC 5425 (4.4) obliges it to answer with `close_notify`, which a process that was killed
//! does not send. Where a receiver does not do that, `close_notify = false` takes the orderly end of the connection for it.

use super::deliver::{Failed, SinkError};
use crate::config::{SyslogReceiver, SyslogUrl};
use crate::identity::receiver::{ReceiverError, receiver_config};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What a receiver may say before it closes: it has nothing to say.
const CHATTER: usize = 64 << 10;

/// A receiver of a stream.
pub(super) struct StreamSink {
    to: SyslogReceiver,
    timeout: Duration,
    /// Made anew after a failure: its CA file may be another by then.
    tls: Option<Arc<ClientConfig>>,
}

impl StreamSink {
    pub(super) fn new(to: SyslogReceiver, timeout: Duration) -> Result<Self, SinkError> {
        ServerName::try_from(to.url.host.as_str()).map_err(|_| SinkError::Url)?;
        let tls = config(&to)?;
        Ok(Self { to, timeout, tls })
    }

    /// Sends this and waits until the receiver has read it.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let sent = tokio::time::timeout(self.timeout, self.session(bytes)).await;
        let failed = match sent {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failed)) => failed,
            Err(_) => Failed::slow("it did not take everything in time"),
        };
        self.tls = None;
        Err(failed)
    }

    async fn session(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        if self.to.url.encrypted && self.tls.is_none() {
            self.tls = config(&self.to).map_err(|error| Failed::later(error.to_string()))?;
        }
        let SyslogUrl { host, port, .. } = &self.to.url;
        let tcp = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| Failed::later(format!("it cannot be reached: {error}")))?;
        let Some(config) = &self.tls else {
            return plain(tcp, bytes).await.map_err(broke);
        };
        let name = ServerName::try_from(host.clone()).map_err(|_| Failed::later("its name is none"))?;
        let mut stream = TlsConnector::from(Arc::clone(config))
            .connect(name, tcp)
            .await
            .map_err(|error| Failed::later(format!("its certificate, or ours, is not accepted: {error}")))?;
        stream.write_all(bytes).await.map_err(broke)?;
        // What it says of itself before it has everything confirms nothing.
        if has_ended(&mut stream).await.map_err(broke)? {
            return Err(Failed::broken("it ended the session before it had everything"));
        }
        // Not the end of the connection: a receiver that sees that need not answer.
        stream.get_mut().1.send_close_notify();
        stream.flush().await.map_err(broke)?;
        match ended(&mut stream).await {
            Ok(()) => closed(stream.into_inner().0).await.map_err(broke),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                if self.to.close_notify {
                    let why = "it closed without saying that it had read everything; if it never says so, set `close_notify = false`";
                    Err(Failed::later(why))
                } else {
                    Ok(())
                }
            }
            Err(error) => Err(broke(error)),
        }
    }
}

fn config(to: &SyslogReceiver) -> Result<Option<Arc<ClientConfig>>, ReceiverError> {
    to.url.encrypted.then(|| receiver_config(&to.tls, &[]).map(Arc::new)).transpose()
}

/// Without TLS the orderly end of the connection is all that there is.
async fn plain(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    if has_ended(&mut stream).await? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    stream.shutdown().await?;
    ended(&mut stream).await
}

/// Whether the receiver's end has come already.
async fn has_ended(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
    let mut buffer = [0; 1024];
    let mut buffer = ReadBuf::new(&mut buffer);
    poll_fn(|cx| {
        Poll::Ready(match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => Ok(buffer.filled().is_empty()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(false),
        })
    })
    .await
}

/// Waits for the end of a connection whose session is over. A receiver that closes with something unread resets it.
async fn closed(mut tcp: TcpStream) -> io::Result<()> {
    // It may have closed already.
    let _ = tcp.shutdown().await;
    ended(&mut tcp).await
}

/// Waits for the receiver's end.
async fn ended(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut buffer = [0; 1024];
    let mut heard = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => heard += read,
        }
        if heard > CHATTER {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it talks: this is no receiver of syslog",
            ));
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn broke(error: io::Error) -> Failed {
    Failed::broken(format!("the connection broke: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    #[tokio::test]
    async fn an_end_that_came_before_everything_was_sent_confirms_nothing() {
        let (ours, mut theirs) = duplex(64);
        theirs.shutdown().await.unwrap();
        assert!(plain(ours, b"a line").await.is_err());
    }

    #[tokio::test]
    async fn an_end_behind_what_was_sent_confirms_it_and_talk_does_not() {
        let (ours, mut theirs) = duplex(64);
        let reader = async {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).await.unwrap();
            drop(theirs);
            read
        };
        let (sent, read) = tokio::join!(plain(ours, b"a line"), reader);
        assert!(sent.is_ok());
        assert_eq!(read, b"a line");
        let (ours, mut theirs) = duplex(1 << 20);
        theirs.write_all(&vec![b'x'; CHATTER + 2048]).await.unwrap();
        assert!(plain(ours, b"a line").await.is_err());
    }
}
