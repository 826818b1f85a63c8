//! Random names of requests and spans: unique, not secret. One generator for each thread, seeded by the system.

use crate::audit::record::TraceId;
use crate::model::{RequestId, Time};
use crate::proxy::headers::ours::TRACEPARENT;
use http::{HeaderMap, HeaderValue};
use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = Cell::new(seed());
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without system randomness the address of a fresh allocation still tells threads and starts apart.
    if getrandom::fill(&mut bytes).is_err() {
        return &raw const bytes as u64;
    }
    u64::from_ne_bytes(bytes)
}

/// SplitMix64: full period, good enough for names.
fn random() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mut z = next;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// A new request id, made at `now`.
pub(crate) fn request(now: Time) -> RequestId {
    let [a, b, c, d, e, f, g, h] = random().to_be_bytes();
    let [i, j, ..] = random().to_be_bytes();
    RequestId::from_parts(now.as_millis(), [a, b, c, d, e, f, g, h, i, j])
}

/// The trace that a request belongs to (W3C Trace Context): the caller's if it names a valid one, else a new one.
pub(crate) fn trace(headers: &HeaderMap) -> TraceId {
    // Few requests have one, and a glance at all names is cheaper than a look-up.
    if !headers.keys().any(|name| *name == TRACEPARENT) {
        return new_trace();
    }
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => parse(value.as_bytes()).unwrap_or_else(new_trace),
        _ => new_trace(),
    }
}

fn new_trace() -> TraceId {
    let mut id = [0; 16];
    let (high, low) = id.split_at_mut(8);
    high.copy_from_slice(&random().to_be_bytes());
    // A trace id of zeroes is invalid.
    low.copy_from_slice(&random().max(1).to_be_bytes());
    TraceId(id)
}

fn parse(value: &[u8]) -> Option<TraceId> {
    let [b'0', b'0', b'-', rest @ ..] = value else { return None };
    if rest.len() != 52 || rest.get(32) != Some(&b'-') || rest.get(49) != Some(&b'-') {
        return None;
    }
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(rest.chunks(2)) {
        let [high, low] = pair else { return None };
        *byte = hex(*high)? << 4 | hex(*low)?;
    }
    rest.get(33..49)?.iter().chain(rest.get(50..)?).all(|byte| hex(*byte).is_some()).then_some(())?;
    (id != [0; 16]).then_some(TraceId(id))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The `traceparent` of the call to the service: the same trace, a span of ours.
pub(crate) fn traceparent(trace: TraceId) -> Option<HeaderValue> {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
    put_hex(text.get_mut(3..35)?, &trace.0);
    put_hex(text.get_mut(36..52)?, &random().max(1).to_be_bytes());
    HeaderValue::from_bytes(&text).ok()
}

fn put_hex(room: &mut [u8], bytes: &[u8]) {
    const fn digit(nibble: u8) -> u8 {
        if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) }
    }
    for (pair, byte) in room.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_trace_goes_on_and_an_invalid_one_does_not() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = parse(given.as_bytes()).unwrap();
        let ours = traceparent(trace).unwrap();
        let ours = ours.to_str().unwrap();
        assert_eq!(ours.len(), 55);
        assert_eq!(ours.get(..36), given.get(..36));
        assert_eq!(parse(ours.as_bytes()), Some(trace), "{ours}");
        assert_ne!(ours, given);
        for bad in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn request_ids_differ() {
        let now = Time::from_micros(1_000_000);
        assert_ne!(request(now), request(now));
    }
}
