//! What each event log promises. A backend takes part by one line in `backends!`.

use jitgate::control::log::memory::MemoryLog;
use jitgate::control::log::sqlite::SqliteLog;
use jitgate::control::log::{AppendError, EventLog};
use jitgate::model::event::{Actor, Event, EventBody};
use jitgate::model::{KeptTrail, LogId, Revision, Time, TrailHead};
use jitgate::tlog::Hash;
use std::sync::Arc;

pub(crate) fn event(number: u64) -> Arc<Event> {
    let time = Time::from_micros(i64::try_from(number).unwrap());
    Arc::new(Event { time, actor: Actor::System, body: EventBody::LeaseRaised { lease_ms: number } })
}

pub(crate) fn events(numbers: std::ops::RangeInclusive<u64>) -> Vec<Arc<Event>> {
    numbers.map(event).collect()
}

/// So many lines of the trail of a proxy.
pub(crate) fn trail(proxy: &str, size: u64) -> KeptTrail {
    let text = format!("{proxy} {size}");
    let head = TrailHead { key: text.clone(), size, root: text.clone(), note: text };
    let at = Time::from_micros(i64::try_from(size).unwrap());
    KeptTrail { proxy: proxy.parse().unwrap(), logged: Revision(size), at, head }
}

async fn is_empty_at_first(log: Arc<dyn EventLog>) {
    assert_eq!(log.head().await.unwrap(), Revision(0));
    assert!(log.read(Revision(0), 10).await.unwrap().is_empty());
}

async fn reads_what_was_appended_in_order_and_without_gaps(log: Arc<dyn EventLog>) {
    assert_eq!(log.append(Revision(0), events(1..=3)).await.unwrap(), Revision(3));
    assert_eq!(log.append(Revision(3), events(4..=1_300)).await.unwrap(), Revision(1_300));
    assert_eq!(log.head().await.unwrap(), Revision(1_300));
    let mut after = Revision(0);
    while after < Revision(1_300) {
        let page = log.read(after, 7).await.unwrap();
        assert!((1..=7).contains(&page.len()));
        for recorded in page {
            assert_eq!(recorded.revision, after.next());
            assert_eq!(recorded.event, event(recorded.revision.0));
            after = recorded.revision;
        }
    }
    assert!(log.read(Revision(1_300), 7).await.unwrap().is_empty());
    assert!(log.read(Revision(u64::MAX), 7).await.unwrap().is_empty());
}

async fn refuses_an_append_on_another_head_and_writes_nothing(log: Arc<dyn EventLog>) {
    log.append(Revision(0), events(1..=2)).await.unwrap();
    for expected in [0, 1, 3, 99] {
        for last in [90, 95, 2_000] {
            let refused = log.append(Revision(expected), events(90..=last)).await;
            assert!(
                matches!(refused, Err(AppendError::Conflict { head: Revision(2) })),
                "{expected}: {refused:?}"
            );
        }
    }
    assert_eq!(log.read(Revision(0), 99).await.unwrap().len(), 2);
}

async fn lets_one_of_many_that_append_at_once_win_each_revision(log: Arc<dyn EventLog>) {
    let writers = (0..8_u64).map(|writer| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut written = 0_u64;
            while written < 10 {
                let head = log.head().await.unwrap();
                match log.append(head, vec![event(writer), event(writer)]).await {
                    Ok(last) => {
                        assert_eq!(last, Revision(head.0 + 2));
                        written += 1;
                    }
                    Err(AppendError::Conflict { head: found }) => assert!(found > head),
                    Err(AppendError::Log(error)) => panic!("{error}"),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let all = log.read(Revision(0), 1_000).await.unwrap();
    assert_eq!(all.len(), 160);
    // Appends are whole: two events of one writer always stand together.
    assert!(all.chunks(2).all(|pair| pair[0].event == pair[1].event));
}

async fn keeps_the_newest_head_of_each_trail_beside_the_events(log: Arc<dyn EventLog>) {
    assert!(log.kept_trails().await.unwrap().is_empty());
    log.append(Revision(0), events(1..=1)).await.unwrap();
    log.keep_trails(vec![trail("a", 1), trail("b", 2)]).await.unwrap();
    log.keep_trails(vec![trail("b", 3), trail("c", 4), trail("b", 5)]).await.unwrap();
    log.keep_trails(Vec::new()).await.unwrap();
    let mut kept = log.kept_trails().await.unwrap();
    kept.sort_by(|one, other| one.proxy.as_str().cmp(other.proxy.as_str()));
    assert_eq!(kept, [trail("a", 1), trail("b", 5), trail("c", 4)]);
    assert_eq!(log.head().await.unwrap(), Revision(1));
    log.append(Revision(1), events(2..=2)).await.unwrap();
    assert_eq!(log.kept_trails().await.unwrap().len(), 3);
}

async fn holds_what_people_wrote_escaped_and_signs_for_just_that(log: Arc<dyn EventLog>) {
    let reason = "no \u{202e} way\u{200b}\u{7f}\u{e0041} é".to_owned();
    let body = EventBody::CooldownLifted { principal: "spiffe://d/agent".parse().unwrap(), reason };
    let event = Arc::new(Event { time: Time::from_micros(1), actor: Actor::System, body });
    log.append(Revision(0), vec![Arc::clone(&event)]).await.unwrap();
    let entries = log.entries(Revision(0), 9).await.unwrap();
    assert!(entries[0].contains(r"no \u202e way\u200b\u007f\udb40\udc41 é"), "{entries:?}");
    assert_eq!(log.leaves(Revision(0), 9).await.unwrap(), [Hash::leaf(entries[0].as_bytes())]);
    assert_eq!(log.read(Revision(0), 9).await.unwrap()[0].event, event, "it means the same");
}

async fn keeps_its_identity(log: Arc<dyn EventLog>) {
    let identity = log.identity();
    log.append(Revision(0), events(1..=1)).await.unwrap();
    assert_eq!(log.identity(), identity);
}

macro_rules! backends {
    ($($backend:ident: $open:expr;)*) => {$(
        mod $backend {
            use super::*;
            contract!($open; is_empty_at_first, reads_what_was_appended_in_order_and_without_gaps,
                refuses_an_append_on_another_head_and_writes_nothing,
                lets_one_of_many_that_append_at_once_win_each_revision,
                keeps_the_newest_head_of_each_trail_beside_the_events,
                holds_what_people_wrote_escaped_and_signs_for_just_that, keeps_its_identity);
        }
    )*};
}

macro_rules! contract {
    ($open:expr; $($promise:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let folder = tempfile::tempdir().unwrap();
            let open: fn(std::path::PathBuf) -> futures_util::future::BoxFuture<'static, Arc<dyn EventLog>> = $open;
            super::$promise(open(folder.path().join("log")).await).await;
        }
    )*};
}

backends! {
    memory: |_| Box::pin(async { Arc::new(MemoryLog::new(LogId([1; 16]))) as Arc<dyn EventLog> });
    sqlite: |path| Box::pin(async move { Arc::new(SqliteLog::open(&path).await.unwrap()) as Arc<dyn EventLog> });
}
