//! The lists inside a permission: sets, kept sorted, never empty, never long. One entry, by far the usual case, costs no
//! allocation.

use std::ops::Deref;

/// The most entries that a list inside a permission may have.
pub const MAX_ENTRIES: usize = 1_000;

/// A sorted set of 1 to [`MAX_ENTRIES`] values. Reads like a slice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct List<T>(Repr<T>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Repr<T> {
    One(T),
    Many(Box<[T]>),
}

/// Why values do not make a [`List`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListFault<T> {
    /// There is none.
    Empty,
    /// There are more than [`MAX_ENTRIES`].
    TooMany,
    /// This one is there twice.
    Duplicate(T),
}

impl<T: Ord> List<T> {
    /// Sorts the values.
    ///
    /// # Errors
    /// [`ListFault`]: none, too many, or one of them twice (which is a slip of the pen, not a wish).
    pub fn new(mut values: Vec<T>) -> Result<Self, ListFault<T>> {
        if values.len() > MAX_ENTRIES {
            return Err(ListFault::TooMany);
        }
        values.sort_unstable();
        if let Some(at) = values.windows(2).position(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(ListFault::Duplicate(values.swap_remove(at)));
        }
        match values.pop() {
            None => Err(ListFault::Empty),
            Some(only) if values.is_empty() => Ok(Self::one(only)),
            Some(last) => {
                values.push(last);
                Ok(Self(Repr::Many(values.into_boxed_slice())))
            }
        }
    }

    /// Whether the value is in the list.
    #[must_use]
    pub fn has(&self, value: &T) -> bool {
        self.binary_search(value).is_ok()
    }
}

impl<T> List<T> {
    /// A list of one.
    #[must_use]
    pub fn one(value: T) -> Self {
        Self(Repr::One(value))
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        match &mut self.0 {
            Repr::One(value) => std::slice::from_mut(value).iter_mut(),
            Repr::Many(values) => values.iter_mut(),
        }
    }
}

impl<T> Deref for List<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match &self.0 {
            Repr::One(value) => std::slice::from_ref(value),
            Repr::Many(values) => values,
        }
    }
}

impl<T: serde::Serialize> serde::Serialize for List<T> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_small_set() {
        assert_eq!(&*List::new(vec!["b", "a", "c"]).unwrap(), ["a", "b", "c"]);
        assert_eq!(List::new(vec!["a"]).unwrap(), List::one("a"));
        assert_eq!(List::<u8>::new(vec![]), Err(ListFault::Empty));
        assert_eq!(List::new(vec!["b", "a", "b"]), Err(ListFault::Duplicate("b")));
        assert_eq!(List::new((0..=MAX_ENTRIES).collect()), Err(ListFault::TooMany));
        assert!(List::new((0..MAX_ENTRIES).collect()).is_ok());
    }
}
