//! The writer against a log that misbehaves, and a clock that does.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the one outcome that it expects")]

use super::*;
use crate::config::Role;
use crate::control::authz::Roles;
use crate::control::expire;
use crate::control::log::memory::MemoryLog;
use crate::control::log::{AppendError, Identity};
use crate::control::receipt::Receipt;
use crate::control::state::{GrantSpec, Issued};
use crate::control::workflow::AccessCommand;
use crate::model::event::{Event, EventBody, Everything, Selector, TaskOutcome};
use crate::model::grant::{Conditions, Limits};
use crate::model::{KeptTrail, ProxyName, RevocationId, SpiffeId, TrailFault, TrailHead, Ttl};
use crate::tlog::{Hash, Tree};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

const ADMIN: &str = "spiffe://d/operator/admin";
const EDGE: &str = "spiffe://d/proxy/edge";

fn as_(id: &str) -> Actor {
    Actor::Identity(id.parse().unwrap())
}

/// What the next append does.
#[derive(Debug, Clone)]
enum Next {
    /// Somebody else appends first.
    Conflict,
    /// It fails, and wrote nothing.
    Fail,
    /// It fails, but it was written.
    FailWritten,
    /// It takes until it is told to go on.
    Wait(Arc<Notify>),
}

struct Moody {
    inner: MemoryLog,
    next: Mutex<VecDeque<Next>>,
    appends: Mutex<Vec<usize>>,
    /// Whether anything can be kept beside the events.
    keeps: AtomicBool,
    /// Told when an append waits.
    waits: Notify,
}

impl Moody {
    fn new(next: impl IntoIterator<Item = Next>) -> Arc<Self> {
        let inner = MemoryLog::new(LogId([7; 16]));
        let keeps = AtomicBool::new(true);
        let (next, appends) = (Mutex::new(next.into_iter().collect()), Mutex::default());
        Arc::new(Self { inner, next, appends, keeps, waits: Notify::new() })
    }
}

impl EventLog for Moody {
    fn identity(&self) -> Identity {
        self.inner.identity()
    }
    fn head(&self) -> BoxFuture<'_, Result<Revision, LogError>> {
        self.inner.head()
    }
    fn read(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<Recorded>, LogError>> {
        self.inner.read(after, limit)
    }
    fn entries(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<String>, LogError>> {
        self.inner.entries(after, limit)
    }

    fn append(
        &self,
        expected: Revision,
        events: Vec<Arc<Event>>,
    ) -> BoxFuture<'_, Result<Revision, AppendError>> {
        async move {
            self.appends.lock().push(events.len());
            let next = self.next.lock().pop_front();
            match next {
                None => self.inner.append(expected, events).await,
                Some(Next::Conflict) => {
                    let time = events[0].time;
                    let body = EventBody::LeaseRaised { lease_ms: 1 };
                    let other = Arc::new(Event { time, actor: Actor::System, body });
                    self.inner.append(expected, vec![other]).await?;
                    self.inner.append(expected, events).await
                }
                Some(Next::Wait(told)) => {
                    self.waits.notify_one();
                    told.notified().await;
                    self.inner.append(expected, events).await
                }
                Some(Next::Fail) => Err(AppendError::Log(LogError::Closed)),
                Some(Next::FailWritten) => {
                    self.inner.append(expected, events).await?;
                    Err(AppendError::Log(LogError::Closed))
                }
            }
        }
        .boxed()
    }

    fn keep_trails(&self, trails: Vec<KeptTrail>) -> BoxFuture<'_, Result<(), LogError>> {
        match self.keeps.load(Ordering::Relaxed) {
            true => self.inner.keep_trails(trails),
            false => async { Err(LogError::Closed) }.boxed(),
        }
    }
    fn kept_trails(&self) -> BoxFuture<'_, Result<Vec<KeptTrail>, LogError>> {
        self.inner.kept_trails()
    }
}

type Clocks = Arc<Mutex<(Time, Mono)>>;

