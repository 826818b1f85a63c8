//! Lists show what is permitted: items that are not are cut out of the bytes; every other byte stays.
//!
//! A list that cannot be read strictly is not passed on. What an item holds beside the name that counts is not looked at.

use super::answer::{Answer, AnswerKind};
use super::body::once;
use super::fault::Fault;
use super::fold;
use super::json::{Kind, Reader};
use super::privilege::ListKind;
use super::{Id, Limits};
use std::borrow::Cow;
use std::ops::Range;

/// What else in a result and in an item must not be spelt in another way.
const RESULT: [&str; 4] = ["tools", "resources", "resourceTemplates", "prompts"];
const ITEM: [&str; 3] = ["name", "uri", "uriTemplate"];

/// The text without the items that are not permitted; borrowed where nothing had to go.
///
/// `listed` says which of the answers are to list calls, by id. Every list in such a result is filtered, also of another kind.
///
/// # Errors
/// [`Fault`] if a list has no reading that could be relied on.
pub fn filter<'t>(
    text: &'t [u8],
    answers: &[Answer],
    limits: Limits,
    listed: impl Fn(&Id) -> Option<ListKind>,
    permits: impl Fn(ListKind, &str) -> bool,
) -> Result<Cow<'t, [u8]>, Fault> {
    let mut cuts = Vec::new();
    for answer in answers {
        if let (AnswerKind::Result(id), Some(place)) = (&answer.kind, &answer.result)
            && listed(id).is_some()
        {
            let result = text.get(place.clone()).unwrap_or_default();
            cut(result, place.start, limits, &permits, &mut cuts)?;
        }
    }
    Ok(without(text, &cuts))
}

/// Notes what has to go from a result that begins at `base`.
fn cut(
    result: &[u8],
    base: usize,
    limits: Limits,
    permits: &impl Fn(ListKind, &str) -> bool,
    cuts: &mut Vec<Range<usize>>,
) -> Result<(), Fault> {
    let mut reader = Reader::new(result, limits.depth)?;
    let mut seen = [None; RESULT.len()];
    reader.object(|reader, name| {
        for (kind, seen) in ListKind::ALL.into_iter().zip(&mut seen) {
            if kind.member() == name {
                once(seen, ())?;
                return items(reader, kind, base, permits, cuts);
            }
        }
        fold::is_itself(&name, &RESULT)?;
        reader.skip()
    })
}

/// One list. What goes takes a comma along: the one after it, or the one before it at the end of the list.
fn items(
    reader: &mut Reader<'_>,
    kind: ListKind,
    base: usize,
    permits: &impl Fn(ListKind, &str) -> bool,
    cuts: &mut Vec<Range<usize>>,
) -> Result<(), Fault> {
    let mut kept_until: Option<usize> = None;
    let mut dropped_from: Option<usize> = None;
    let mut end = 0;
    reader.array(|reader| {
        let mut keep = false;
        let place = reader.place(|reader| {
            keep = item(reader, kind, permits)?;
            Ok(())
        })?;
        match (keep, dropped_from) {
            (true, Some(from)) => {
                cuts.push(base + from..base + place.start);
                dropped_from = None;
            }
            (false, None) => dropped_from = Some(place.start),
            (true, None) | (false, Some(_)) => {}
        }
        if keep {
            kept_until = Some(place.end);
        }
        end = place.end;
        Ok(())
    })?;
    if let Some(from) = dropped_from {
        cuts.push(base + kept_until.unwrap_or(from)..base + end);
    }
    Ok(())
}

/// Whether an item is shown: it has exactly one name, and that one is permitted.
fn item(
    reader: &mut Reader<'_>,
    kind: ListKind,
    permits: &impl Fn(ListKind, &str) -> bool,
) -> Result<bool, Fault> {
    if reader.kind()? != Kind::Object {
        return Err(Fault::malformed("an item of a list is no object"));
    }
    let mut name = None;
    reader.object(|reader, member| {
        if member == kind.key() {
            return once(&mut name, reader.string()?);
        }
        fold::is_itself(&member, &ITEM)?;
        reader.skip()
    })?;
    name.map(|name| permits(kind, &name)).ok_or(Fault::malformed("an item of a list has no name"))
}

fn without<'t>(text: &'t [u8], cuts: &[Range<usize>]) -> Cow<'t, [u8]> {
    if cuts.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut kept = Vec::with_capacity(text.len());
    let mut at = 0;
    for cut in cuts {
        kept.extend_from_slice(text.get(at..cut.start).unwrap_or_default());
        at = cut.end;
    }
    kept.extend_from_slice(text.get(at..).unwrap_or_default());
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests;
