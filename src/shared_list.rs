//! A sorted list that is copied often with one thing replaced.

use std::cmp::Ordering;
use std::iter::FlatMap;
use std::slice::Iter;
use std::sync::Arc;

/// Things of one part. With a few thousand things a copy touches about as many parts as things of one part.
const PART: usize = 64;

/// A list in parts. A copy shares them; one with another thing in a place has a new part there, and shares the others.
#[derive(Debug)]
pub struct SharedList<T>(Arc<[Arc<[T]>]>);

/// All things of a list, in their order.
pub type SharedListIter<'a, T> = FlatMap<Iter<'a, Arc<[T]>>, Iter<'a, T>, fn(&'a Arc<[T]>) -> Iter<'a, T>>;

impl<T> SharedList<T> {
    /// All things, in their order.
    pub fn iter(&self) -> SharedListIter<'_, T> {
        self.0.iter().flat_map(|part| part.iter())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The thing at this position.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&T> {
        self.0.get(at / PART)?.get(at % PART)
    }

    /// The position of a thing, of a list that is sorted by what `order` compares; `None` where it is not there.
    pub fn search_by(&self, mut order: impl FnMut(&T) -> Ordering) -> Option<usize> {
        let part = self.0.partition_point(|part| part.last().is_some_and(|last| order(last) == Ordering::Less));
        let within = self.0.get(part)?.binary_search_by(order).ok()?;
        Some(part * PART + within)
    }
}

impl<T: Clone> SharedList<T> {
    /// A copy with another thing at this position; the same list where there is no such position.
    #[must_use]
    pub fn with(&self, at: usize, thing: T) -> Self {
        let mut parts = self.0.to_vec();
        if let Some(part) = parts.get_mut(at / PART)
            && let Some(place) = Arc::make_mut(part).get_mut(at % PART)
        {
            *place = thing;
        }
        Self(parts.into())
    }
}

impl<T> Clone for SharedList<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for SharedList<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> FromIterator<T> for SharedList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(things: I) -> Self {
        let mut things = things.into_iter().peekable();
        let mut parts = Vec::new();
        while things.peek().is_some() {
            parts.push(things.by_ref().take(PART).collect());
        }
        Self(parts.into())
    }
}

impl<'a, T> IntoIterator for &'a SharedList<T> {
    type Item = &'a T;
    type IntoIter = SharedListIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_any_length_is_as_it_was_made() {
        for length in [0, 1, PART - 1, PART, PART + 1, 3 * PART, 1_000] {
            let list: SharedList<usize> = (0..length).map(|at| at * 2).collect();
            assert_eq!((list.len(), list.is_empty()), (length, length == 0));
            assert!(list.iter().copied().eq((0..length).map(|at| at * 2)));
            assert_eq!((list.get(length), list.search_by(|known| known.cmp(&(length * 2)))), (None, None));
            for at in 0..length {
                assert_eq!((list.get(at), list.search_by(|known| known.cmp(&(at * 2)))), (Some(&(at * 2)), Some(at)));
                assert_eq!(list.search_by(|known| known.cmp(&(at * 2 + 1))), None);
            }
        }
    }

    #[test]
    fn one_thing_is_replaced_in_a_copy_alone() {
        let list: SharedList<usize> = (0..200).collect();
        let copy = list.with(130, 7_000);
        assert_eq!((list.get(130), copy.get(130), copy.len()), (Some(&130), Some(&7_000), 200));
        assert!(Arc::ptr_eq(&list.0[0], &copy.0[0]) && !Arc::ptr_eq(&list.0[2], &copy.0[2]));
        assert!(copy.iter().enumerate().all(|(at, thing)| *thing == if at == 130 { 7_000 } else { at }));
        assert!(list.with(200, 1).iter().eq(list.iter()));
    }
}
