//! What is exported is what the log holds, and what is signed for.

use super::*;
use crate::control::authz::Roles;
use crate::control::clock::ControlClock;
use crate::control::log::memory::MemoryLog;
use crate::control::log::{AppendError, EventLog, Identity, LogError, Recorded};
use crate::control::plane::PlaneOptions;
use crate::control::state::Rules;
use crate::model::event::{Actor, Event, EventBody};
use crate::model::{KeptTrail, LogId, Time};
use crate::tlog::Hash;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::time::Duration;

/// Written by a version that escaped nothing.
struct Older(MemoryLog);

impl EventLog for Older {
    fn identity(&self) -> Identity {
        self.0.identity()
    }
    fn head(&self) -> BoxFuture<'_, Result<Revision, LogError>> {
        self.0.head()
    }
    fn read(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<Recorded>, LogError>> {
        self.0.read(after, limit)
    }
    fn entries(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<String>, LogError>> {
        async move {
            let found = self.0.read(after, limit).await?;
            Ok(found.iter().map(|recorded| serde_json::to_string(&*recorded.event).unwrap()).collect())
        }
        .boxed()
    }
    fn append(
        &self,
        expected: Revision,
        events: Vec<Arc<Event>>,
    ) -> BoxFuture<'_, Result<Revision, AppendError>> {
        self.0.append(expected, events)
    }
    fn keep_trails(&self, trails: Vec<KeptTrail>) -> BoxFuture<'_, Result<(), LogError>> {
        self.0.keep_trails(trails)
    }
    fn kept_trails(&self) -> BoxFuture<'_, Result<Vec<KeptTrail>, LogError>> {
        self.0.kept_trails()
    }
}

/// The first entry of a log with one event whose reason a terminal acts on, as it is exported in either form.
async fn exported(log: Arc<dyn EventLog>) -> String {
    let reason = "no \u{202e} way\u{200b}".to_owned();
    let body = EventBody::CooldownLifted { principal: "spiffe://d/agent".parse().unwrap(), reason };
    let event = Event { time: Time::from_micros(1_000_000), actor: Actor::System, body };
    log.append(Revision(0), vec![Arc::new(event)]).await.unwrap();
    let leaf = log.leaves(Revision(0), 1).await.unwrap()[0];
    let options = PlaneOptions {
        rules: Rules::new(Duration::from_secs(3600), Roles::new([], [])),
        lease: Duration::from_secs(15),
        clock_drift: Duration::from_secs(1),
        clock: ControlClock::default(),
    };
    let plane = Plane::start(log, options).await.unwrap();
    let mut source = EventSource::new(&plane, &"spiffe://d/control/local".parse().unwrap());
    let fields = source.read(0, Form::Fields).await.unwrap().records.remove(0);
    let ocsf = source.read(0, Form::Ocsf).await.unwrap().records.remove(0);
    assert_eq!((fields.seq, ocsf.seq), (1, 1));
    assert_eq!(Hash::leaf(fields.text.as_bytes()), leaf);
    assert_eq!(ocsf.text, fields.text);
    assert_eq!(ocsf.ocsf[0]["raw_data"], ocsf.text);
    let head = plane.head().borrow().0;
    assert!(source.read(head, Form::Fields).await.unwrap().records.is_empty());
    ocsf.text
}

#[tokio::test]
async fn an_entry_is_exported_byte_for_byte_as_the_log_holds_it() {
    let log = || MemoryLog::new(LogId([7; 16]));
    let text = exported(Arc::new(log())).await;
    assert!(text.contains(r"no \u202e way\u200b"), "{text}");
    let text = exported(Arc::new(Older(log()))).await;
    assert!(text.contains("no \u{202e} way\u{200b}"), "{text}");
}
