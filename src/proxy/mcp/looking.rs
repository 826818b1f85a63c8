//! The body of an answer on its way to the caller: each frame checked just before it is handed on (law 5), each message looked at.
//!
//! A stream that is cut says so before it breaks off: calls without an answer get a JSON-RPC error as their last event. That is ours;
//! nothing that the service said follows the cut. A stream that lives while any grant for the service does goes on under the next
//! one instead.

use super::answer::Source;
use super::calls::TOO_LARGE;
use super::looker::{Looked, Looker};
use super::send::Also;
use crate::access::stream::{CutCause, Turn};
use crate::audit::record::{End, Record};
use crate::audit::recording::Tape;
use crate::mcp::Fault;
use crate::mcp::sse::{Filter, Step};
use crate::model::{DenyReason, EndCause};
use crate::proxy::body::{Broken, Exchange};
use crate::proxy::forward::cut_words;
use crate::proxy::router::Route;
use crate::runtime::clock::Mono;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How often hyper is given the turn to send the last words before the connection breaks off.
const TURNS: u8 = 16;

/// So often it is asked whether somebody still waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An answer that is looked at.
pub(super) struct Looking {
    pub(super) source: Option<Source>,
    pub(super) filter: Option<Filter>,
    pub(super) looker: Looker,
    pub(super) exchange: Arc<Exchange>,
    pub(super) also: Also,
    pub(super) record: Option<Record>,
    pub(super) route: Arc<Route>,
    /// It lives while any grant for the service does.
    pub(super) lasting: bool,
    /// What was looked at and not handed on yet.
    pub(super) out: Vec<u8>,
    pub(super) next_look: Mono,
    /// What is still to be done when it is over otherwise than by itself.
    pub(super) ending: Option<Ending>,
    pub(super) admit_written: bool,
    /// Where it is recorded.
    pub(super) tape: Option<Arc<Tape>>,
    /// Bytes that the service may still send, where the grants of its calls limit that.
    pub(super) left: Option<u64>,
}

