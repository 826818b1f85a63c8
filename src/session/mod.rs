//! What is running: callers' connections and the exchanges admitted on them, and how both end.
//!
//! Owns the step from a permit to a [`Live`] exchange ([`Gate::admit`]), the checks of each frame ([`Live::check`]), and the
//! step from a change of the table to the cut of what it ended ([`Gate::apply`]). Refuses to know HTTP and TLS.

pub mod caller;
pub mod gate;
pub mod live;
pub mod sweep;

pub use caller::{Caller, Callers, Undecided};
pub use gate::{Cutting, Gate, NotAdmitted, Snapshot, Usage, UsesRequest};
pub use live::Live;
