//! A body that is read before it is decided on: once, bounded, within a time, and within what all bodies together may take.

use crate::mcp::{Fault, Refused};
use crate::model::{DenyReason, SpiffeId};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming as Body};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Within so many times the patience for one piece, all of a body has come.
const PIECES: u32 = 4;

/// How much of bodies is in memory. One principal may take a quarter.
pub(crate) struct Room {
    bytes: usize,
    taken: Mutex<Taken>,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes, taken: Mutex::default() }
    }
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    by: HashMap<SpiffeId, usize, foldhash::fast::RandomState>,
}

/// A part of the room; gives it back when dropped.
pub(crate) struct Held {
    room: Arc<Room>,
    principal: SpiffeId,
    bytes: usize,
}

/// A body, and its place.
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    pub(crate) held: Held,
}

impl Held {
    pub(super) fn none(room: &Arc<Room>, principal: &SpiffeId) -> Self {
        Self { room: Arc::clone(room), principal: principal.clone(), bytes: 0 }
    }

    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        let mut taken = self.room.taken.lock();
        let Taken { in_all, by } = &mut *taken;
        let own = by.get_mut(&self.principal);
        let of_one = own.as_ref().map_or(0, |own| **own) + bytes;
        if *in_all + bytes > self.room.bytes || of_one > self.room.bytes / 4 {
            return false;
        }
        *in_all += bytes;
        match own {
            Some(own) => *own = of_one,
            None => _ = by.insert(self.principal.clone(), of_one),
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut taken = self.room.taken.lock();
        taken.in_all = taken.in_all.saturating_sub(self.bytes);
        match taken.by.get_mut(&self.principal) {
            Some(of_one) if *of_one > self.bytes => *of_one -= self.bytes,
            Some(_) | None => _ = taken.by.remove(&self.principal),
        }
    }
}

/// Reads a body of at most `bound` bytes.
pub(crate) async fn read(
    body: Body,
    bound: usize,
    (room, principal): (&Arc<Room>, &SpiffeId),
    patience: Duration,
) -> Result<Whole, Refused> {
    let fault = |reason, detail| Refused::from(Fault { reason, detail });
    let mut held = Held::none(room, principal);
    if body.is_end_stream() {
        return Ok(Whole { bytes: Bytes::new(), held });
    }
    if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > bound) {
        return Err(fault(DenyReason::TooLarge, "the body is too large"));
    }
    let read = async {
        let mut body = body;
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| fault(DenyReason::Malformed, "the request body broke off"))?;
            // Trailers say nothing that is looked at, and are not forwarded.
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > bound {
                return Err(fault(DenyReason::TooLarge, "the body is too large"));
            }
            if !held.grow(data.len()) {
                let full = "too many bodies are being read: try again later";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return Err(Refused { status, ..fault(DenyReason::Limit, full) });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Bytes::from(bytes))
    };
    let bytes = within(patience.saturating_mul(PIECES), read).await.unwrap_or_else(|| {
        let status = StatusCode::REQUEST_TIMEOUT;
        Err(Refused { status, ..fault(DenyReason::Malformed, "the request body did not come in time") })
    })?;
    Ok(Whole { bytes, held })
}

/// What comes of `reading`, if it comes in time. hyper reads a body only once somebody waits for it: the first look finds nothing, and the
/// second one mostly everything. Only then a timer is set.
async fn within<T>(time: Duration, reading: impl Future<Output = T>) -> Option<T> {
    let mut reading = pin!(reading);
    let mut looked = false;
    let soon = poll_fn(|cx| match reading.as_mut().poll(cx) {
        Poll::Ready(read) => Poll::Ready(Some(read)),
        Poll::Pending if looked => Poll::Ready(None),
        Poll::Pending => {
            looked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    match soon.await {
        Some(read) => Some(read),
        None => tokio::time::timeout(time, reading).await.ok(),
    }
}
