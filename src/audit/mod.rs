//! The audit trail: no access without a line (product law 7).
//!
//! A request owns a [`record::Draft`] from its first moment and gets a [`record::Record`] when the sink has set aside queue room and
//! disk space for its line; only a `Record` may be forwarded under. Whatever becomes of it, it leaves exactly one `end` line.
//! The lines are documented in `docs/audit-line.schema.json`.

pub mod age;
pub mod proof;
pub mod record;
pub mod recording;
pub mod removal;
pub mod search;
pub mod segments;
pub mod sink;
pub mod verify;

pub(crate) use pace::thread_rests;

mod batch;
mod budget;
mod disk;
mod clock;
mod herald;
mod index;
mod keeper;
mod line;
mod pace;
mod pack;
mod queue;
mod redact;
mod resume;
mod retain;
mod room;
mod settings;
mod text;
mod trail;
#[cfg(jitgate_bench_unaudited)]
mod unaudited;
mod unfinished;
mod writer;

#[cfg(test)]
mod tests;
