//! What can be done about an address that cannot be listened on.

use std::io;

/// What follows the cause in the error, with its punctuation.
#[must_use]
pub fn remedy(error: &io::Error) -> &'static str {
    let is = |kind| error.kind() == kind;
    if is(io::ErrorKind::AddrInUse) {
        "; choose another address or stop what uses it"
    } else if is(io::ErrorKind::AddrNotAvailable) {
        "; choose an address of this machine"
    } else if is(io::ErrorKind::PermissionDenied) {
        "; choose a port from 1024 on, or give the program CAP_NET_BIND_SERVICE"
    } else {
        ""
    }
}
