//! One attempt over TLS (RFC 5425), and its confirmation. Syslog has none of its own, and what was handed to the network may be lost
//! with the receiver. So each batch is a session: it is sent, closed with `close_notify`, and has arrived when the receiver, which
//! then has read to the end, closes as well: RFC 5425 (4.4) obliges it to answer with `close_notify`, which a process that was killed
//! does not send. Where a receiver does not do that, `close_notify = false` takes the orderly end of the connection for it.

use super::deliver::{Failed, SinkError};
use crate::config::{SyslogReceiver, SyslogUrl};
use crate::identity::receiver::{ReceiverError, receiver_config};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
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
            Err(_) => Failed::later("it did not take everything in time"),
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
        // Not the end of the connection: a receiver that sees that need not answer.
        stream.get_mut().1.send_close_notify();
        stream.flush().await.map_err(broke)?;
        match ended(&mut stream).await {
            Ok(()) => Ok(()),
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
    stream.shutdown().await?;
    ended(&mut stream).await
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
    Failed::later(format!("the connection broke: {error}"))
}
