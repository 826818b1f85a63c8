//! The control plane's end of the control channel: [`feed`] decides what a proxy is sent next, [`followers`] who may speak for a
//! proxy's name, [`server`] moves the messages.
//!
//! Only identities with the role `proxy` may subscribe or acknowledge, each as itself: the proxy's name is taken from its
//! certificate, never from a message.

pub mod feed;
pub mod followers;
mod caller;
mod channel;
pub mod server;
mod trail;

pub use feed::{Feed, Step, Unfit};
pub use followers::{Followers, Follows, Retired};
pub use server::SyncService;
