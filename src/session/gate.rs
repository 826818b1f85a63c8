//! The gate: table, lease, keys for tokens and what runs, as one thing. The control channel drives it, requests ask it.

use crate::access::entry::{Countdown, Place, Refused};
use crate::access::lease::Lease;
use crate::access::stream::Stream;
use crate::access::{Cell, Ended, Permit, Table, TableError};
use crate::config::Ceilings;
use crate::identity::token::{GateKeys, TokenKeys};
use crate::model::{Delta, EndCause, Epoch, Grant, GrantId, LogId, Revision, Time};
use crate::runtime::clock::Mono;
use crate::runtime::metrics::Metrics;
use crate::session::{Caller, Live};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::{mpsc, oneshot};

/// How many reservations of uses may wait for the control channel; further requests are refused with `limit`.
const USES_QUEUE: usize = 1_024;

/// The whole set of live grants at a revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Which log.
    pub log: LogId,
    /// Which epoch of it.
    pub epoch: Epoch,
    /// The revision that the set belongs to.
    pub revision: Revision,
    /// Every grant that has not ended.
    pub grants: Vec<Arc<Grant>>,
}

/// A wish for uses of a grant, to be reserved durably at the control plane.
#[derive(Debug)]
pub struct UsesRequest {
    /// Which grant.
    pub grant: GrantId,
    /// How many are wanted; fewer may be given.
    pub want: u64,
    /// Takes how many were given; dropped when the control plane cannot be asked.
    pub reply: oneshot::Sender<u64>,
}

/// What was used under one grant since its entry was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Which grant.
    pub grant: GrantId,
    /// How much, cumulative at this proxy.
    pub used: crate::access::entry::Used,
}

/// Why a permit did not become a live exchange.
#[derive(Debug)]
pub enum NotAdmitted {
    /// The grant has ended meanwhile: decide again.
    Ended,
    /// A limit of this grant is used up: another grant may still permit.
    Limit(Arc<Cell>),
    /// A use has to be reserved first: await [`Gate::reserve_use`], then decide again.
    NeedsUse(Arc<Cell>),
}

/// Table, lease and what runs.
pub struct Gate {
    table: Table,
    lease: Lease,
    used: Mutex<Vec<Arc<Cell>>>,
    uses: mpsc::Sender<UsesRequest>,
    uses_requests: Mutex<Option<mpsc::Receiver<UsesRequest>>>,
    token_keys: ArcSwapOption<GateKeys>,
    metrics: Arc<Metrics>,
}

