//! Lists show what is permitted: items that are not are cut out of the bytes; every other byte stays. A list that was made for one caller
//! is for nobody else: where it says that it may be kept for all (`cacheScope`), it says `private` instead. It may be told how to ask
//! for more ([`Hint`]).
//!
//! A list that cannot be read strictly is not passed on. What an item holds beside the name that counts is not looked at.

mod hint;

pub use hint::{Hint, KEY};

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
const RESULT: [&str; 6] = ["tools", "resources", "resourceTemplates", "prompts", META, SCOPE];
const META: &str = "_meta";
const SCOPE: &str = "cacheScope";
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
    filter_with(text, answers, limits, listed, permits, |_| None)
}

/// The same; each list also says what `hint` says for its kind, under [`KEY`] of its `_meta`: JSON without a line break.
///
/// # Errors
/// As [`filter`]; also if the service speaks under that name itself.
pub fn filter_with<'t>(
    text: &'t [u8],
    answers: &[Answer],
    limits: Limits,
    listed: impl Fn(&Id) -> Option<ListKind>,
    permits: impl Fn(ListKind, &str) -> bool,
    hint: impl Fn(ListKind) -> Option<String>,
) -> Result<Cow<'t, [u8]>, Fault> {
    let mut edits = Vec::new();
    for answer in answers {
        if let (AnswerKind::Result(id), Some(place)) = (&answer.kind, &answer.result)
            && let Some(kind) = listed(id)
        {
            let result = text.get(place.clone()).unwrap_or_default();
            let found = look(result, place.start, limits, &permits, &mut edits)?;
            edits.extend(hint(kind).map(|hint| found.says(&hint)).transpose()?);
        }
    }
    edits.sort_by_key(|edit| edit.place.start);
    Ok(edited(text, &edits))
}

/// What stands in the place of some bytes.
struct Edit {
    place: Range<usize>,
    text: Cow<'static, str>,
}

/// Where a result has room for a hint.
struct Found {
    /// Behind the bracket of the result, and whether it has members.
    result: (usize, bool),
    /// The same of its `_meta`.
    meta: Option<(usize, bool)>,
    /// `_meta` has the member that is ours, or is no object.
    taken: bool,
}

impl Found {
    fn says(&self, hint: &str) -> Result<Edit, Fault> {
        if self.taken {
            return Err(Fault::ambiguous("a list of the service says what the gate says of it"));
        }
        let comma = |more| if more { "," } else { "" };
        let (at, text) = match self.meta {
            Some((at, more)) => (at, format!("\"{KEY}\":{hint}{}", comma(more))),
            None => {
                let (at, more) = self.result;
                (at, format!("\"{META}\":{{\"{KEY}\":{hint}}}{}", comma(more)))
            }
        };
        Ok(Edit { place: at..at, text: text.into() })
    }
}

/// Notes what has to change in a result that begins at `base`.
fn look(
    result: &[u8],
    base: usize,
    limits: Limits,
    permits: &impl Fn(ListKind, &str) -> bool,
    edits: &mut Vec<Edit>,
) -> Result<Found, Fault> {
    let mut reader = Reader::new(result, limits.depth)?;
    let (mut seen, mut meta, mut scope) = ([None; ListKind::ALL.len()], None, None);
    let (mut taken, mut more) = (false, false);
    let place = reader.place(|reader| {
        reader.object(|reader, name| {
            more = true;
            for (kind, seen) in ListKind::ALL.into_iter().zip(&mut seen) {
                if kind.member() == name {
                    once(seen, ())?;
                    return items(reader, kind, base, permits, edits);
                }
            }
            match &*name {
                META if reader.kind()? == Kind::Object => {
                    let mut members = false;
                    let place = reader.place(|reader| {
                        reader.object(|reader, name| {
                            members = true;
                            taken |= fold::is_itself(&name, &[KEY]).is_err() || name == KEY;
                            reader.skip()
                        })
                    })?;
                    once(&mut meta, (base + place.start + 1, members))
                }
                META => {
                    taken = true;
                    reader.skip()
                }
                SCOPE => {
                    let place = reader.place(Reader::skip)?;
                    let text = Cow::Borrowed("\"private\"");
                    edits.push(Edit { place: base + place.start..base + place.end, text });
                    once(&mut scope, ())
                }
                _ => {
                    fold::is_itself(&name, &RESULT)?;
                    reader.skip()
                }
            }
        })
    })?;
    Ok(Found { result: (base + place.start + 1, more), meta, taken })
}

/// One list. What goes takes a comma along: the one after it, or the one before it at the end of the list.
fn items(
    reader: &mut Reader<'_>,
    kind: ListKind,
    base: usize,
    permits: &impl Fn(ListKind, &str) -> bool,
    edits: &mut Vec<Edit>,
) -> Result<(), Fault> {
    let mut cut = |place| edits.push(Edit { place, text: Cow::Borrowed("") });
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
                cut(base + from..base + place.start);
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
        cut(base + kept_until.unwrap_or(from)..base + end);
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

fn edited<'t>(text: &'t [u8], edits: &[Edit]) -> Cow<'t, [u8]> {
    let stays = |edit: &Edit| text.get(edit.place.clone()) == Some(edit.text.as_bytes());
    if edits.iter().all(stays) {
        return Cow::Borrowed(text);
    }
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut kept = Vec::with_capacity(text.len() + added);
    let mut at = 0;
    for edit in edits {
        kept.extend_from_slice(text.get(at..edit.place.start).unwrap_or_default());
        kept.extend_from_slice(edit.text.as_bytes());
        at = edit.place.end;
    }
    kept.extend_from_slice(text.get(at..).unwrap_or_default());
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests;
