//! jitgate: just-in-time access gate. The command line is all there is to it; see `src/cli`.

use std::process::ExitCode;

/// Fewer instructions a request than the system's allocator (see `ARCHITECTURE.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    jitgate::cli::main()
}
