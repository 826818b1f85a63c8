//! Leaves the trail out, to measure what it costs: in builds with the feature `bench-unaudited` alone, where a variable demands it.

use std::sync::LazyLock;

static OFF: LazyLock<bool> = LazyLock::new(|| {
    let off = std::env::var_os("JITGATE_BENCH_UNAUDITED").is_some();
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
