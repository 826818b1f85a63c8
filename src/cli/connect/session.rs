//! The session with an endpoint, for versions that have them: how it began, so that it can begin anew.
//!
//! A session dies with access, with the server's restart, or when the server likes. A client on standard input cannot know: its one
//! `initialize` is kept, and said again when the next message needs a session.

use super::fault::{Fault, Kind};
use super::link::{Answered, Link, Way};
use crate::mcp::{Id, SessionId, Version};
use crate::runtime::clock::Mono;
use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Streams of the server's own messages that end sooner than this count as failed.
const SHORT: Duration = Duration::from_secs(10);
/// How many in a row may fail.
const FAILURES: u32 = 5;

/// A session that goes on, as far as is known.
#[derive(Debug)]
pub(super) struct Live {
    /// None: the server has no sessions.
    pub(super) session: Option<SessionId>,
    /// What was agreed on, as the server wrote it.
    pub(super) version: HeaderValue,
    listening: AtomicBool,
    over: CancellationToken,
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Sessions {
    live: Mutex<Option<Arc<Live>>>,
    /// What `initialize` said.
    greeting: Mutex<Option<Map<String, Value>>>,
    opening: tokio::sync::Mutex<()>,
}

impl Live {
    /// The version, where it is one that we know; else one without batches.
    pub(super) fn version(&self) -> Version {
        self.version.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(Version::V20251125)
    }
}

impl Sessions {
    /// The one that goes on.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        self.live.lock().clone()
    }

    /// What is said to begin one.
    pub(super) fn greet_with(&self, params: Map<String, Value>) {
        *self.greeting.lock() = Some(params);
    }

    /// Whether one can begin.
    pub(super) fn can_begin(&self) -> bool {
        self.greeting.lock().is_some()
    }

    /// This one is not there any more.
    pub(super) fn over(&self, over: &Arc<Live>) {
        over.over.cancel();
        let mut live = self.live.lock();
        if live.as_ref().is_some_and(|live| Arc::ptr_eq(live, over)) {
            live.take();
        }
    }

    /// Takes it; nothing is left.
    pub(super) fn take(&self) -> Option<Arc<Live>> {
        let live = self.live.lock().take();
        live.inspect(|live| live.over.cancel())
    }

    fn begun(&self, answered: &Answered) -> Option<Arc<Live>> {
        let said: Value = serde_json::from_slice(&answered.text).ok()?;
        let version = said.pointer("/result/protocolVersion")?.as_str()?;
        let live = Arc::new(Live {
            session: answered.session.clone(),
            version: HeaderValue::from_str(version).ok()?,
            listening: AtomicBool::new(false),
            over: CancellationToken::new(),
        });
        if let Some(before) = self.live.lock().replace(Arc::clone(&live)) {
            before.over.cancel();
        }
        Some(live)
    }
}

impl Link {
    /// Sends an `initialize`; where it succeeds, there is a session.
    pub(super) async fn initialize(&self, body: Bytes, id: &Id) -> Result<Answered, Fault> {
        let answered = self.ask(&Way::default(), body, id).await?;
        if !answered.failed && self.sessions.begun(&answered).is_none() {
            return Err(Fault::new("unreadable", "the service answered `initialize` without a version"));
        }
        Ok(answered)
    }

    /// The session, begun anew if need be.
    pub(super) async fn opened(self: &Arc<Self>) -> Result<Arc<Live>, Fault> {
        if let Some(live) = self.sessions.live() {
            return Ok(live);
        }
        let _one_at_a_time = self.sessions.opening.lock().await;
        if let Some(live) = self.sessions.live() {
            return Ok(live);
        }
        let params = self.sessions.greeting.lock().clone();
        let params =
            params.ok_or_else(|| Fault::new("not_initialized", "the client has not sent `initialize`"))?;
        let id = Id::Text("jitgate-connect".into());
        let hello = json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": params});
        let answered = self.initialize(hello.to_string().into(), &id).await?;
        let live = self.sessions.live().filter(|_| !answered.failed);
        let live = live.ok_or_else(|| Fault::refused(http::StatusCode::OK, &answered.text, false))?;
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.tell(&Way::within(Some(Arc::clone(&live))), done.to_string().into()).await?;
        self.listen();
        Ok(live)
    }

    /// Listens to what the server says by itself, for as long as the session goes on. Once is enough.
    pub(super) fn listen(self: &Arc<Self>) {
        let Some(live) = self.sessions.live().filter(|live| !live.listening.swap(true, Ordering::Relaxed))
        else {
            return;
        };
        let link = Arc::clone(self);
        tokio::spawn(live.over.clone().run_until_cancelled_owned(async move {
            let way = Way::within(Some(Arc::clone(&live)));
            let (mut last, mut failures) = (None, 0_u32);
            while failures < FAILURES {
                let since = Mono::now();
                match link.hear(&way, &mut last).await {
                    Err(fault) if matches!(fault.kind(), Kind::Absent | Kind::SessionOver) => return,
                    Ok(()) if Mono::now().since(since) >= SHORT => failures = 0,
                    Ok(()) | Err(_) => failures += 1,
                }
                tokio::time::sleep(Duration::from_secs(1 << failures)).await;
            }
            // Access may come back: then it is tried again.
            live.listening.store(false, Ordering::Relaxed);
        }));
    }

    /// Ends the session, if there is one.
    pub(super) async fn close(&self) {
        if let Some(live) = self.sessions.take() {
            self.end(live).await;
        }
    }
}
