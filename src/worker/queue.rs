//! Who waits for a turn in this worker, in the order they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

/// One queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    places: RefCell<VecDeque<Rc<QueuePlace>>>,
    /// True while the kit lists it among the queues in which somebody waits.
    pub is_listed: Cell<bool>,
}

/// A place in a queue.
#[derive(Debug)]
pub(crate) struct QueuePlace {
    waker: RefCell<Option<Waker>>,
    /// Since when, in milliseconds of the coarse clock.
    since_ms: u64,
}

impl Queue {
    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.places.borrow().len()
    }

    /// Since when the first one waits.
    pub(crate) fn first_since_ms(&self) -> Option<u64> {
        self.places.borrow().front().map(|first| first.since_ms)
    }

    /// Joins the queue at its end.
    pub(crate) fn join(&self, now_ms: u64) -> Rc<QueuePlace> {
        let place = Rc::new(QueuePlace { waker: RefCell::default(), since_ms: now_ms });
        self.places.borrow_mut().push_back(Rc::clone(&place));
        place
    }

    /// Gives a place up.
    pub(crate) fn leave(&self, place: &Rc<QueuePlace>) {
        self.places.borrow_mut().retain(|other| !Rc::ptr_eq(other, place));
    }

    /// True where this place is the first; else its task is woken when that may be so.
    pub(crate) fn is_first(&self, place: &Rc<QueuePlace>, cx: &Context<'_>) -> bool {
        *place.waker.borrow_mut() = Some(cx.waker().clone());
        self.places.borrow().front().is_some_and(|first| Rc::ptr_eq(first, place))
    }

    /// Wakes whoever is first.
    pub(crate) fn wake_first(&self) {
        let first = self.places.borrow().front().cloned();
        if let Some(waker) = first.and_then(|first| first.waker.borrow_mut().take()) {
            waker.wake();
        }
    }
}
