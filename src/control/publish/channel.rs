//! One proxy's control channel, from hello to the end. Messages up are worked off in order, so that a pong says that everything
//! before its ping has taken effect, or is kept until it can be logged. What goes down waits in a short queue; a proxy that does not read is let go.

use crate::control::authz::Need;
use crate::control::log::Identity;
use crate::control::plane::{Confirmed, Plane};
use crate::control::presence::Connected;
use crate::control::publish::caller::{Caller, submit, unavailable};
use crate::control::publish::trail::{self, Keeper};
use crate::control::publish::{Feed, Followers, Follows, Retired, Step};
use crate::control::state::{Command, KnownProxy, Outcome};
use crate::control::usage::GrantUsage;
use crate::identity::token::TokenKeys;
use crate::model::{AuditHealth, Delta, GrantId, ProxyName, Revision};
use crate::notary::HandOver;
use crate::runtime::clock::Mono;
use crate::wire::generated as raw;
use crate::wire::message::{Hello, LeaseLength, Pong, Up};
use crate::wire::{chunk, convert};
use futures_util::{Stream, StreamExt};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tonic::Status;

/// How long a proxy may take for its hello, and for reading a message that waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// After what could not be logged now.
const AGAIN: Duration = Duration::from_secs(1);

/// Both directions of a stream.
pub(super) struct Wire<S> {
    pub(super) up: S,
    pub(super) down: mpsc::Sender<Result<raw::Down, Status>>,
}

/// Serves one stream until it ends; a refusal is the last thing that the proxy reads.
pub(super) async fn serve<S>(plane: Plane, followers: Followers, caller: Caller, mut wire: Wire<S>)
where
    S: Stream<Item = Result<raw::Up, Status>> + Send + Unpin,
{
    let proxy = caller.proxy.clone();
    let ended = match open(&plane, &followers, &caller, &mut wire).await {
        Ok((follows, feed)) => {
            let connected = plane.presence().connected(proxy.clone(), plane.control_time());
            let (head, mut keys) = (plane.head(), plane.token_keys());
            // The first turn sends them.
            keys.mark_changed();
            let ready = VecDeque::new();
            let keeper = Keeper::new(&plane, &caller);
            let log = HandOver::new(plane.checkpoints());
            Channel {
                plane,
                caller,
                follows,
                connected,
                feed,
                ready,
                head,
                keys,
                keeper,
                log,
                wire,
                ack_again: Mono::default(),
            }
            .run()
            .await
        }
        Err(status) => end(&wire.down, status).await,
    };
    tracing::info!(proxy = %proxy, code = ?ended.code(), reason = ended.message(), "a control channel has ended");
}

async fn open<S>(
    plane: &Plane,
    followers: &Followers,
    caller: &Caller,
    wire: &mut Wire<S>,
) -> Result<(Follows, Feed), Status>
where
    S: Stream<Item = Result<raw::Up, Status>> + Send + Unpin,
{
    let hello = hello(wire).await?;
    let join = Command::Join { proxy: caller.proxy.clone() };
    submit(plane, caller, join).await?;
    let unknown_until = unknown_until(plane, &caller.proxy);
    let follows =
        followers.enter(&caller.proxy, hello.instance, unknown_until, plane.mono()).map_err(retired)?;
    let (log, epoch) = (plane.log_id(), plane.epoch());
    let head = plane.confirm_head().await.map_err(unavailable)?.head;
    send(&wire.down, convert::welcome(log, epoch)).await?;
    send(&wire.down, convert::trail_kept(trail::kept(plane, &caller.proxy))).await?;
    let feed = Feed::begin(&hello, Identity { log, epoch }, head)
        .map_err(|unfit| Status::failed_precondition(unfit.to_string()))?;
    tracing::info!(proxy = %caller.proxy, identity = %caller.identity, version = hello.version, "a proxy follows");
    Ok((follows, feed))
}

