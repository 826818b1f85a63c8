//! What every half of the program stands on: clocks, draining, metrics, telemetry, the admin listener.

pub mod accepted;
pub mod backoff;
pub mod clock;
pub mod drain;
pub mod metrics;
pub mod newcomers;
pub mod telemetry;
pub mod admin;
pub mod files;
pub mod listen;
