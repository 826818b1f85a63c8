//! Counts what a connection costs before hyper sees it: when a request head began, and how many control frames an HTTP/2 caller
//! sends a second. It reads frame *headers* (RFC 9113 section 4.1) and interprets nothing else.

use crate::config::Limits;
use crate::runtime::clock::Mono;
use crate::session::Caller;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A caller's decrypted bytes, metered.
pub(crate) struct Metered<S> {
    inner: S,
    caller: Arc<Caller>,
    frames: Option<FrameMeter>,
}

impl<S> Metered<S> {
    /// Meters `inner`; `limits` are given for HTTP/2.
    pub(crate) fn new(inner: S, caller: Arc<Caller>, http2: Option<&Limits>) -> Self {
        Self { inner, caller, frames: http2.map(FrameMeter::new) }
    }

    fn note(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(frames) = &mut self.frames else {
            self.caller.heard(Mono::now);
            return Ok(());
        };
        frames.feed(bytes, Mono::now()).map_err(io::Error::other)?;
        self.caller.reading_head(frames.in_head(), Mono::now);
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = polled {
            self.note(buf.filled().get(before..).unwrap_or_default())?;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Why an HTTP/2 connection is ended by the meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flood {
    /// More streams reset in a second than allowed.
    #[error("too many streams reset by the caller in a second")]
    Resets,
    /// More SETTINGS, PING, PRIORITY, unknown or empty frames in a second than allowed.
    #[error("too many control frames in a second")]
    Control,
    /// A header block in too many CONTINUATION frames.
    #[error("too many continuation frames in a header block")]
    Continuations,
}

const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
/// A head of the largest allowed size fits into far fewer frames than this.
const CONTINUATIONS: u32 = 32;

/// Follows frame boundaries and counts.
struct FrameMeter {
    /// Bytes to pass over: the preface, then payloads.
    skip: usize,
    header: [u8; FRAME_HEADER],
    have: usize,
    continuations: Option<u32>,
    window: Mono,
    resets: u32,
    control: u32,
    most_resets: u32,
    most_control: u32,
}

impl FrameMeter {
    fn new(limits: &Limits) -> Self {
        Self {
            skip: PREFACE,
            header: [0; FRAME_HEADER],
            have: 0,
            continuations: None,
            window: Mono::default(),
            resets: 0,
            control: 0,
            most_resets: limits.h2_resets_per_second,
            most_control: limits.h2_control_frames_per_second,
        }
    }

    /// Whether a header block has begun and not ended.
    fn in_head(&self) -> bool {
        self.continuations.is_some()
    }

    fn feed(&mut self, mut bytes: &[u8], now: Mono) -> Result<(), Flood> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let take = (FRAME_HEADER - self.have).min(bytes.len());
            let (head, rest) = bytes.split_at(take);
            if let Some(room) = self.header.get_mut(self.have..self.have + take) {
                room.copy_from_slice(head);
            }
            self.have += take;
            bytes = rest;
            if self.have == FRAME_HEADER {
                self.have = 0;
                self.frame(now)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, now: Mono) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.skip = length;
        if now.since(self.window) >= Duration::from_secs(1) {
            (self.window, self.resets, self.control) = (now, 0, 0);
        }
        const END_STREAM: u8 = 0x1;
        const END_HEADERS: u8 = 0x4;
        match kind {
            // DATA that carries something or ends a stream, and WINDOW_UPDATE, are work of ours as much as theirs.
            0x0 if length > 0 || flags & END_STREAM != 0 => {}
            0x8 => {}
            0x1 => self.continuations = (flags & END_HEADERS == 0).then_some(0),
            0x9 => {
                let seen = self.continuations.map_or(CONTINUATIONS, |seen| seen + 1);
                if seen >= CONTINUATIONS {
                    return Err(Flood::Continuations);
                }
                self.continuations = (flags & END_HEADERS == 0).then_some(seen);
            }
            0x3 => {
                self.resets += 1;
                if self.resets > self.most_resets {
                    return Err(Flood::Resets);
                }
            }
            _ => {
                self.control += 1;
                if self.control > self.most_control {
                    return Err(Flood::Control);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, (payload >> 8) as u8, payload as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(9 + payload, 0);
        bytes
    }

    fn feed(frames: &[Vec<u8>], chunk: usize) -> Result<bool, Flood> {
        let limits = Limits { h2_resets_per_second: 3, h2_control_frames_per_second: 3, ..Limits::default() };
        let mut meter = FrameMeter::new(&limits);
        let bytes: Vec<u8> = vec![b'P'; PREFACE].into_iter().chain(frames.concat()).collect();
        for part in bytes.chunks(chunk) {
            meter.feed(part, Mono::from_nanos(5_000_000_000))?;
        }
        Ok(meter.in_head())
    }

    #[test]
    fn frames_are_counted_across_any_split() {
        for chunk in 1..40 {
            let resets = vec![frame(3, 0, 4); 3];
            assert_eq!(feed(&resets, chunk), Ok(false));
            assert_eq!(feed(&vec![frame(3, 0, 4); 4], chunk), Err(Flood::Resets));
            assert_eq!(feed(&vec![frame(6, 0, 8); 4], chunk), Err(Flood::Control));
            assert_eq!(feed(&vec![frame(0, 0, 0); 4], chunk), Err(Flood::Control));
            assert_eq!(feed(&vec![frame(0, 0, 300); 400], chunk), Ok(false));
            assert_eq!(feed(&[frame(1, 0, 10)], chunk), Ok(true));
            assert_eq!(feed(&[frame(1, 0, 10), frame(9, 4, 10)], chunk), Ok(false));
            let mut many = vec![frame(1, 0, 10)];
            many.extend(vec![frame(9, 0, 0); 40]);
            assert_eq!(feed(&many, chunk), Err(Flood::Continuations));
        }
    }
}
