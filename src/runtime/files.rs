//! How many files (and so sockets) this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, as servers do: the soft one is low for the sake of old programs that use `select`.
/// Returns how many files may be open now; none means without limit.
pub fn raise_open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        // The old limit still holds, and running into it is handled where connections are accepted.
        Err(_) => current,
    }
}
