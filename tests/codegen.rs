//! `src/wire/generated.rs` is what the generator makes of `src/wire/sync.proto`. `JITGATE_REGENERATE=1 cargo test --test codegen`
//! writes it anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends by panicking; clippy's exceptions for tests do not reach helpers outside #[test]"
)]

use std::path::Path;

const HEADER: &str =
    "// Generated from sync.proto; `JITGATE_REGENERATE=1 cargo test --test codegen` writes it anew.\n";

fn generate() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["src/wire/sync.proto"], [root.to_path_buf()])
        .unwrap_or_else(|error| panic!("sync.proto does not compile: {error}"));
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .bytes(".")
        .out_dir(out.path())
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .unwrap();
    let code = std::fs::read_to_string(out.path().join("jitgate.sync.v1.rs")).unwrap();
    format!("{HEADER}{code}")
}

#[test]
fn the_checked_in_code_is_what_the_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire/generated.rs");
    let fresh = generate();
    if std::env::var_os("JITGATE_REGENERATE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == fresh,
        "src/wire/generated.rs is out of date: run with JITGATE_REGENERATE=1 and commit it"
    );
}
