//! (filled next)
pub mod sample;
