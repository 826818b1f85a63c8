//! The audit lines as bytes. The one place that knows their fields and their order; `docs/audit-line.schema.json` says the same.
//!
//! Pure: what is known goes in, `now` goes in, bytes come out. Every line has every common field, `null` where it does not apply,
//! so that a reader never has to tell "absent" from "unknown"; those of a recording, and of inputs, are only where there are
//! such. A line is written without its opening `{"seq":N,`, which the sink puts in front when it knows the line's place.

use super::record::{Decision, End, Facts, Handshake, Kind};
use super::removal::Removed;
use super::text::{escaped_within, hex, number, string, time};
use crate::model::Time;
use memchr::memmem;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The longest escaped path that a line carries, in bytes.
pub(super) const PATH_LIMIT: usize = 8 * 1024;
/// Ends a path that was cut to [`PATH_LIMIT`]; a path of a request cannot hold it unescaped.
pub(super) const TRUNCATED: &str = "…[truncated]";

/// More than all names, fixed-size values and punctuation of a line; the test with the longest of everything asserts it.
const FIXED_LEN: usize = 1024;
/// More than the two fields of a recording.
const RECORDING_LEN: usize = 192;
/// More than any `handshake` line, whose only variable parts are a proxy's name, an address and our own words.
pub(super) const HANDSHAKE_LEN: usize = 1280;

/// `"proxy":"NAME",`, written once for each sink.
pub(super) fn proxy(name: &str) -> Vec<u8> {
    let mut out = b"\"proxy\":".to_vec();
    string(&mut out, name.as_bytes());
    out.push(b',');
    out
}

