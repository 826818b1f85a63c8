//! Leaves the trail out, to measure what it costs: in builds with `--cfg jitgate_bench_unaudited` alone, which no feature turns on, and
//! there only where `JITGATE_BENCH_UNAUDITED` is `1`.

use std::sync::LazyLock;

static OFF: LazyLock<bool> = LazyLock::new(|| {
    let off = std::env::var_os("JITGATE_BENCH_UNAUDITED").is_some_and(|value| value == "1");
    if off {
        tracing::error!(
            "NOTHING IS AUDITED: this is a build for benches, and JITGATE_BENCH_UNAUDITED is set"
        );
    }
    off
});

pub(super) fn is_off() -> bool {
    *OFF
}
