//! Lets so many requests at once to a service, and keeps the rest waiting in the order they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use super::io::Transport;
use super::live::ServiceState;
use super::pool::Endpoint;

/// The gate of one service in one worker.
#[derive(Debug, Default)]
pub(super) struct Gate {
    in_flight: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Place>>>,
}

/// A place in the queue.
#[derive(Debug, Default)]
pub(super) struct Place {
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    /// Requests in flight.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// True where a request that just came need not wait for others.
    pub(super) fn is_clear(&self, limit: Option<usize>) -> bool {
        self.has_room(limit) && self.waiting.borrow().is_empty()
    }

    fn has_room(&self, limit: Option<usize>) -> bool {
        limit.is_none_or(|limit| self.in_flight.get() < limit)
    }

    /// True where it is the turn of this place; else its task is woken when that may be so.
    pub(super) fn is_turn_of(&self, place: &Rc<Place>, limit: Option<usize>, cx: &Context<'_>) -> bool {
        *place.waker.borrow_mut() = Some(cx.waker().clone());
        let is_first = self.waiting.borrow().front().is_some_and(|first| Rc::ptr_eq(first, place));
        is_first && self.has_room(limit)
    }

    /// Wakes whoever is first.
    fn wake_first(&self) {
        let first = self.waiting.borrow().front().cloned();
        if let Some(waker) = first.and_then(|first| first.waker.borrow_mut().take()) {
            waker.wake();
        }
    }
}

/// A request in the queue; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    state: Rc<ServiceState>,
    /// Its place.
    pub place: Rc<Place>,
}

impl Ticket {
    /// The last place.
    pub(super) fn new(state: &Rc<ServiceState>) -> Self {
        let place = Rc::new(Place::default());
        state.gate.waiting.borrow_mut().push_back(Rc::clone(&place));
        // An endpoint may have come back meanwhile, of which nobody told the queue.
        state.gate.wake_first();
        Self { state: Rc::clone(state), place }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.state.gate.waiting.borrow_mut().retain(|place| !Rc::ptr_eq(place, &self.place));
        // There may be room for more than the one that leaves.
        self.state.gate.wake_first();
    }
}

/// A request in flight to an endpoint; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Permit<T: Transport> {
    state: Rc<ServiceState>,
    /// Where it goes.
    pub endpoint: Rc<Endpoint<T>>,
    /// It finds out whether an endpoint that was left out is back.
    pub is_trial: bool,
    /// When it began, in milliseconds of the coarse clock.
    pub began_ms: u64,
}

impl<T: Transport> Permit<T> {
    /// A request that begins.
    pub(super) fn new(state: &Rc<ServiceState>, endpoint: &Rc<Endpoint<T>>, now_ms: u64) -> Self {
        state.gate.in_flight.set(state.gate.in_flight.get() + 1);
        endpoint.busy.set(endpoint.busy.get() + 1);
        let is_trial = endpoint.ejection.borrow_mut().begins(now_ms);
        Self { state: Rc::clone(state), endpoint: Rc::clone(endpoint), is_trial, began_ms: now_ms }
    }
}

impl<T: Transport> Drop for Permit<T> {
    fn drop(&mut self) {
        if self.is_trial {
            self.endpoint.ejection.borrow_mut().drops_trial();
        }
        self.state.gate.in_flight.set(self.state.gate.in_flight.get() - 1);
        self.endpoint.busy.set(self.endpoint.busy.get() - 1);
        self.state.gate.wake_first();
    }
}
