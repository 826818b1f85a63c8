//! Some lines of a trail, each by its own proof.

use super::anchor::Anchor;
use super::beginning::beginning;
use super::*;

/// Checks the lines `from` to `to` alone, each by its own proof out of the tiles, against the largest of `trusted`; and that this one
/// goes on from each of the others: whoever holds the key of the log can sign for a larger one.
///
/// # Errors
/// When a file cannot be read.
pub fn range(trail: &Path, trusted: &[Trusted], range: (u64, u64)) -> io::Result<Report> {
    range_of(trail, || Ok(trusted.to_vec()), range).map(|(report, _)| report)
}

/// The same against what `load` says, as for [`whole_of`].
///
/// # Errors
/// When a file cannot be read.
pub fn range_of(
    trail: &Path,
    mut load: impl FnMut() -> io::Result<Vec<Trusted>>,
    range: (u64, u64),
) -> io::Result<(Report, Vec<Trusted>)> {
    while_files_go(|| {
        looked(trail, &mut load, |segments, trusted| range_once(trail, segments, trusted, range))
    })
}

fn range_once(
    trail: &Path,
    segments: Vec<Segment>,
    trusted: &[Trusted],
    (from, to): (u64, u64),
) -> io::Result<Report> {
    let store = Store::of(trail);
    let missing = removal::missing(&segments)?.min(to);
    let mut walk = Walk::behind(from.saturating_sub(1));
    let Some(anchor) = Anchor::of(&store, trusted) else {
        // Nothing vouches for anything.
        walk.wrong(Wrong::Unproved { line: from });
        return Ok(walk.report);
    };
    if from <= missing {
        let proves = |seq: u64, line: &[u8]| anchor.proves(&store, seq, &Hash::leaf(line));
        if let Some(recorded) = removal::covering(&segments, missing, proves, &|| false)? {
            walk = Walk::behind(missing);
            beginning(&mut walk.report, missing, Some(recorded), trail);
        }
    }
    let Anchor { largest, contradicted } = anchor;
    for wrong in contradicted {
        walk.wrong(wrong);
    }
    let (size, root) = (largest.checkpoint.size, largest.checkpoint.root);
    let tiles = TileHashes::new(&store, size);
    for segment in segments {
        if segment.last().is_some_and(|last| last < from) || walk.report.last >= to {
            continue;
        }
        walk.report.files += 1;
        let mut lines = segment.open()?;
        while let Some(line) = lines.line()? {
            if segments::seq(line).is_some_and(|seq| seq < from || seq > to) {
                continue;
            }
            let Some(seq) = walk.place(line, &segment) else { continue };
            let leaf = Hash::leaf(line);
            let logged = tiles.hash(0, seq - 1).ok().flatten();
            let path = inclusion(&tiles, seq - 1, size).ok().flatten();
            let proves = |leaf: &Hash| {
                path.as_ref().is_some_and(|path| check_inclusion(path, leaf, seq - 1, size, &root).is_ok())
            };
            if proves(&leaf) {
                continue;
            }
            // The tiles lead to the root with another line in this place.
            let wrong = if logged.is_some_and(|logged| proves(&logged)) {
                Wrong::Changed { line: seq, file: segment.path().to_owned() }
            } else {
                Wrong::Unproved { line: seq }
            };
            walk.wrong(wrong);
        }
    }
    if walk.report.last < to {
        let (last, checkpoint) = (walk.report.last, largest.name.clone());
        walk.wrong(Wrong::Truncated { last, size: to.min(size), checkpoint });
    }
    Ok(walk.report)
}
