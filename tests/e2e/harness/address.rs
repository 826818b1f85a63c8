//! Addresses of 127.0.0.0/8: each world takes one for itself.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// An address of the loopback network that no other test has, and what holds it.
pub(crate) fn own_address() -> (Ipv4Addr, TcpListener) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let [_, b, c, d] = number.to_be_bytes();
        let address = Ipv4Addr::new(127, b.max(1), c, d.clamp(1, 254));
        if let Ok(lock) = TcpListener::bind((IpAddr::from(address), 19_000)) {
            return (address, lock);
        }
    }
}
