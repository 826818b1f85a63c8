//! Finding one's way in the parsed tree: from a place in the text to its key and back.

use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Whether `key` is `table` or something in it.
pub(super) fn within(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The dotted key of the entry whose key or value stands at `span`.
pub(super) fn key_at(table: &DeTable<'_>, span: &Range<usize>) -> String {
    let mut path = String::new();
    find_in_table(table, span, &mut path);
    path
}

fn find_in_table(table: &DeTable<'_>, span: &Range<usize>, path: &mut String) -> bool {
    let length = path.len();
    for (key, value) in table {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key.get_ref());
        if key.span() == *span || find_in_value(value, span, path) {
            return true;
        }
        path.truncate(length);
    }
    false
}

fn find_in_value(value: &Spanned<DeValue<'_>>, span: &Range<usize>, path: &mut String) -> bool {
    if value.span() == *span {
        return true;
    }
    match value.get_ref() {
        DeValue::Table(table) => find_in_table(table, span, path),
        DeValue::Array(array) => {
            let length = path.len();
            for (index, item) in array.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                if find_in_value(item, span, path) {
                    return true;
                }
                path.truncate(length);
            }
            false
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => false,
    }
}

/// Removes the entry whose key or value stands at `span`; whether there was one.
pub(super) fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let offends = |(key, value): &(&Spanned<_>, &Spanned<_>)| key.span() == *span || value.span() == *span;
    let name = table.iter().find(offends).map(|(key, _)| key.get_ref().to_string());
    match name {
        Some(name) => table.remove(name.as_str()).is_some(),
        None => table.iter_mut().any(|(_, value)| take_out_of(value, span)),
    }
}

fn take_out_of(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => take_out(table, span),
        DeValue::Array(array) => {
            if array.iter().any(|item| item.span() == *span) {
                *array = array.clone().into_iter().filter(|item| item.span() != *span).collect();
                return true;
            }
            array.iter_mut().any(|item| take_out_of(item, span))
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => false,
    }
}

/// The place of the innermost table on the way to `key`.
pub(super) fn nearest(root: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    let mut table = root;
    let mut found = None;
    for part in key.split('.') {
        let (name, index) = match part.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let Some((place, value)) = table.get_key_value(name) else { break };
        found = Some(place.span());
        table = match (value.get_ref(), index) {
            (DeValue::Table(inner), _) => inner,
            (DeValue::Array(array), Some(index)) => match array.get(index) {
                Some(item) => {
                    found = Some(item.span());
                    match item.get_ref().as_table() {
                        Some(inner) => inner,
                        None => break,
                    }
                }
                None => break,
            },
            _ => break,
        };
    }
    found
}