impl Gate {
    /// An empty gate: stale, and without a grant.
    #[must_use]
    pub fn new(ceilings: Ceilings, metrics: Arc<Metrics>) -> Self {
        let (uses, requests) = mpsc::channel(USES_QUEUE);
        Self {
            table: Table::new(ceilings),
            lease: Lease::default(),
            used: Mutex::default(),
            uses,
            uses_requests: Mutex::new(Some(requests)),
            token_keys: ArcSwapOption::empty(),
            metrics,
        }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The lease.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// By what tokens are verified; none before the control plane has said so, and none if that could not be read: no token holds
    /// then.
    pub fn token_keys(&self) -> Option<Arc<GateKeys>> {
        self.token_keys.load_full()
    }

    /// Verifies tokens by these keys from now on.
    pub fn set_token_keys(&self, published: &TokenKeys) {
        let keys = GateKeys::new(published).inspect_err(
            |error| tracing::error!(%error, "the keys for tokens cannot be read: no token holds"),
        );
        self.token_keys.store(keys.ok().map(Arc::new));
    }

    /// Admits a request under its permit, or says why not (law 5: from here on every frame is checked).
    ///
    /// An attendance takes no use, no rate and no concurrent stream, and is no activity. `began`: when its request did, from which on
    /// it counts as long-lived; a rate goes by `now`, as its body may have been waited for since.
    ///
    /// # Errors
    /// [`NotAdmitted`]; nothing was taken from the grant's limits.
    pub fn admit(
        self: &Arc<Self>,
        permit: Permit,
        caller: &Arc<Caller>,
        (began, now): (Mono, Mono),
    ) -> Result<Live, NotAdmitted> {
        let attendance = permit.is_attendance();
        let cell = permit.into_cell();
        let stream = Arc::new(Stream::new(Arc::clone(caller.killer()), began));
        let place = match attendance {
            true => cell.entry.attend(&stream),
            false => cell.entry.admit(&stream, cell.limits(), now),
        };
        match place {
            Ok(place) => {
                if !attendance && cell.entry.touch() {
                    self.used.lock().push(Arc::clone(&cell));
                }
                self.metrics.streams_in_flight.inc();
                Ok(Live::new(Arc::clone(self), cell, Arc::clone(caller), stream, place))
            }
            Err(Refused::NeedsUse) => Err(NotAdmitted::NeedsUse(cell)),
            Err(Refused::Ended(_)) => Err(NotAdmitted::Ended),
            Err(Refused::ConcurrentStreams | Refused::Rate | Refused::Bytes | Refused::NoUseLeft) => {
                Err(NotAdmitted::Limit(cell))
            }
        }
    }

    /// An exchange is over.
    pub(super) fn left(&self, cell: &Arc<Cell>, place: &Place) {
        self.metrics.streams_in_flight.dec();
        if !place.is_attendance() && cell.entry.touch() {
            self.used.lock().push(Arc::clone(cell));
        }
    }

    pub(super) fn count_cut(&self, cause: crate::access::stream::CutCause) {
        self.metrics.streams_cut(cause.as_str()).inc();
    }

    /// Reserves uses of a grant at the control plane: the one step of a request that leaves memory, and only for grants with a
    /// maximum number of uses. A tenth of the maximum at a time, so that other proxies find some.
    ///
    /// # Errors
    /// The control plane cannot be asked now.
    pub async fn reserve_use(&self, cell: &Arc<Cell>) -> Result<(), Refused> {
        let most = cell.limits().max_uses.map_or(1, std::num::NonZeroU64::get);
        let (reply, answer) = oneshot::channel();
        let request = UsesRequest { grant: cell.id(), want: most.div_ceil(10), reply };
        self.uses.try_send(request).map_err(|_| Refused::NoUseLeft)?;
        let granted = answer.await.map_err(|_| Refused::NoUseLeft)?;
        cell.entry.add_uses(granted);
        Ok(())
    }

    /// The wishes for uses; handed out once, to the control channel.
    pub fn take_uses_requests(&self) -> Option<mpsc::Receiver<UsesRequest>> {
        self.uses_requests.lock().take()
    }

    /// Applies a delta: publishes the new table, then cuts what ended.
    ///
    /// # Errors
    /// The delta does not follow the table's revision; nothing was changed.
    pub fn apply(&self, delta: &Delta, now: Time) -> Result<Cutting, TableError> {
        let started = Mono::now();
        let ended = self.table.apply(delta, now)?;
        Ok(self.cut(ended, started))
    }

    /// Replaces the whole table; what the snapshot omits has ended.
    ///
    /// # Errors
    /// The snapshot is older than the table; nothing was changed.
    pub fn replace(&self, snapshot: Snapshot, now: Time) -> Result<Cutting, TableError> {
        let started = Mono::now();
        let ended = self.table.replace(snapshot.grants, snapshot.epoch, snapshot.revision, now)?;
        Ok(self.cut(ended, started))
    }

    /// Ends the grants whose window has closed.
    pub fn expire(&self, now: Mono) -> Cutting {
        let ended = self.lease.now(now).map(|time| self.table.expire(time)).unwrap_or_default();
        self.cut(ended, now)
    }

    fn cut(&self, ended: Vec<Ended>, started: Mono) -> Cutting {
        let countdown = Arc::default();
        let mut streams = 0;
        let mut revoked = false;
        for Ended { cell, cause } in ended {
            streams += cell.entry.end(cause, &countdown).len() as u64;
            revoked |= cause != EndCause::Expired;
        }
        self.metrics.grants.set(i64::try_from(self.table.grants()).unwrap_or(i64::MAX));
        if revoked {
            self.metrics.revocation_apply_seconds.observe(Mono::now().since(started).as_secs_f64());
        }
        Cutting { countdown, streams }
    }

    /// What was used since the last report, for grants that were used since; running streams count as use.
    pub fn usage_report(&self) -> Vec<Usage> {
        let cells = std::mem::take(&mut *self.used.lock());
        let mut report = Vec::with_capacity(cells.len());
        for cell in cells {
            let used = cell.entry.report();
            report.push(Usage { grant: cell.id(), used });
            if used.running > 0 && cell.entry.touch() {
                self.used.lock().push(cell);
            }
        }
        report
    }
}

/// What was cut by one change, until the last of it is gone.
#[must_use = "an acknowledgement has to wait for it"]
pub struct Cutting {
    countdown: Arc<Countdown>,
    streams: u64,
}

impl Cutting {
    /// How many streams were cut.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.streams
    }

    /// Resolves when nothing runs any more under what was ended; returns how many streams were cut.
    pub async fn done(self) -> u64 {
        std::future::poll_fn(|context| {
            if self.countdown.poll_done(context.waker()) { Poll::Ready(self.streams) } else { Poll::Pending }
        })
        .await
    }
}