fn clocks() -> (Clocks, ControlClock) {
    let clocks = Arc::new(Mutex::new((Time::from_micros(1_000_000_000), Mono::from_nanos(0))));
    let source = Arc::clone(&clocks);
    (clocks, ControlClock::new(Arc::new(move || *source.lock())))
}

fn pass(clocks: &Clocks, time: Duration) {
    let mut clocks = clocks.lock();
    *clocks = (clocks.0.plus(time), clocks.1.plus(time));
}

async fn plane(log: Arc<dyn EventLog>, clock: ControlClock) -> Plane {
    let identities =
        [(ADMIN.parse().unwrap(), vec![Role::Admin]), (EDGE.parse().unwrap(), vec![Role::Proxy])];
    let rules = Rules::new(Duration::from_secs(3600), Roles::new(identities, []));
    let options =
        PlaneOptions { rules, lease: Duration::from_secs(15), clock_drift: Duration::from_secs(1), clock };
    Plane::start(log, options).await.unwrap()
}

fn grant(task: usize, limits: Limits) -> Command {
    let scope =
        serde_json::json!([{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/**"]}]);
    let spec = GrantSpec {
        principal: "spiffe://d/agent/a".parse::<SpiffeId>().unwrap(),
        task: format!("t{task}").parse().unwrap(),
        scope: serde_json::from_value(scope).unwrap(),
        ttl: Ttl::new(Duration::from_secs(60)).unwrap(),
        not_before: None,
        conditions: Conditions::default(),
        limits,
        recording: Default::default(),
        reason: "a test".into(),
    };
    Command::Grant(vec![spec].into())
}

async fn issue(plane: &Plane, task: usize) -> Result<Issued, Refusal> {
    match plane.submit(as_(ADMIN), grant(task, Limits::default())).await? {
        Outcome::Granted(mut issued) => Ok(issued.remove(0)),
        other => panic!("{other:?}"),
    }
}

async fn revoke_all(plane: &Plane) -> RevocationId {
    let revoke = Command::Revoke { selector: Selector::All(Everything), reason: "a test".into() };
    match plane.submit(as_(ADMIN), revoke).await.unwrap() {
        Outcome::Revoked { revocation, .. } => revocation,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn commands_that_wait_are_appended_together_and_each_gets_its_own_answer() {
    let log = Moody::new([]);
    let plane = plane(log.clone(), clocks().1).await;
    let all = futures_util::future::join_all((0..50).map(|task| issue(&plane, task % 40))).await;
    let fresh = all.iter().filter(|issued| !issued.as_ref().unwrap().existing).count();
    assert_eq!(fresh, 40, "one live grant for each task, also within one group");
    assert!(log.appends.lock().len() < 20, "{:?}", log.appends.lock());
    let head = plane.confirm_head().await.unwrap().head;
    assert_eq!((head, *plane.head().borrow(), plane.with_state(State::revision)), (Revision(41), head, head));
    // Each grant is in the log under the revision that it carries.
    for issued in all {
        let grant = issued.unwrap().grant;
        let recorded = plane.read(Revision(grant.revision.0 - 1), 1).await.unwrap().remove(0);
        assert!(
            matches!(&recorded.event.body, EventBody::GrantsIssued { grants, .. } if grants.contains(&grant))
        );
    }
}

#[tokio::test]
async fn heads_are_confirmed_between_commands_that_are_slow_to_decide() {
    let log = Moody::new([]);
    let time = Mutex::new(Duration::ZERO);
    let slow = ControlClock::new(Arc::new(move || {
        let mut time = time.lock();
        *time += Duration::from_millis(60);
        (Time::from_micros(1_000_000_000).plus(*time), Mono::from_nanos(0).plus(*time))
    }));
    let plane = plane(log.clone(), slow).await;
    for issued in futures_util::future::join_all((0..40).map(|task| issue(&plane, task))).await {
        issued.unwrap();
    }
    assert!(log.appends.lock().iter().all(|events| *events <= 3), "{:?}", log.appends.lock());
}

#[tokio::test]
async fn a_revocation_is_decided_before_everything_that_waits() {
    let plane = plane(Moody::new([]), clocks().1).await;
    issue(&plane, 0).await.unwrap();
    let grants = futures_util::future::join_all((1..40).map(|task| issue(&plane, task)));
    let (_, revocation) = futures_util::future::join(grants, revoke_all(&plane)).await;
    let revision = plane.with_state(|state| state.revocation(revocation).unwrap().revision);
    assert_eq!(revision, Revision(3), "after the lease and the first grant");
    assert_eq!(plane.with_state(|state| state.live().len()), 39, "what was asked for later is not in it");
}

#[tokio::test]
async fn whoever_has_no_role_leaves_room_in_the_queue() {
    let plane = plane(Moody::new([]), clocks().1).await;
    let end = || AccessCommand::EndTask {
        task: "t".parse().unwrap(),
        outcome: TaskOutcome::Done,
        reason: "a test".into(),
    };
    let ask = |_| plane.submit(as_("spiffe://d/agent/a"), Command::Access(end()));
    let all = futures_util::future::join_all((0..200).map(ask)).await;
    let busy = all.iter().filter(|outcome| **outcome == Err(Refusal::Busy)).count();
    assert_eq!(busy, 200 - STRANGER);
    assert_eq!(ask(0).await, Err(Refusal::NotFound { what: "task" }), "it gets its places back");
}

#[tokio::test]
async fn proxies_and_the_control_plane_itself_wait_for_nobody_without_a_role() {
    let plane = plane(Moody::new([]), clocks().1).await;
    let edge: ProxyName = "edge".parse().unwrap();
    plane.submit(as_(EDGE), Command::Join { proxy: edge.clone() }).await.unwrap();
    issue(&plane, 1).await.unwrap();
    revoke_all(&plane).await;
    let end = AccessCommand::EndTask {
        task: "t".parse().unwrap(),
        outcome: TaskOutcome::Done,
        reason: "a test".into(),
    };
    let strangers = (0..20).flat_map(|number| {
        let who = as_(&format!("spiffe://d/agent/{number}"));
        std::iter::repeat_n((who, Command::Access(end.clone())), 200)
    });
    let revision = *plane.head().borrow();
    let urgent = [
        (as_(EDGE), Command::Join { proxy: edge.clone() }),
        (as_(EDGE), Command::Acknowledge { proxy: edge, revision, streams_cut: 0 }),
        (Actor::System, Command::Expire),
        (as_(ADMIN), Command::Revoke { selector: Selector::All(Everything), reason: "a test".into() }),
    ];
    let operator = (as_(ADMIN), grant(2, Limits::default()));
    // All of them wait before the first is decided on, these last.
    let all = strangers.chain(urgent).chain([operator]);
    let answered = Mutex::new(Vec::new());
    let all = futures_util::future::join_all(all.enumerate().map(|(place, (actor, command))| {
        let (plane, answered) = (&plane, &answered);
        async move {
            let outcome = plane.submit(actor, command).await;
            if outcome != Err(Refusal::Busy) {
                answered.lock().push(place);
            }
            outcome
        }
    }));
    let outcomes = tokio::task::unconstrained(all).await;
    let (strangers, others) = outcomes.split_at(20 * 200);
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    let answered = answered.into_inner();
    assert_eq!(answered[..4], [4000, 4001, 4002, 4003], "in the order in which they came");
    let waited = strangers.iter().filter(|outcome| **outcome != Err(Refusal::Busy)).count();
    assert!(waited > STRANGERS / 2 && waited <= STRANGERS, "{waited}");
    let first = |who: usize| outcomes[who * 200] != Err(Refusal::Busy);
    assert!((0..8).all(first), "some of them do not take what the others need");
}

#[tokio::test]
async fn after_a_conflict_everything_is_decided_again_on_what_was_read() {
    let log = Moody::new([]);
    let plane = plane(log.clone(), clocks().1).await;
    log.next.lock().extend([Next::Conflict, Next::Conflict]);
    let issued = issue(&plane, 1).await.unwrap();
    assert_eq!(issued.grant.revision, Revision(4), "after the lease and the two of somebody else");
    assert_eq!(plane.confirm_head().await.unwrap().head, Revision(4));
    log.next.lock().extend(std::iter::repeat_n(Next::Conflict, 16));
    assert_eq!(issue(&plane, 2).await.unwrap_err(), Refusal::Busy);
    assert_eq!(plane.with_state(|state| state.live().len()), 1);
    assert!(!issue(&plane, 2).await.unwrap().existing);
}

#[tokio::test]
async fn nothing_is_answered_or_shown_that_is_not_durable() {
    let log = Moody::new([]);
    let plane = plane(log.clone(), clocks().1).await;
    log.next.lock().push_back(Next::Fail);
    assert_eq!(issue(&plane, 1).await.unwrap_err(), Refusal::Unknown);
    assert_eq!(plane.with_state(|state| (state.live().len(), state.revision())), (0, Revision(1)));
    // What was not written is not there for the next decision either.
    assert!(!issue(&plane, 1).await.unwrap().existing);
    // What was written although the log said no is found by reading.
    log.next.lock().push_back(Next::FailWritten);
    assert_eq!(issue(&plane, 2).await.unwrap_err(), Refusal::Unknown);
    assert!(issue(&plane, 2).await.unwrap().existing);
    assert_eq!(*plane.head().borrow(), plane.confirm_head().await.unwrap().head);
}

#[tokio::test]
async fn a_restart_has_the_same_state() {
    let log = Moody::new([]);
    let (first, again) = {
        let plane = plane(log.clone(), clocks().1).await;
        for task in 0..10 {
            issue(&plane, task).await.unwrap();
        }
        revoke_all(&plane).await;
        issue(&plane, 10).await.unwrap();
        (plane.with_state(Clone::clone), self::plane(log, clocks().1).await)
    };
    again.with_state(|state| {
        assert_eq!((state.revision(), state.digest()), (first.revision(), first.digest()));
        assert_eq!(state.live().len(), 1);
        assert_eq!(state.revocations().count(), 1);
    });
}

#[tokio::test]
async fn a_clock_that_is_set_back_prolongs_nothing() {
    let (clocks, clock) = clocks();
    let log = Moody::new([]);
    let plane = plane(log.clone(), clock).await;
    let issued = issue(&plane, 1).await.unwrap().grant;
    clocks.lock().0 = Time::from_micros(1);
    assert!(plane.control_time() >= issued.not_before);
    assert!(issue(&plane, 2).await.unwrap().grant.not_before >= issued.not_before);
    // A minute later by the clock that cannot be set, it is over.
    clocks.lock().1 = Mono::from_nanos(61_000_000_000);
    assert_eq!(expire::reconcile(&plane).await.unwrap(), 2);
    assert_eq!(expire::reconcile(&plane).await.unwrap(), 0, "a second time changes nothing");
    // After a restart with the clock still wrong, time goes on from the last event.
    let last = plane.with_state(State::time);
    clocks.lock().0 = Time::from_micros(5);
    let source = clocks.clone();
    let again = self::plane(log, ControlClock::new(Arc::new(move || *source.lock()))).await;
    assert!(again.control_time() >= last);
}

#[tokio::test]
async fn idle_and_spent_grants_end() {
    let (clocks, clock) = clocks();
    let plane = plane(Moody::new([]), clock).await;
    let limits = Limits {
        idle_timeout: Some(Ttl::new(Duration::from_secs(10)).unwrap()),
        bytes: std::num::NonZeroU64::new(100),
        ..Limits::default()
    };
    let mut ids = Vec::new();
    for task in 0..3 {
        match plane.submit(as_(ADMIN), grant(task, limits)).await.unwrap() {
            Outcome::Granted(issued) => ids.push(issued[0].grant.id),
            other => panic!("{other:?}"),
        }
    }
    let edge: ProxyName = "edge".parse().unwrap();
    let used = |grant, bytes_total| GrantUsage {
        grant,
        requests_total: 1,
        bytes_total,
        last_used: plane.control_time(),
    };
    pass(&clocks, Duration::from_secs(6));
    // A restart of the proxy in between: its totals begin again, ours do not.
    plane.report_usage(&(edge.clone(), 1), &[used(ids[0], 60), used(ids[1], 60)]);
    plane.report_usage(&(edge, 2), &[used(ids[0], 39), used(ids[1], 40)]);
    pass(&clocks, Duration::from_secs(5));
    // What has not been heard of may have been used since: a report comes within two fifths of a lease.
    assert_eq!(expire::reconcile(&plane).await.unwrap(), 1);
    pass(&clocks, Duration::from_secs(5));
    assert_eq!(expire::reconcile(&plane).await.unwrap(), 1);
    let end = |id| plane.with_state(|state| state.find(id).unwrap().end(plane.control_time()));
    assert_eq!([end(ids[0]), end(ids[1]), end(ids[2])], [None, Some(EndCause::Limit), Some(EndCause::Idle)]);
}

#[tokio::test]
async fn bytes_count_over_a_restart_of_the_control_plane_whether_or_not_the_proxy_comes_back() {
    let (clocks, clock) = clocks();
    let log = Moody::new([]);
    let plane = plane(log.clone(), clock).await;
    let limits = Limits { bytes: std::num::NonZeroU64::new(100), ..Limits::default() };
    let mut ids = Vec::new();
    for task in 0..3 {
        match plane.submit(as_(ADMIN), grant(task, limits)).await.unwrap() {
            Outcome::Granted(issued) => ids.push(issued[0].grant.id),
            other => panic!("{other:?}"),
        }
    }
    let edge: ProxyName = "edge".parse().unwrap();
    let used = |grant, bytes_total| GrantUsage {
        grant,
        requests_total: bytes_total,
        bytes_total,
        last_used: plane.control_time(),
    };
    plane.report_usage(&(edge.clone(), 1), &[used(ids[0], 60), used(ids[1], 60), used(ids[2], 60)]);
    expire::reconcile(&plane).await.unwrap();
    // The same again, and a lost answer's older total: nothing new, so nothing is logged.
    let head = *plane.head().borrow();
    plane.report_usage(&(edge.clone(), 1), &[used(ids[0], 60), used(ids[1], 50)]);
    expire::reconcile(&plane).await.unwrap();
    assert_eq!(*plane.head().borrow(), head);

    let source = clocks.clone();
    let again = self::plane(log, ControlClock::new(Arc::new(move || *source.lock()))).await;
    // One goes on with the process of before, one with another, one with none that is ever heard of again.
    again.report_usage(&(edge.clone(), 1), &[used(ids[0], 99)]);
    again.report_usage(&(edge, 2), &[used(ids[1], 40)]);
    expire::reconcile(&again).await.unwrap();
    let end = |id| again.with_state(|state| state.find(id).unwrap().end(again.control_time()));
    assert_eq!(ids.iter().map(|id| end(*id)).collect::<Vec<_>>(), [None, Some(EndCause::Limit), None]);
}

#[tokio::test]
async fn a_receipt_waits_for_each_proxy_that_may_hold_a_lease() {
    let (clocks, clock) = clocks();
    let log = Moody::new([]);
    let plane = plane(log.clone(), clock).await;
    let edge: ProxyName = "edge".parse().unwrap();
    plane.submit(as_(EDGE), Command::Join { proxy: edge.clone() }).await.unwrap();
    issue(&plane, 1).await.unwrap();
    let connected = plane.presence().connected(edge.clone(), plane.control_time());
    connected.leased(plane.mono().plus(Duration::from_secs(15)), plane.control_time());
    let revocation = revoke_all(&plane).await;
    let receipt = Receipt::of(&plane, revocation).unwrap();
    assert!(!receipt.effective && receipt.proxies[0].state == "pending" && receipt.grants.len() == 1);
    assert_eq!(receipt.effective_by, receipt.accepted_at.plus(Duration::from_secs(16)));
    // The wall clock jumps an hour ahead: that ends no lease.
    clocks.lock().0 = Time::from_micros(1_000_000_000).plus(Duration::from_secs(3600));
    assert!(!Receipt::is_effective(&plane, revocation));
    let revision = *plane.head().borrow();
    let ack = Command::Acknowledge { proxy: edge.clone(), revision, streams_cut: 3 };
    plane.submit(as_(EDGE), ack).await.unwrap();
    let receipt = Receipt::of(&plane, revocation).unwrap();
    assert!(receipt.effective && receipt.proxies[0].streams_cut == Some(3));

    // Another, never confirmed; and the control plane restarts: the proxy may hold a lease that this process never gave.
    let second = revoke_all(&plane).await;
    let source = clocks.clone();
    let again = self::plane(log, ControlClock::new(Arc::new(move || *source.lock()))).await;
    assert!(Receipt::is_effective(&again, revocation) && !Receipt::is_effective(&again, second));
    pass(&clocks, Duration::from_secs(15));
    assert!(!Receipt::is_effective(&again, second), "the drift counts");
    pass(&clocks, Duration::from_secs(1));
    let receipt = Receipt::of(&again, second).unwrap();
    assert!(receipt.effective && receipt.proxies[0].state == "lapsed");
}

#[tokio::test]
async fn new_rules_count_for_the_next_command() {
    let plane = plane(Moody::new([]), clocks().1).await;
    issue(&plane, 1).await.unwrap();
    plane.set_rules(Rules::new(Duration::from_secs(3600), Roles::default()));
    assert!(matches!(issue(&plane, 2).await, Err(Refusal::Role { .. })));
}

#[tokio::test]
async fn followers_see_every_event_once_from_memory_or_from_the_log() {
    let log = Moody::new([]);
    let first = plane(log.clone(), clocks().1).await;
    for task in 0..20 {
        issue(&first, task).await.unwrap();
    }
    // This one has nothing in memory before what it writes itself.
    let second = plane(log, clocks().1).await;
    issue(&second, 99).await.unwrap();
    let pages = futures_util::stream::unfold((second.clone(), Revision(0)), |(plane, after)| async move {
        let page = plane.read(after, 3).await.unwrap();
        let last = page.last()?.revision;
        Some((page, (plane, last)))
    });
    let revisions: Vec<u64> = pages
        .flat_map(|page| futures_util::stream::iter(page.into_iter().map(|recorded| recorded.revision.0)))
        .collect()
        .await;
    assert_eq!(revisions, (1..=22).collect::<Vec<_>>());
}

/// A bulk grant of 300, which only adds.
fn bulk() -> Command {
    let one = |task| match grant(task, Limits::default()) {
        Command::Grant(specs) => specs[0].clone(),
        other => panic!("{other:?}"),
    };
    Command::Grant((1_000..1_300).map(one).collect())
}

#[tokio::test]
async fn heads_are_confirmed_while_a_bulk_grant_is_written() {
    let log = Moody::new([]);
    let plane = plane(log.clone(), clocks().1).await;
    issue(&plane, 1).await.unwrap();
    revoke_all(&plane).await;
    let before = plane.confirm_head().await.unwrap();
    assert_eq!((before.head, before.needed), (Revision(3), Revision(3)));

    let written = Arc::new(Notify::new());
    log.next.lock().push_back(Next::Wait(written.clone()));
    let submitted = tokio::spawn({
        let plane = plane.clone();
        async move { plane.submit(as_(ADMIN), bulk()).await }
    });
    log.waits.notified().await;
    assert_eq!(plane.confirm_head().await.unwrap(), before, "nothing of it is durable yet");
    written.notify_one();
    submitted.await.unwrap().unwrap();
    let after = plane.confirm_head().await.unwrap();
    assert!(after.head > before.head);
    assert_eq!(after.needed, before.needed, "what was only added is not needed for a lease");
}

#[tokio::test]
async fn no_head_is_confirmed_while_a_revocation_is_written() {
    let log = Moody::new([]);
    let plane = plane(log.clone(), clocks().1).await;
    issue(&plane, 1).await.unwrap();
    let written = Arc::new(Notify::new());
    log.next.lock().push_back(Next::Wait(written.clone()));
    let revoked = tokio::spawn({
        let plane = plane.clone();
        async move { revoke_all(&plane).await }
    });
    log.waits.notified().await;
    // It has its time already: whoever asks from now on must hear of it.
    let mut confirming = Box::pin(plane.confirm_head());
    assert!(futures_util::poll!(&mut confirming).is_pending());
    written.notify_one();
    let confirmed = confirming.await.unwrap();
    let revocation = revoked.await.unwrap();
    let revision = plane.with_state(|state| state.revocation(revocation).unwrap().revision);
    assert_eq!((confirmed.head, confirmed.needed), (revision, revision));
}

#[tokio::test]
async fn what_another_process_appended_is_needed_whole() {
    let log = Moody::new([]);
    let plane = plane(log.clone(), clocks().1).await;
    let time = plane.with_state(State::time);
    let body = EventBody::GrantsEnded { grants: Vec::new(), cause: EndCause::Limit };
    let other = Arc::new(Event { time, actor: Actor::System, body });
    log.inner.append(Revision(1), vec![other]).await.unwrap();
    let confirmed = plane.confirm_head().await.unwrap();
    assert_eq!((confirmed.head, confirmed.needed), (Revision(2), Revision(2)));
}

#[tokio::test]
async fn what_is_read_of_the_log_as_it_is_is_bounded_by_bytes_and_ends_with_the_log() {
    let plane = plane(Moody::new([]), clocks().1).await;
    for task in 0..150 {
        issue(&plane, task).await.unwrap();
    }
    let head = plane.with_state(State::revision).0;
    let all = plane.entries(Revision(0), 100_000).await.unwrap();
    assert_eq!(all.len() as u64, head, "over several pages");
    assert_eq!(plane.entries(Revision(3), 70).await.unwrap(), all[3..73]);
    assert!(plane.entries(Revision(head), 10).await.unwrap().is_empty());
    assert!(plane.entries(Revision(u64::MAX), 10).await.unwrap().is_empty());
    // Large events: what is asked for comes in parts.
    let Command::Grant(specs) = grant(1, Limits::default()) else { panic!("no grant") };
    let large = GrantSpec { reason: "x".repeat(900).into(), ..specs[0].clone() };
    for call in 0..300 {
        let specs =
            (0..70).map(|n| GrantSpec { task: format!("l-{call}-{n}").parse().unwrap(), ..large.clone() });
        plane.submit(as_(ADMIN), Command::Grant(specs.collect::<Vec<_>>().into())).await.unwrap();
    }
    let events = plane.with_state(State::revision).0 - head;
    let some = plane.entries(Revision(head), 100_000).await.unwrap();
    assert!((some.len() as u64) < events, "{} of {events} events", some.len());
    let rest = plane.entries(Revision(head + some.len() as u64), 100_000).await.unwrap();
    assert_eq!((some.len() + rest.len()) as u64, events);
}

#[tokio::test]
async fn what_a_witness_claims_takes_no_place_of_what_was_found() {
    let plane = plane(Moody::new([]), clocks().1).await;
    let name = |number: usize| format!("w{number}").parse::<WitnessName>().unwrap();
    for number in 0..100 {
        plane.witness_has_claimed(&name(number), "of before");
    }
    plane.witness_has_claimed(&name(0), "of now");
    assert_eq!(plane.log_dispute(), None, "it is signed for all the same");
    plane.log_is_disputed("found".to_owned());
    assert_eq!(plane.log_dispute(), Some("found"));
    let claims = plane.witness_claims();
    assert_eq!((claims.len(), &claims[0]), (16, &(name(0), "of now".to_owned())));
}

/// The checkpoint of a trail of so many equal lines, with the proof from 1 to 2 or from 2 to 3 lines.
fn checkpoint(size: u64, since: u64) -> Command {
    let line = Hash::leaf(b"a line");
    let mut tree = Tree::default();
    (0..size).for_each(|_| tree.push(line));
    let head = TrailHead { key: "k".to_owned(), size, root: tree.root().to_string(), note: String::new() };
    let proof = if since > 0 && size == since + 1 { vec![line] } else { Vec::new() };
    Command::KeepCheckpoint { proxy: "edge".parse().unwrap(), head, since, proof: proof.into() }
}

/// Of the trail of the only proxy: how many lines it has, and what is wrong with it.
fn trail(plane: &Plane) -> (u64, Option<TrailFault>) {
    plane.with_state(|state| {
        let trail = state.proxies().values().next().unwrap().trail.as_deref().unwrap();
        (trail.head.size, trail.disputed.map(|(fault, _)| fault))
    })
}

#[tokio::test]
async fn a_checkpoint_that_was_acknowledged_is_there_after_a_restart_and_costs_no_event() {
    let (clocks, clock) = clocks();
    let log = Moody::new([]);
    let plane = plane(log.clone(), clock).await;
    let again = || {
        let source = clocks.clone();
        self::plane(log.clone(), ControlClock::new(Arc::new(move || *source.lock())))
    };
    let join = Command::Join { proxy: "edge".parse().unwrap() };
    plane.submit(as_(EDGE), join).await.unwrap();
    plane.submit(as_(EDGE), checkpoint(1, 0)).await.unwrap();
    let head = *plane.head().borrow();
    pass(&clocks, Duration::from_secs(1));
    plane.submit(as_(EDGE), checkpoint(2, 1)).await.unwrap();
    assert_eq!((trail(&plane), *plane.head().borrow()), ((2, None), head));

    // The clock of the next process is behind: the time of what is kept is not in the future.
    let kept_at = plane.control_time();
    *clocks.lock() = (Time::from_micros(1), Mono::from_nanos(0));
    let second = again().await;
    assert!(trail(&second) == (2, None) && second.control_time() >= kept_at);
    second.submit(as_(EDGE), checkpoint(3, 2)).await.unwrap();
    // The log gets it later; then a restart needs nothing else.
    pass(&clocks, Duration::from_secs(300));
    expire::reconcile(&second).await.unwrap();
    expire::reconcile(&second).await.unwrap();
    assert_eq!((trail(&second), *second.head().borrow()), ((3, None), head.next()));
    let third = again().await;
    assert_eq!(trail(&third), (3, None));
    // Whoever cuts the trail short meanwhile is found out.
    third.submit(as_(EDGE), checkpoint(2, 3)).await.unwrap();
    assert_eq!(
        (trail(&third), trail(&again().await)),
        ((2, Some(TrailFault::RolledBack)), (2, Some(TrailFault::RolledBack)))
    );
}

#[tokio::test]
async fn a_checkpoint_that_could_not_be_kept_is_not_acknowledged_and_what_came_with_it_is() {
    let log = Moody::new([]);
    let plane = plane(log.clone(), clocks().1).await;
    let join = Command::Join { proxy: "edge".parse().unwrap() };
    plane.submit(as_(EDGE), join).await.unwrap();
    plane.submit(as_(EDGE), checkpoint(1, 0)).await.unwrap();
    log.keeps.store(false, Ordering::Relaxed);
    let all = futures_util::future::join3(
        issue(&plane, 1),
        plane.submit(as_(EDGE), checkpoint(2, 1)),
        // It says the same as one that is not durable.
        plane.submit(as_(EDGE), checkpoint(2, 1)),
    );
    let (issued, first, second) = all.await;
    assert_eq!((first, second), (Err(Refusal::Unknown), Err(Refusal::Unknown)));
    assert!(!issued.unwrap().existing);
    assert_eq!((trail(&plane), plane.with_state(|state| state.live().len())), ((1, None), 1));
    log.keeps.store(true, Ordering::Relaxed);
    plane.submit(as_(EDGE), checkpoint(2, 1)).await.unwrap();
    assert_eq!(trail(&plane), (2, None));
}
