//! Connections from which nothing is known yet, in the order in which they came: where places run out, the one that has been silent
//! longest gives way, and not the one that has just come.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::time::wheel::Key;

/// Those that are silent, each with the timer that ends its wait.
#[derive(Debug, Default)]
pub(crate) struct Silent {
    waiting: RefCell<BTreeMap<u64, Key>>,
    next: Cell<u64>,
    /// Those that have given way and are not gone yet.
    leaving: Cell<usize>,
}

impl Silent {
    /// One more, until what is returned is dropped. It must be dropped before its timer.
    #[must_use]
    pub(super) fn enter(self: &Rc<Self>, timer: Key) -> Silence {
        let number = self.next.replace(self.next.get() + 1);
        self.waiting.borrow_mut().insert(number, timer);
        Silence { silent: Rc::clone(self), number }
    }

    /// How many there are.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// The timer of the one that has been silent longest, which is not asked for again.
    pub(super) fn take_longest(&self) -> Option<Key> {
        let (_, timer) = self.waiting.borrow_mut().pop_first()?;
        self.leaving.set(self.leaving.get() + 1);
        Some(timer)
    }

    /// How many have given way and are not gone yet: their places are others' already.
    #[must_use]
    pub(super) const fn leaving(&self) -> usize {
        self.leaving.get()
    }
}

/// A connection from which nothing is known yet.
#[derive(Debug)]
pub(crate) struct Silence {
    silent: Rc<Silent>,
    number: u64,
}

impl Silence {
    /// True where it has given way: it ends without a word, for its place is another's already.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        !self.silent.waiting.borrow().contains_key(&self.number)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if self.silent.waiting.borrow_mut().remove(&self.number).is_none() {
            self.silent.leaving.set(self.silent.leaving.get() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_gives_way_and_whoever_has_spoken_does_not() {
        let silent = Rc::new(Silent::default());
        let [first, second, third] = [7, 8, 9].map(|timer| silent.enter(Key::of(timer)));
        drop(first);
        assert_eq!((silent.count(), silent.take_longest()), (2, Some(Key::of(8))));
        assert!(second.is_over() && !third.is_over());
        assert_eq!(silent.take_longest(), Some(Key::of(9)));
        assert_eq!(silent.leaving(), 2);
        drop((second, third));
        assert_eq!((silent.count(), silent.leaving(), silent.take_longest()), (0, 0, None));
    }
}
