//! A reader of event streams (WHATWG HTML, "Server-sent events") that passes on what it reads, event by event.
//!
//! Chunks come split anywhere. A line that is a comment leaves at once; an event leaves as soon as its last line is there, byte for
//! byte as it came, unless whoever looks at it puts other data in its place or stops it. Clients see an event no earlier than that
//! anyway. It refuses to know JSON.
//!
//! Invariants: at most [`Filter::new`]'s bound is kept; an event beyond it ends the stream, as does a field that some readers would
//! take for `data` and others would not.

use super::fault::Fault;
use super::fold;

/// An event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'e> {
    /// The values of its `data` lines, joined by line feeds; none if there is no such line. Clients drop an event without data.
    pub data: Option<&'e [u8]>,
    /// The value of its last `id` line.
    pub id: Option<&'e [u8]>,
}

/// What happens to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is passed on, byte for byte.
    Pass,
    /// It is passed on with other data; its other lines stay.
    Replace(Vec<u8>),
    /// It is left out.
    Drop,
}

/// Passes a stream on, event by event.
#[derive(Debug)]
pub struct Filter {
    /// The lines of the event that is not complete yet, as they came; the last one may be cut short.
    pending: Vec<u8>,
    /// Where its last line begins.
    line: usize,
    data: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    bound: usize,
    /// Nothing has been read yet: a byte order mark may come.
    fresh: bool,
    /// The last byte was a CR that ended a line: an LF that follows belongs to it.
    after_cr: bool,
}

const MARK: &[u8] = b"\xef\xbb\xbf";

impl Filter {
    /// `bound`: bytes of one event.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { pending: Vec::new(), line: 0, data: None, id: None, bound, fresh: true, after_cr: false }
    }

    /// Reads a chunk; what can leave is added to `out`. `look` sees each event once, in order.
    ///
    /// # Errors
    /// [`Fault`] if the stream has to end; so does what `look` returns. What is in `out` may still be sent.
    pub fn push(
        &mut self,
        chunk: &[u8],
        out: &mut Vec<u8>,
        mut look: impl FnMut(Event<'_>) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        let mut rest = chunk;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                // Of a line that has already left, or of one that is kept.
                if self.pending.is_empty() {
                    out.push(first)
                } else {
                    self.keep(b"\n")?
                }
                self.line = self.pending.len();
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some(length) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.keep(rest);
            };
            let (line, more) = rest.split_at(length + 1);
            self.keep(line)?;
            self.after_cr = line.ends_with(b"\r");
            // CR LF in one piece.
            rest = match more.strip_prefix(b"\n") {
                Some(more) if self.after_cr => {
                    self.after_cr = false;
                    self.keep(b"\n")?;
                    more
                }
                Some(_) | None => more,
            };
            self.line_ends(out, &mut look)?;
        }
        Ok(())
    }

    /// The stream is over. Clients drop an event that is not complete, and so does this.
    pub fn finish(self) {}

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.pending.len() + bytes.len() > self.bound {
            return Err(Fault::too_large("an event of the service is too large"));
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn line_ends(
        &mut self,
        out: &mut Vec<u8>,
        look: &mut impl FnMut(Event<'_>) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        let begin = self.line;
        self.line = self.pending.len();
        let line = content(self.pending.get(begin..).unwrap_or_default());
        let line =
            if std::mem::take(&mut self.fresh) { line.strip_prefix(MARK).unwrap_or(line) } else { line };
        if line.is_empty() {
            return self.event_ends(out, look);
        }
        let (name, value) = field(line);
        match name {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"id" => self.id = Some(value.to_vec()),
            b"" if begin == 0 => {
                // A comment between events keeps the connection alive: it does not wait.
                out.append(&mut self.pending);
                self.line = 0;
            }
            b"" => {}
            other => {
                let name = String::from_utf8_lossy(other);
                fold::is_itself(&name, &["data", "id", "event", "retry"])?;
            }
        }
        Ok(())
    }

    fn event_ends(
        &mut self,
        out: &mut Vec<u8>,
        look: &mut impl FnMut(Event<'_>) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        let (data, id) = (self.data.take(), self.id.take());
        let raw = std::mem::take(&mut self.pending);
        self.line = 0;
        match look(Event { data: data.as_deref(), id: id.as_deref() })? {
            Step::Pass => out.extend_from_slice(&raw),
            Step::Drop => {}
            Step::Replace(data) => replace(&raw, &data, out),
        }
        // The room is used again.
        self.pending = raw;
        self.pending.clear();
        Ok(())
    }
}

/// Writes an event with other data: in place of its first `data` line, with the line ends that it came with.
fn replace(raw: &[u8], data: &[u8], out: &mut Vec<u8>) {
    let mut put = false;
    for line in lines(raw) {
        let text = content(line);
        let is_data = field(text.strip_prefix(MARK).unwrap_or(text)).0 == b"data";
        if !is_data {
            out.extend_from_slice(line);
        } else if !std::mem::replace(&mut put, true) {
            let end = line.get(text.len()..).unwrap_or(b"\n");
            for part in data.split(|byte| *byte == b'\n') {
                out.extend_from_slice(b"data: ");
                out.extend(part.iter().filter(|byte| **byte != b'\r'));
                out.extend_from_slice(end);
            }
        }
    }
}

/// The lines of a text, each with its end.
fn lines(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let at = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let is_pair = text.get(at..at + 2) == Some(b"\r\n");
        let (line, rest) = text.split_at(at + 1 + usize::from(is_pair));
        text = rest;
        Some(line)
    })
}

/// A line without its end.
fn content(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Name and value; a line without a colon is a name, one that begins with it a comment.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let (name, value) = line.split_at(at);
    let value = value.strip_prefix(b":").unwrap_or(value);
    (name, value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests;
