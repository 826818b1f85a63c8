//! Finding lines in a trail: how few of them are looked at, and in which order they come.
//!
//! Three sieves, each of which may only let through too much: the index of a segment says that it cannot hold a line that fits; a
//! search on raw bytes skips the lines that lack what every line has that fits; what is left is parsed, and every condition is checked
//! exactly ([`Matcher`]). Order: newest first with a limit, in memory for no more lines than that of each segment that is read at once;
//! or oldest first, as a stream. Segments are read by several threads and told of in order.

mod conditions;
mod newest;

use super::index::Index;
use super::segments::{self, Segment};
pub(in crate::audit) use conditions::FIELDS;
pub use conditions::{Conditions, Field, Hit, Matcher};
use newest::Newest;
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Segments that are read at once; of the newest lines each may hold as many as the limit.
const MOST_AHEAD: usize = 8;
/// Lines of a segment that wait until those before them are taken.
const WAITING: usize = 256;

/// In which order lines are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The last line first, and no more than the limit.
    Newest,
    /// The first line first, and no more than the limit.
    Oldest,
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Found {
    /// How many lines.
    pub lines: usize,
    /// It stopped at the limit: there may be more.
    pub limited: bool,
    /// Segments that an index spared.
    pub skipped: usize,
    /// Segments that could not be read to their end: what they hold is missing.
    pub damaged: Vec<(std::path::PathBuf, io::Error)>,
}

/// Finds the lines of a trail that fit, at most `limit`, and hands each to `each` until that wants no more.
///
/// # Errors
/// When the trail cannot be listed. A segment that cannot be read does not end the search: [`Found::damaged`].
pub fn search(
    trail: &Path,
    conditions: &Conditions,
    order: Order,
    limit: usize,
    mut each: impl FnMut(Hit) -> ControlFlow<()>,
) -> io::Result<Found> {
    let mut segments = segments::list(trail)?;
    if order == Order::Newest {
        segments.reverse();
    }
    let matcher = Matcher::new(conditions);
    let stop = AtomicBool::new(false);
    let look = Look { matcher: &matcher, order, limit, stop: &stop };
    let ahead = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_AHEAD);
    std::thread::scope(|scope| {
        let mut found = Found::default();
        let mut rest = segments.iter();
        let mut begun: VecDeque<(&Segment, Receiver<Told>)> = VecDeque::new();
        loop {
            while begun.len() < ahead
                && let Some(segment) = rest.next()
            {
                if Index::of(segment).is_some_and(|index| !index.may_hold(conditions)) {
                    found.skipped += 1;
                    continue;
                }
                let (tell, told) = sync_channel(WAITING);
                scope.spawn(move || look.through(segment, &tell));
                begun.push_back((segment, told));
            }
            let Some((segment, told)) = begun.pop_front() else { break };
            if found.lines >= limit {
                found.limited = true;
                break;
            }
            if take(&told, segment, &mut found, limit, &mut each).is_break() {
                break;
            }
        }
        // Whoever still reads ahead has nobody to tell, or is told so.
        stop.store(true, Relaxed);
        Ok(found)
    })
}

/// What one thread says of its segment.
enum Told {
    Hit(Box<Hit>),
    /// There are more that fit than anybody wants.
    More,
    Damaged(io::Error),
}

/// Takes what is told of one segment; breaks where nobody wants more.
fn take(
    told: &Receiver<Told>,
    segment: &Segment,
    found: &mut Found,
    limit: usize,
    each: &mut impl FnMut(Hit) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for told in told {
        match told {
            Told::Hit(_) if found.lines >= limit => {
                found.limited = true;
                return ControlFlow::Break(());
            }
            Told::Hit(hit) => {
                found.lines += 1;
                each(*hit)?;
            }
            Told::More => found.limited = true,
            Told::Damaged(error) => found.damaged.push((segment.path().to_owned(), error)),
        }
    }
    ControlFlow::Continue(())
}

/// How segments are looked through: some at a time, each by a thread, told of in order.
#[derive(Clone, Copy)]
struct Look<'a> {
    matcher: &'a Matcher<'a>,
    order: Order,
    limit: usize,
    stop: &'a AtomicBool,
}

impl Look<'_> {
    fn through(self, segment: &Segment, tell: &SyncSender<Told>) {
        let mut newest = Newest::new(self.matcher, self.limit);
        let read = scan(segment, self.matcher, |line| {
            if self.stop.load(Relaxed) {
                return ControlFlow::Break(());
            }
            let Some(line) = line else { return ControlFlow::Continue(()) };
            match self.order {
                Order::Newest => newest.push(line),
                Order::Oldest => {
                    if let Some(hit) = self.matcher.parsed(line) {
                        told(tell, Told::Hit(Box::new(hit)))?;
                    }
                }
            }
            ControlFlow::Continue(())
        });
        if self.stop.load(Relaxed) {
            return;
        }
        let (mut hits, more) = newest.finish();
        // Nobody listens any more where one of these cannot be told.
        let _ = hits.try_for_each(|hit| told(tell, Told::Hit(Box::new(hit))));
        if more {
            let _ = told(tell, Told::More);
        }
        // One that is gone since the look was removed, and its lines with it.
        if let Err(error) = read.or_else(gone_is_fine) {
            let _ = told(tell, Told::Damaged(error));
        }
    }
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn told(tell: &SyncSender<Told>, what: Told) -> ControlFlow<()> {
    if tell.send(what).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Hands each line of a segment to `each` that is worth parsing, and now and then nothing, so that it can stop.
fn scan(
    segment: &Segment,
    matcher: &Matcher<'_>,
    mut each: impl FnMut(Option<&[u8]>) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut lines = segment.open()?;
    while let Some(mut rest) = lines.block()? {
        if each(None).is_break() {
            return Ok(());
        }
        let finder = matcher.finder.as_ref();
        while let Some(at) = finder.map_or(Some(0), |finder| finder.find(rest)) {
            let (before, after) = rest.split_at_checked(at).unwrap_or_default();
            let start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
            let end = at + memchr::memchr(b'\n', after).unwrap_or(after.len());
            let line = rest.get(start..end).unwrap_or_default();
            if matcher.is_worth_parsing(line) && each(Some(line)).is_break() {
                return Ok(());
            }
            rest = rest.get(end + 1..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
