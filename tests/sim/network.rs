//! Connections: two ordered directions each; what breaks is noticed by either side at a time of its own.

use jitgate::wire::generated as raw;

/// One connection between a proxy process and a run of the control plane.
pub(crate) struct Link {
    /// The proxy process, by index.
    pub(crate) proxy: usize,
    /// Which run of the control plane it is with.
    pub(crate) control_run: u64,
    /// Whether the proxy still uses it.
    pub(crate) proxy_side: bool,
    /// Whether the control plane still uses it.
    pub(crate) control_side: bool,
    /// Nothing more is delivered.
    pub(crate) cut: bool,
    /// The last delivery in each direction: nothing overtakes.
    pub(crate) last_up: u64,
    pub(crate) last_down: u64,
    /// Until when what goes down is held up, and what goes up.
    pub(crate) stall_down: u64,
    pub(crate) stall_up: u64,
}

/// What is due.
pub(crate) enum Due {
    /// A proxy's timer.
    Tick(usize),
    /// An attempt to connect has come through.
    Connected(usize, usize),
    /// An attempt has failed.
    Refused(usize, usize),
    /// A message arrives at the control plane.
    Up(usize, Box<raw::Up>),
    /// A message arrives at the proxy.
    Down(usize, Box<raw::Down>),
    /// The proxy notices that a connection is gone.
    ProxyNotices(usize),
    /// The control plane notices.
    ControlNotices(usize),
    /// Streams that were cut for a change are gone.
    CutDone(usize, usize),
    /// The control plane looks at acknowledgements that it held back.
    Held(usize),
    /// A feed no longer lags.
    Pump(usize),
    /// Something happens to the world.
    Act,
    /// A crashed process starts again.
    ControlStarts,
    ProxyStarts(usize),
    /// Only the invariants are checked.
    Look,
}
