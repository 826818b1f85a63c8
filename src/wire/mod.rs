//! The control channel's messages: the schema (`sync.proto`), the code generated from it, and the typed messages that the rest of
//! the program sees. What does not convert is refused here; nothing further in handles a raw message.

pub mod message;
pub mod convert;
pub mod chunk;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::allow_attributes_without_reason,
    reason = "generated from sync.proto, where the documentation is; checked by tests/codegen.rs"
)]
#[rustfmt::skip]
pub mod generated;