/// The end of an answer that was cut.
pub(super) struct Ending {
    words: Option<Bytes>,
    turns: u8,
    cause: CutCause,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Broken>>>;

impl Looking {
    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if let Some(ending) = &mut self.ending {
                return ending.poll(cx);
            }
            if self.record.is_none() {
                return Poll::Ready(None);
            }
            let now = Mono::now();
            if let Poll::Ready(cause) = self.also.poll_cut(cx) {
                self.cut(cause, now);
                continue;
            }
            // Each time: to a slow reader something is always there to be handed on.
            if !self.note_long_life() {
                self.cut(CutCause::Audit, now);
                continue;
            }
            if !self.out.is_empty() {
                if let Some(frame) = self.hand_on(now) {
                    return Poll::Ready(Some(Ok(frame)));
                }
                continue;
            }
            let Some(source) = &mut self.source else {
                match self.exchange.live.check(now) {
                    Ok(()) => self.complete(now),
                    Err(cause) => self.cut(cause, now),
                }
                continue;
            };
            match source.poll(cx) {
                Poll::Pending => {
                    if !self.wait(cx, now) {
                        continue;
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(chunk))) => self.take(&chunk, now),
                Poll::Ready(Some(Err(()))) => match self.exchange.live.stream().cut_cause() {
                    Some(cause) => self.cut(cause, now),
                    None => self.fail("broken", "the service broke the answer off", now),
                },
                Poll::Ready(None) => match self.exchange.live.check(now) {
                    Ok(()) => self.complete(now),
                    Err(cause) => self.cut(cause, now),
                },
            }
        }
    }

    /// A frame of what was looked at.
    fn hand_on(&mut self, now: Mono) -> Option<Frame<Bytes>> {
        let (live, stream) = (&self.exchange.live, self.exchange.live.stream());
        if let Err(cause) = live.check_frame(self.out.len(), now) {
            self.cut(cause, now);
            return None;
        }
        let takes = now.plus(self.exchange.patience.caller_takes);
        stream.set_deadline(Turn::ServiceSends, None);
        stream.set_deadline(Turn::CallerTakes, Some(takes));
        let bytes = Bytes::from(std::mem::take(&mut self.out));
        if let Some(record) = &mut self.record {
            record.add_bytes_out(bytes.len() as u64);
        }
        if let Some(tape) = &self.tape {
            tape.push(&bytes);
        }
        Some(Frame::data(bytes))
    }

    /// Nothing moves just now. False if something has changed meanwhile.
    fn wait(&mut self, cx: &mut Context<'_>, now: Mono) -> bool {
        let live = &self.exchange.live;
        live.stream().set_deadline(Turn::CallerTakes, None);
        let patience = self.exchange.patience.service_idle;
        let waiting = live.wait(Turn::ServiceSends, cx.waker(), patience, now).and_then(|()| live.check(now));
        if let Err(cause) = waiting {
            self.cut(cause, now);
            return false;
        }
        if !self.note_long_life() {
            self.cut(CutCause::Audit, now);
            return false;
        }
        true
    }

    /// A stream that lives for long gets its `admit` line. False if it cannot be written: then it does not go on (law 7).
    fn note_long_life(&mut self) -> bool {
        if self.admit_written || !self.exchange.live.stream().is_long_lived() {
            return true;
        }
        self.admit_written = true;
        self.record.as_mut().is_none_or(|record| record.write_admit().is_ok())
    }

    /// A piece of the answer.
    fn take(&mut self, chunk: &[u8], now: Mono) {
        if let Some(left) = self.left {
            match left.checked_sub(chunk.len() as u64) {
                Some(left) => self.left = Some(left),
                None => {
                    self.forsake(chunk);
                    return self.too_large(now);
                }
            }
        }
        let Self { filter, looker, out, .. } = self;
        let (Some(filter), Some(time)) = (filter, looker.standing.now()) else {
            self.forsake(chunk);
            self.cut(CutCause::Stale, now);
            return;
        };
        let looked = filter.push(chunk, out, |event| {
            if let Some(id) = event.id {
                looker.event(id, time);
            }
            match event.data.filter(|data| !data.is_empty()) {
                None => Ok(Step::Pass),
                Some(data) => Ok(match looker.look(data, time)? {
                    Looked::Pass(std::borrow::Cow::Borrowed(_)) => Step::Pass,
                    Looked::Pass(std::borrow::Cow::Owned(data)) => Step::Replace(data),
                    Looked::LeaveOut => Step::Drop,
                }),
            }
        });
        if let Err(fault) = looked {
            self.fault(fault, now);
        } else if now >= self.next_look {
            self.next_look = now.plus(LOOK_EVERY);
            if self.looker.calls.is_withdrawn(time) {
                self.withdrawn(now);
            }
        }
    }

    /// The events that a chunk completes are not passed on; the tasks that they promise are cancelled.
    fn forsake(&mut self, chunk: &[u8]) {
        let Self { filter: Some(filter), looker, .. } = self else { return };
        // What cannot be read promises nothing.
        let _ = filter.push(chunk, &mut Vec::new(), |event| {
            event.data.iter().for_each(|data| looker.forsake(data));
            Ok(Step::Drop)
        });
    }

    /// The caller waits for nothing more of it: the service may keep it open for ever, with a comment now and then.
    fn withdrawn(&mut self, now: Mono) {
        self.looker.calls.abandon_all();
        self.source = None;
        self.exchange.live.cut(CutCause::Finished);
        self.finish(End::ClientGone, now);
    }

    fn fault(&mut self, fault: Fault, now: Mono) {
        tracing::warn!(service = %self.route.name(), detail = fault.detail, "an answer of MCP is not passed on");
        self.fail("protocol", "the service sent what cannot be passed on", now);
    }

    /// The service failed: calls without an answer are told so.
    fn fail(&mut self, cause: &'static str, detail: &str, now: Mono) {
        let words = self.last_words(DenyReason::UpstreamUnavailable, detail);
        self.looker.calls.abandon_all();
        self.end(words, CutCause::Finished, End::UpstreamError(cause), now);
    }

    /// The grants of its calls permit no more: calls without an answer are told so.
    fn too_large(&mut self, now: Mono) {
        let cause = CutCause::Grant(EndCause::Limit);
        let words = self.last_words(DenyReason::Limit, TOO_LARGE);
        self.looker.calls.abandon_all();
        self.exchange.live.count_cut(cause);
        self.end(words, cause, End::Cut(cause.as_str()), now);
    }

    fn cut(&mut self, cause: CutCause, now: Mono) {
        if self.lasting && matches!(cause, CutCause::Grant(_)) && self.also.lives() && self.goes_on(now) {
            return;
        }
        let (reason, detail) = cut_words(cause);
        let words = self.last_words(reason, detail);
        self.looker.calls.abandon_all();
        self.exchange.live.count_cut(cause);
        self.end(words, cause, End::Cut(cause.as_str()), now);
    }

    /// Goes on under another live grant for the service.
    fn goes_on(&mut self, now: Mono) -> bool {
        // For more to be recorded nothing was set aside: a grant that demands it is none here.
        let Some(recorded) = self.record.as_ref().map(Record::recording) else { return false };
        let Some(live) = self.looker.standing.attend(recorded) else { return false };
        let exchange = Exchange::new(live, self.exchange.patience);
        exchange.request_sent(now);
        exchange.live.stream().set_deadline(Turn::ServiceSends, None);
        // What was looked at under the old grant is not handed on under the new one.
        self.out.clear();
        self.exchange = exchange;
        true
    }

    /// For each call without an answer an event that says why there is none. Only in a stream: a JSON answer is whole or not there.
    fn last_words(&self, reason: DenyReason, detail: &str) -> Option<Bytes> {
        self.filter.as_ref()?;
        let mut words = Vec::new();
        for id in self.looker.calls.open() {
            words.extend_from_slice(b"event: message\ndata: ");
            words.extend_from_slice(&self.looker.says(id, reason, detail));
            words.extend_from_slice(b"\n\n");
        }
        (!words.is_empty()).then(|| words.into())
    }

    fn end(&mut self, words: Option<Bytes>, cause: CutCause, end: End, now: Mono) {
        self.out.clear();
        self.source = None;
        self.exchange.live.cut(cause);
        self.finish(end, now);
        self.ending = Some(Ending { words, turns: TURNS, cause });
    }

    fn complete(&mut self, now: Mono) {
        if let Some(source) = self.source.take()
            && self.exchange.is_request_sent()
        {
            source.give_back(now);
        }
        self.finish(End::Complete, now);
    }

    fn finish(&mut self, end: End, now: Mono) {
        if let Some(record) = self.record.take() {
            self.exchange.settle(record, &self.route, end, now);
        }
    }
}

impl Ending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        if let Some(words) = self.words.take() {
            return Poll::Ready(Some(Ok(Frame::data(words))));
        }
        match self.turns.checked_sub(1) {
            Some(left) => {
                self.turns = left;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(Some(Err(Broken::Cut(self.cause)))),
        }
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if self.record.is_none() {
            return;
        }
        let now = Mono::now();
        match self.exchange.live.stream().cut_cause() {
            Some(cause) => {
                self.looker.calls.abandon_all();
                self.exchange.live.count_cut(cause);
                self.finish(End::Cut(cause.as_str()), now);
            }
            // hyper does not ask for the end of a body whose length it knows.
            None if self.source.is_none() && self.out.is_empty() => self.finish(End::Complete, now),
            None => self.finish(End::ClientGone, now),
        }
    }
}

impl Body for Looking {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        self.get_mut().poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ending.is_none() && (self.record.is_none() || (self.source.is_none() && self.out.is_empty()))
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.source, &self.ending) {
            (None, None) => SizeHint::with_exact(self.out.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
