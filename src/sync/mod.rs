//! The proxy's end of the control channel: [`replica`] decides, without I/O, what to do about each message, timer and failure;
//! [`client`] does it. What it keeps true (law 6):
//!
//! - the table only moves forward within one log and epoch, and only without gaps; anything else is refused or replaced whole;
//! - a lease begins when its ping was *sent*, and only counts once everything is applied that took something away up to the
//!   head that the pong names;
//! - a revision is acknowledged when nothing runs any more under what was ended up to it, and not before.

pub mod client;
mod fault;
mod lease;
mod link;
mod outbox;
mod parts;
pub mod replica;
mod witness;

pub use fault::Fault;
pub use lease::{FromAsking, LeaseRule};
pub use outbox::CutTicket;
pub use replica::{Effect, Input, Replica, Settings, Snapshot};
