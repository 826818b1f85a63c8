//! What is set on every connection that is accepted: what is small goes out at once, and a peer whose host has vanished is noticed.

use socket2::{SockRef, TcpKeepalive};
use std::time::Duration;
use tokio::net::TcpStream;

/// A connection on which nothing has moved for this long is probed,
const PROBED_AFTER: Duration = Duration::from_secs(60);
/// so often,
const PROBED_EVERY: Duration = Duration::from_secs(15);
/// and is over when so many probes in a row were not answered.
const PROBES: u32 = 4;

/// Sets up a connection. One that is broken already says so again at the first read.
pub fn set_up(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let keepalive =
        TcpKeepalive::new().with_time(PROBED_AFTER).with_interval(PROBED_EVERY).with_retries(PROBES);
    let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
}