async fn hello<S>(wire: &mut Wire<S>) -> Result<Hello, Status>
where
    S: Stream<Item = Result<raw::Up, Status>> + Send + Unpin,
{
    let first = tokio::time::timeout(PATIENCE, wire.up.next())
        .await
        .map_err(|_| Status::deadline_exceeded("a control channel begins with a hello"))?
        .ok_or_else(|| Status::cancelled("the proxy has gone"))??;
    match Up::try_from(first).map_err(|error| Status::invalid_argument(error.to_string()))? {
        Up::Hello(hello) => Ok(hello),
        Up::Ping { .. }
        | Up::Ack(_)
        | Up::Usage(_)
        | Up::ReserveUses { .. }
        | Up::Checkpoint(_)
        | Up::LogKept(_) => Err(Status::invalid_argument("a control channel begins with a hello")),
    }
}

/// Until when a process of this name that this control plane has never heard of may hold a lease.
fn unknown_until(plane: &Plane, proxy: &ProxyName) -> Mono {
    let (started, mono) = plane.started();
    let (joined_before, longest) = plane.with_state(|state| {
        let known = state.proxies().get(proxy);
        (known.is_some_and(|known| known.joined_at < started), state.longest_lease())
    });
    if joined_before { mono.plus(longest).plus(plane.clock_drift()) } else { Mono::default() }
}

async fn send(down: &mpsc::Sender<Result<raw::Down, Status>>, message: raw::Down) -> Result<(), Status> {
    match tokio::time::timeout(PATIENCE, down.send(Ok(message))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Status::cancelled("the proxy has gone")),
        Err(_) => Err(Status::resource_exhausted("the proxy does not read")),
    }
}

/// Says why it ends, behind what waits to be sent.
async fn end(down: &mpsc::Sender<Result<raw::Down, Status>>, status: Status) -> Status {
    let last = Err(status.clone());
    // Who did not read was waited for already.
    let _has_gone_or_does_not_read = match status.code() == tonic::Code::ResourceExhausted {
        true => down.try_send(last).is_ok(),
        false => tokio::time::timeout(PATIENCE, down.send(last)).await.is_ok(),
    };
    status
}

struct Channel<S> {
    plane: Plane,
    caller: Caller,
    follows: Follows,
    connected: Connected,
    feed: Feed,
    /// Read from the log and not sent yet: at most a page.
    ready: VecDeque<(Revision, Delta)>,
    head: watch::Receiver<Revision>,
    keys: watch::Receiver<Option<Arc<TokenKeys>>>,
    keeper: Keeper,
    /// Checkpoints of the event log, once the proxy has said what it has.
    log: HandOver,
    wire: Wire<S>,
    /// After an acknowledgement that could not be logged: not before.
    ack_again: Mono,
}

