//! What can be done about an address that cannot be listened on.

use std::io;

/// What follows the cause in the error, with its punctuation.
#[must_use]
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; choose another address or stop what uses it",
        io::ErrorKind::AddrNotAvailable => "; choose an address of this machine",
        io::ErrorKind::PermissionDenied => {
            "; choose a port from 1024 on, or give the program CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}