/// `"principal":…,"certificate_sha256":…,"source":…,`, written once for each connection.
pub(super) fn caller(principal: Option<&str>, certificate: Option<&[u8; 32]>, source: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(b"\"principal\":");
    match principal {
        Some(principal) => string(&mut out, principal.as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"certificate_sha256\":");
    match certificate {
        Some(digest) => quoted(&mut out, |out| hex(out, digest)),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"source\":");
    string(&mut out, source.as_bytes());
    out.push(b',');
    out
}

/// `{"issuer":…,"subject":…}`, written once for each token that names a user.
pub(super) fn user(issuer: &str, subject: &str) -> Vec<u8> {
    let mut out = b"{\"issuer\":".to_vec();
    string(&mut out, issuer.as_bytes());
    out.extend_from_slice(b",\"subject\":");
    string(&mut out, subject.as_bytes());
    out.push(b'}');
    out
}

/// What a line says of a call of MCP where there is none.
const NO_CALL: &[u8] = b"\"mcp_method\":null,\"tool\":null,\"arguments_sha256\":null";
/// The longest names of methods, and of tools, prompts and resources, that a line carries, in escaped bytes.
const CALLED_LIMIT: usize = 2 * 1024;

/// `"mcp_method":…,"tool":…,"arguments_sha256":…`.
pub(super) fn called(method: &str, name: Option<&str>, arguments: Option<&[u8; 32]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let text = |out: &mut Vec<u8>, text: &str| {
        quoted(out, |out| escaped_within(out, text.as_bytes(), CALLED_LIMIT, TRUNCATED));
    };
    out.extend_from_slice(b"\"mcp_method\":");
    text(&mut out, method);
    out.extend_from_slice(b",\"tool\":");
    match name {
        Some(name) => text(&mut out, name),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"arguments_sha256\":");
    match arguments {
        Some(digest) => quoted(&mut out, |out| hex(out, digest)),
        None => out.extend_from_slice(b"null"),
    }
    out
}

/// Behind those of a call: `,"inputs_sha256":…`.
pub(super) fn inputs(out: &mut Vec<u8>, digest: &[u8; 32]) {
    out.extend_from_slice(b",\"inputs_sha256\":");
    quoted(out, |out| hex(out, digest));
}

/// The most that a line of these facts can take, whatever is filled in later except the service and the task.
pub(super) fn bound(proxy: &[u8], facts: &Facts) -> usize {
    let names = facts.service.as_ref().map_or(0, |name| name.as_str().len())
        + facts.task.as_ref().map_or(0, |task| task.as_str().len())
        + facts.method.as_ref().map_or(0, |method| method.as_str().len())
        + facts.user.as_ref().map_or(0, |user| user.fragment.len())
        + facts.called.as_ref().map_or(NO_CALL.len(), |called| called.fragment.len());
    let recording = if facts.reel.is_some() { RECORDING_LEN } else { 0 };
    FIXED_LEN + recording + proxy.len() + facts.caller.fragment.len() + facts.path.len() + names
}

/// An `admit` line (`ending` is `None`) or an `end` line.
pub(super) fn request(out: &mut Vec<u8>, proxy: &[u8], facts: &Facts, ending: Option<&Ending>, now: Time) {
    head(out, if ending.is_some() { Kind::End } else { Kind::Admit }, now);
    out.extend_from_slice(b"\"request_id\":\"");
    facts.id.write_to(out);
    out.extend_from_slice(b"\",\"trace_id\":");
    match &facts.trace {
        Some(trace) => quoted(out, |out| hex(out, &trace.0)),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b',');
    out.extend_from_slice(proxy);
    out.extend_from_slice(&facts.caller.fragment);
    out.extend_from_slice(b"\"user\":");
    out.extend_from_slice(facts.user.as_ref().map_or(b"null", |user| &*user.fragment));
    out.push(b',');
    // The alphabets of service names, methods, tasks and our own words need no escape.
    plain(out, b"\"service\":", facts.service.as_ref().map(|name| name.as_str()));
    plain(out, b",\"method\":", facts.method.as_ref().map(http::Method::as_str));
    out.extend_from_slice(b",\"path\":");
    match facts.path.as_slice() {
        [] => out.extend_from_slice(b"null"),
        path => quoted(out, |out| out.extend_from_slice(path)),
    }
    plain(out, b",\"protocol\":", facts.protocol.map(super::record::Protocol::as_str));
    out.push(b',');
    out.extend_from_slice(facts.called.as_ref().map_or(NO_CALL, |called| &*called.fragment));
    out.extend_from_slice(b",\"grant\":");
    match facts.grant {
        Some(grant) => quoted(out, |out| grant.write_to(out)),
        None => out.extend_from_slice(b"null"),
    }
    plain(out, b",\"task\":", facts.task.as_ref().map(|task| task.as_str()));
    integer(out, b",\"revision\":", facts.revision.map(|revision| revision.0));
    plain(out, b",\"decision\":", facts.decision.map(Decision::as_str));
    plain(out, b",\"reason\":", facts.decision.and_then(Decision::reason));
    plain(out, b",\"end\":", ending.map(|ending| ending.end.as_str()));
    plain(out, b",\"cause\":", ending.and_then(|ending| ending.end.cause()));
    integer(out, b",\"status\":", facts.status.map(u64::from));
    let shared = facts.bytes_in_shared.as_ref().map_or(0, |bytes| bytes.load(Ordering::Relaxed));
    integer(out, b",\"bytes_in\":", Some(facts.bytes_in.saturating_add(shared)));
    integer(out, b",\"bytes_out\":", Some(facts.bytes_out));
    integer(out, b",\"decision_ns\":", facts.decision_ns);
    integer(out, b",\"duration_us\":", ending.map(|ending| micros(ending.took)));
    recording(out, facts);
    out.push(b'}');
}

/// The `end` line of a request of which no more is known than its `admit` line; `None` if it is none of ours.
pub(super) fn unknown(admit: &[u8], now: Time) -> Option<Vec<u8>> {
    const KIND: &[u8] = b"\"kind\":\"admit\",";
    const OPEN: &[u8] = b",\"end\":null,\"cause\":null,";
    let rest = admit.get(memmem::find(admit, KIND)? + KIND.len()..)?;
    // No text of a caller can hold these bytes: its quotation marks are escaped.
    let at = memmem::find(rest, OPEN)?;
    let mut out = Vec::with_capacity(admit.len() + 16);
    head(&mut out, Kind::End, now);
    out.extend_from_slice(rest.get(..at)?);
    plain(&mut out, b",\"end\":", Some(End::Unknown.as_str()));
    out.extend_from_slice(b",\"cause\":null,");
    out.extend_from_slice(rest.get(at + OPEN.len()..)?);
    Some(out)
}

/// A whole line: its number, what it says, and its newline.
pub(super) fn numbered(out: &mut Vec<u8>, seq: u64, line: &[u8]) {
    out.extend_from_slice(b"{\"seq\":");
    number(out, seq);
    out.push(b',');
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// Where the request is recorded; the digest is known once that is written.
fn recording(out: &mut Vec<u8>, facts: &Facts) {
    let (file, sha256) = match (&facts.stored, &facts.reel) {
        (Some(stored), _) => (&stored.file, stored.sha256.as_ref()),
        (None, Some(reel)) => (&reel.file, None),
        (None, None) => return,
    };
    // A day and an id.
    plain(out, b",\"recording\":", Some(file));
    out.extend_from_slice(b",\"recording_sha256\":");
    match sha256 {
        Some(digest) => quoted(out, |out| hex(out, digest)),
        None => out.extend_from_slice(b"null"),
    }
}

/// How a request ended.
pub(super) struct Ending {
    /// In which way.
    pub(super) end: End,
    /// From its head to now.
    pub(super) took: Duration,
}

/// A `handshake` line: refused before there was a request.
pub(super) fn handshake(out: &mut Vec<u8>, proxy: &[u8], refused: &Handshake, now: Time) {
    let certificate = refused.certificate_sha256.as_ref();
    let fragment = caller(None, certificate, &refused.source.to_string());
    head(out, Kind::Handshake, now);
    out.extend_from_slice(b"\"request_id\":null,\"trace_id\":null,");
    out.extend_from_slice(proxy);
    out.extend_from_slice(&fragment);
    no_request(out, Some("tls"), refused.reason);
    out.push(b'}');
}

/// What a `summary` line stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// The kind of line that was not written: `end` or `handshake`.
    pub(super) of: Kind,
    /// The address or network they came from; `None` when the lines of all sources are counted together.
    pub(super) source: Option<String>,
    /// Why they were refused.
    pub(super) reason: &'static str,
    /// The first of them.
    pub(super) from: Time,
    /// The last of them.
    pub(super) to: Time,
    /// How many.
    pub(super) count: u64,
}

/// A `summary` line.
pub(super) fn summary(out: &mut Vec<u8>, proxy: &[u8], summary: &Summary, now: Time) {
    head(out, Kind::Summary, now);
    out.extend_from_slice(b"\"request_id\":null,\"trace_id\":null,");
    out.extend_from_slice(proxy);
    out.extend_from_slice(b"\"principal\":null,\"certificate_sha256\":null,\"source\":");
    match &summary.source {
        Some(source) => string(out, source.as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b',');
    no_request(out, None, summary.reason);
    plain(out, b",\"of\":", Some(summary.of.as_str()));
    integer(out, b",\"count\":", Some(summary.count));
    out.extend_from_slice(b",\"from\":");
    quoted(out, |out| time(out, summary.from));
    out.extend_from_slice(b",\"to\":");
    quoted(out, |out| time(out, summary.to));
    out.push(b'}');
}

/// A `summary` line that speaks for the beginning of the trail, which is about to be removed.
pub(super) fn removal(out: &mut Vec<u8>, proxy: &[u8], removed: &Removed, now: Time) {
    head(out, Kind::Summary, now);
    out.extend_from_slice(b"\"request_id\":null,\"trace_id\":null,");
    out.extend_from_slice(proxy);
    out.extend_from_slice(b"\"principal\":null,\"certificate_sha256\":null,\"source\":null,");
    without_request(out, None);
    out.extend_from_slice(b",\"decision\":null,\"reason\":null");
    out.extend_from_slice(NO_END);
    integer(out, b",\"removed\":{\"from\":", Some(removed.from));
    integer(out, b",\"to\":", Some(removed.to));
    integer(out, b",\"files\":", Some(removed.files));
    plain(out, b",\"policy\":", Some(removed.policy.as_str()));
    if removed.early_to > 0 {
        integer(out, b",\"early_to\":", Some(removed.early_to));
    }
    out.extend_from_slice(b"}}");
}

const NO_END: &[u8] = b",\"end\":null,\"cause\":null,\"status\":null,\"bytes_in\":null,\"bytes_out\":null,\"decision_ns\":null,\"duration_us\":null";

fn head(out: &mut Vec<u8>, kind: Kind, now: Time) {
    out.extend_from_slice(b"\"time\":");
    quoted(out, |out| time(out, now));
    plain(out, b",\"kind\":", Some(kind.as_str()));
    out.push(b',');
}

/// The fields from `service` on, of a line about something that was refused and is not one request.
fn no_request(out: &mut Vec<u8>, protocol: Option<&'static str>, reason: &'static str) {
    without_request(out, protocol);
    out.extend_from_slice(b",\"decision\":\"deny\"");
    plain(out, b",\"reason\":", Some(reason));
    out.extend_from_slice(NO_END);
}

fn without_request(out: &mut Vec<u8>, protocol: Option<&'static str>) {
    out.extend_from_slice(b"\"user\":null,\"service\":null,\"method\":null,\"path\":null");
    plain(out, b",\"protocol\":", protocol);
    out.push(b',');
    out.extend_from_slice(NO_CALL);
    out.extend_from_slice(b",\"grant\":null,\"task\":null,\"revision\":null");
}

#[inline(always)]
fn quoted(out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    value(out);
    out.push(b'"');
}

/// A value whose alphabet needs no escape, or `null`. Inlined, so that names are copied as constants.
#[inline(always)]
fn plain(out: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    out.extend_from_slice(name);
    match value {
        Some(value) => quoted(out, |out| out.extend_from_slice(value.as_bytes())),
        None => out.extend_from_slice(b"null"),
    }
}

#[inline(always)]
fn integer(out: &mut Vec<u8>, name: &[u8], value: Option<u64>) {
    out.extend_from_slice(name);
    match value {
        Some(value) => number(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}