impl<S> Channel<S>
where
    S: Stream<Item = Result<raw::Up, Status>> + Send + Unpin,
{
    async fn run(mut self) -> Status {
        let ended = loop {
            if let Err(status) = self.turn().await {
                break status;
            }
        };
        // It follows no more, whether it reads that or not; nothing but the word is kept for it.
        let down = self.wire.down.clone();
        drop(self);
        end(&down, ended).await
    }

    async fn turn(&mut self) -> Result<(), Status> {
        self.publish_keys().await?;
        let more = self.pump().await?;
        let held = self.acknowledge().await?;
        let replaced = self.follows.replaced().clone();
        tokio::select! {
            biased;
            () = replaced.cancelled() => Err(Status::aborted("a newer stream of this proxy has come")),
            message = self.wire.up.next() => {
                let message = message.ok_or_else(|| Status::cancelled("the proxy has gone"))??;
                let message = Up::try_from(message).map_err(|error| Status::invalid_argument(error.to_string()))?;
                self.received(message).await
            }
            kept = self.keeper.next() => match kept? {
                Some(kept) => send(&self.wire.down, convert::trail_kept(kept)).await,
                None => Ok(()),
            },
            said = self.log.next() => send(&self.wire.down, convert::log_checkpoint(said)).await,
            changed = self.head.changed() => {
                changed.map_err(|_| Status::unavailable("the control plane is stopping"))
            }
            changed = self.keys.changed() => {
                self.keys.mark_changed();
                changed.map_err(|_| Status::unavailable("the control plane is stopping"))
            }
            () = std::future::ready(()), if more => Ok(()),
            () = tokio::time::sleep(held.unwrap_or_default()), if held.is_some() => Ok(()),
        }
    }

    async fn received(&mut self, message: Up) -> Result<(), Status> {
        match message {
            Up::Hello(_) => Err(Status::invalid_argument("a second hello")),
            Up::Ping { n, audit, witness_disputes } => {
                self.pong(n).await?;
                self.note_audit(audit, witness_disputes).await
            }
            Up::Ack(ack) => self.follows.hear(ack).map_err(retired),
            Up::Usage(usage) => {
                let last_used = self.plane.control_time();
                let report: Vec<_> = usage
                    .into_iter()
                    .map(|used| GrantUsage {
                        grant: used.grant,
                        requests_total: used.requests,
                        bytes_total: used.bytes,
                        last_used,
                    })
                    .collect();
                let process = (self.caller.proxy.clone(), self.follows.instance());
                self.plane.report_usage(&process, &report);
                Ok(())
            }
            Up::ReserveUses { grant, want, nonce } => self.reserve(grant, want, nonce).await,
            Up::Checkpoint(checkpoint) => self.keeper.take(&checkpoint),
            Up::LogKept(size) => {
                self.log.kept(size);
                Ok(())
            }
        }
    }

    /// Sends by what tokens are verified, if that has changed.
    async fn publish_keys(&mut self) -> Result<(), Status> {
        if !self.keys.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let keys = self.keys.borrow_and_update().clone();
        match keys {
            Some(keys) => send(&self.wire.down, convert::token_keys(&keys)).await,
            None => Ok(()),
        }
    }

    /// Sends a part of what the proxy has not been sent: the whole table, or one delta. Whether there is more: pings are answered in
    /// between.
    async fn pump(&mut self) -> Result<bool, Status> {
        if self.ready.is_empty() {
            let head = *self.head.borrow_and_update();
            match self.feed.step(head) {
                Step::Wait => return Ok(false),
                Step::Snapshot => return self.snapshot().await.map(|()| true),
                Step::Read { after, limit } => self.read(after, limit).await?,
            }
        }
        if let Some((after, delta)) = self.ready.pop_front() {
            for part in chunk::delta(after, delta) {
                send(&self.wire.down, part).await?;
            }
        }
        Ok(true)
    }

    async fn snapshot(&mut self) -> Result<(), Status> {
        let (revision, grants) = self.plane.with_state(|state| {
            let grants: Vec<_> = state.live().map(|live| live.grant.clone()).collect();
            (state.revision(), grants)
        });
        for part in chunk::snapshot(revision, grants) {
            send(&self.wire.down, part).await?;
        }
        self.feed.snapshot(revision);
        Ok(())
    }

    async fn read(&mut self, after: Revision, limit: usize) -> Result<(), Status> {
        let page = self.plane.read(after, limit).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot read the event log");
            Status::unavailable("the event log cannot be read")
        })?;
        let deltas = self.feed.page(&page).map_err(|hole| Status::unavailable(hole.to_string()))?;
        self.ready.extend(deltas);
        Ok(())
    }

    /// Law 6: the head is read after the ping has come. Whoever lost the role gets no lease any more.
    async fn pong(&mut self, n: u64) -> Result<(), Status> {
        if !self.plane.rules().roles.may(&self.caller.identity, Need::Enforce) {
            return Err(Status::permission_denied("needs the role `proxy`"));
        }
        let lease =
            LeaseLength::try_from(self.plane.lease()).map_err(|error| Status::internal(error.to_string()))?;
        let (now, until) = (self.plane.control_time(), self.plane.mono().plus(lease.get()));
        // Noted before anything is confirmed for it: what is revoked from then on counts with a lease that may yet be handed out, however
        // long that takes. A receipt must not be ahead of the truth.
        self.follows.lease(until.plus(self.plane.clock_drift())).map_err(retired)?;
        self.connected.leased(until, now);
        // A lease says that the proxy knows the keys of now.
        self.publish_keys().await?;
        let Confirmed { head, needed } = self.plane.confirm_head().await.map_err(unavailable)?;
        // A little of what waits goes first, so that the digest is as a rule for where the proxy then stands.
        self.pump().await?;
        // Where events come faster than they are sent, it is for a revision at which the proxy does not stand, and is not compared.
        let (digest_revision, digest) = self.plane.with_state(|state| (state.revision(), state.digest()));
        let control_time = self.plane.control_time();
        let pong = Pong { n, head, needed, control_time, lease, digest_revision, digest };
        send(&self.wire.down, convert::pong(pong)).await
    }

    /// Logs what is new in what the proxy says of its audit trail. If that cannot be now, the next ping says it again.
    async fn note_audit(&self, audit: Option<AuditHealth>, witness_disputes: u32) -> Result<(), Status> {
        let proxy = self.caller.proxy.clone();
        let (before, may_be_disputed) = self.plane.with_state(|state| {
            let known = state.proxies().get(&proxy);
            let before = known.and_then(|known| known.audit).map_or(AuditHealth::Good, |(health, _)| health);
            (before, known.is_some_and(KnownProxy::may_be_disputed))
        });
        let health = audit.filter(|health| *health != before);
        let health = health.map(|health| Command::ReportAudit { proxy: proxy.clone(), health });
        let dispute = (witness_disputes > 0 && may_be_disputed).then_some(Command::ReportDispute { proxy });
        for command in health.into_iter().chain(dispute) {
            match submit(&self.plane, &self.caller, command).await {
                Err(status) if status.code() != tonic::Code::Unavailable => return Err(status),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Logs what was acknowledged, or says how long that must wait. It is kept until it is logged, also over the end of the stream.
    async fn acknowledge(&mut self) -> Result<Option<Duration>, Status> {
        let now = self.plane.mono();
        match self.follows.heard(now).map_err(retired)? {
            None => Ok(None),
            Some((_, wait)) if !wait.is_zero() => Ok(Some(wait)),
            Some(_) if now < self.ack_again => Ok(Some(self.ack_again.since(now))),
            Some((ack, _)) => {
                let (proxy, revision) = (self.caller.proxy.clone(), ack.revision);
                // As a rule nothing: then the writer, which may be busy for long with a bulk of grants, is not waited for.
                if self.plane.with_state(|state| state.is_confirmed_by(&proxy, revision)) {
                    let command = Command::Acknowledge { proxy, revision, streams_cut: ack.streams_cut };
                    match submit(&self.plane, &self.caller, command).await {
                        Ok(_) => {}
                        // Its pings are answered meanwhile: the lease is no matter of the log's being busy.
                        Err(status) if status.code() == tonic::Code::Unavailable => {
                            self.ack_again = now.plus(AGAIN);
                            return Ok(Some(AGAIN));
                        }
                        Err(status) => return Err(status),
                    }
                }
                self.follows.settled(ack).map_err(retired)?;
                self.connected.applied(ack.revision, self.plane.control_time());
                Ok(None)
            }
        }
    }

    async fn reserve(&mut self, grant: GrantId, want: u64, nonce: u64) -> Result<(), Status> {
        let command = Command::ReserveUses { proxy: self.caller.proxy.clone(), grant, want };
        let granted = match submit(&self.plane, &self.caller, command).await {
            Ok(outcome) => match outcome {
                Outcome::Reserved { uses } => Some(uses),
                Outcome::Granted(_)
                | Outcome::Revoked { .. }
                | Outcome::Ended(_)
                | Outcome::Joined
                | Outcome::Acknowledged
                | Outcome::LeaseRaised
                | Outcome::Request { .. }
                | Outcome::Done => None,
            },
            Err(status) if status.code() == tonic::Code::Unavailable => None,
            Err(status) => return Err(status),
        };
        send(&self.wire.down, convert::uses_reserved(nonce, granted)).await
    }
}

fn retired(retired: Retired) -> Status {
    Status::already_exists(retired.to_string())
}

#[cfg(test)]
mod tests;
