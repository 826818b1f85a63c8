//! Standard input, line by line. A line that is too long is stepped over, and said to be.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// It was longer than the bound.
    TooLong,
}

/// Lines as they are complete. Dropping the future of [`Lines::next`] loses nothing.
pub(super) struct Lines<R> {
    from: R,
    bound: usize,
    begun: Vec<u8>,
    overflowed: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// `bound`: bytes of one line.
    pub(super) fn new(from: R, bound: usize) -> Self {
        Self { from, bound, begun: Vec::new(), overflowed: false }
    }

    /// The next one that is not blank; none at the end.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let read = self.from.fill_buf().await?;
            let ends = read.is_empty();
            let at = read.iter().position(|byte| *byte == b'\n');
            let piece = read.get(..at.unwrap_or(read.len())).unwrap_or_default();
            if self.begun.len() + piece.len() > self.bound {
                self.overflowed = true;
                self.begun = Vec::new();
            }
            if !self.overflowed {
                self.begun.extend_from_slice(piece);
            }
            let used = piece.len() + usize::from(at.is_some());
            self.from.consume(used);
            if !ends && at.is_none() {
                continue;
            }
            let line = std::mem::take(&mut self.begun);
            if std::mem::take(&mut self.overflowed) {
                return Ok(Some(Line::TooLong));
            }
            match line.trim_ascii() {
                [] if ends => return Ok(None),
                [] => {}
                text => return Ok(Some(Line::Whole(text.to_vec()))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_whole_or_said_to_be_too_long() {
        let text = b"{\"a\":1}\r\n\n  \n0123456789\n01234567890\nlast";
        for capacity in [1, 3, 64] {
            let mut lines = Lines::new(tokio::io::BufReader::with_capacity(capacity, &text[..]), 10);
            let mut seen = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                seen.push(line);
            }
            let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
            assert_eq!(seen, [whole("{\"a\":1}"), whole("0123456789"), Line::TooLong, whole("last")]);
        }
    }
}
