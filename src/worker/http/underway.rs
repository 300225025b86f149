//! What a worker does only so many of at once.

use std::cell::Cell;

/// One of them, until this is dropped.
pub(super) struct Underway<'a>(&'a Cell<usize>);

impl<'a> Underway<'a> {
    /// `None` where there are `max` already.
    pub(super) fn begin(count: &'a Cell<usize>, max: usize) -> Option<Self> {
        (count.get() < max).then(|| {
            count.set(count.get() + 1);
            Self(count)
        })
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
