//! What making something durable costs on a file system, alone: the floor of whatever is acknowledged only then.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

const WRITES: usize = 200;

/// How long an append of 4 KiB and its `fdatasync` take in a folder, one after the other: sorted.
pub(crate) fn appends(folder: &Path) -> Vec<Duration> {
    let path = folder.join("fsync");
    let mut file = std::fs::File::create(&path).unwrap();
    let block = [b'x'; 4096];
    let mut times: Vec<Duration> = (0..WRITES)
        .map(|_| {
            let before = Instant::now();
            file.write_all(&block).unwrap();
            file.sync_data().unwrap();
            before.elapsed()
        })
        .collect();
    std::fs::remove_file(path).unwrap();
    times.sort_unstable();
    times
}

/// A line that says so.
pub(crate) fn say(folder: &Path) {
    let times = appends(folder);
    let at = |part: usize| times[(WRITES * part / 100).min(WRITES - 1)].as_secs_f64() * 1e3;
    println!(
        "append of 4 KiB and fdatasync alone, ms: p50 {:.2}, p99 {:.2}, most {:.2}",
        at(50),
        at(99),
        at(100)
    );
}
