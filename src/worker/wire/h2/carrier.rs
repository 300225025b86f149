//! Connections to one peer that carry many requests at once, and how one of them is found.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::mux::Mux;
use crate::proto::h2::core::ConnectionStanding;
use crate::upstream::reuse::KeepAlive;

/// A connection.
#[derive(Debug)]
pub(crate) struct Carrier {
    mux: Rc<Mux>,
    /// No further request goes over it: it ends with its last one.
    is_closed: Cell<bool>,
    /// Requests that are not over.
    open: Cell<usize>,
    /// Requests so far.
    pub requests: Cell<u32>,
    /// When it was opened, in milliseconds of the coarse clock.
    pub opened_ms: u64,
    /// When its last request ended, in microseconds; 0 while there is one.
    idle_since_us: Cell<u64>,
}

/// A request of a connection that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct StreamPlace(Rc<Carrier>);

impl StreamPlace {
    /// Its connection.
    pub(crate) fn carrier(&self) -> &Carrier {
        &self.0
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        // An idle connection has a timer of its own.
        self.0.mux.wake();
    }
}

impl Carrier {
    /// A connection that was just opened.
    pub(crate) const fn new(mux: Rc<Mux>, now_ms: u64) -> Self {
        Self {
            mux,
            is_closed: Cell::new(false),
            open: Cell::new(0),
            requests: Cell::new(0),
            opened_ms: now_ms,
            idle_since_us: Cell::new(0),
        }
    }

    /// Its protocol.
    pub(crate) const fn mux(&self) -> &Rc<Mux> {
        &self.mux
    }

    /// True where no further request goes over it.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get() || self.mux.drive(|connection| connection.standing() != ConnectionStanding::Open)
    }

    /// Takes no further request; those that it has go on.
    pub(crate) fn close(&self) {
        // Once: its task closes it too, and must not wake itself for ever.
        if !self.is_closed.replace(true) {
            self.mux.wake();
        }
    }

    /// True while it has requests.
    pub(crate) const fn is_busy(&self) -> bool {
        self.open.get() > 0
    }

    /// It has no request since now.
    pub(crate) fn note_idle(&self, now_us: u64) {
        self.idle_since_us.set(now_us);
    }

    fn has_room(&self) -> bool {
        let open = self.open.get();
        self.mux.drive(|connection| connection.has_room() && open < connection.writer().streams_max())
    }

    /// True where it may carry another request, by what the service bounds.
    fn is_within(&self, bounds: &KeepAlive, now_ms: u64) -> bool {
        let age_max = bounds.age_max.limit_ms();
        let is_young = age_max.is_none_or(|age_max| now_ms.saturating_sub(self.opened_ms) < age_max);
        is_young && (bounds.requests_max == 0 || self.requests.get() < bounds.requests_max)
    }

    /// When it became idle, in microseconds; 0 where it is not.
    pub(crate) const fn idle_since_us(&self) -> u64 {
        if self.open.get() == 0 { self.idle_since_us.get() } else { 0 }
    }

    /// A place for one request.
    pub(crate) fn take(self: &Rc<Self>) -> StreamPlace {
        self.open.set(self.open.get() + 1);
        self.requests.set(self.requests.get() + 1);
        StreamPlace(Rc::clone(self))
    }
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Multiplex {
    connections: RefCell<Vec<Rc<Carrier>>>,
    /// A connection is being made: others wait for it instead of making one each.
    is_dialling: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    /// Whether the endpoint agreed on HTTP/2 before; `None` where it was not asked.
    pub is_spoken: Cell<Option<bool>>,
}

impl Multiplex {
    /// The connection with the most requests that has room for another: the others become idle and end.
    pub(crate) fn find(&self, bounds: &KeepAlive, now_ms: u64) -> Option<Rc<Carrier>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|one| !one.is_closed());
        let is_fit = |one: &&Rc<Carrier>| one.has_room() && one.is_within(bounds, now_ms);
        connections.iter().filter(is_fit).max_by_key(|one| one.open.get()).map(Rc::clone)
    }

    /// Adds a connection.
    pub(crate) fn add(&self, carrier: &Rc<Carrier>) {
        self.connections.borrow_mut().push(Rc::clone(carrier));
    }

    /// True while a connection is being made.
    pub(crate) const fn is_dialling(&self) -> bool {
        self.is_dialling.get()
    }

    /// Connections that are open.
    pub(crate) fn count(&self) -> usize {
        self.connections.borrow().iter().filter(|one| !one.is_closed()).count()
    }

    /// Waits while a connection is being made; then this is the turn of whoever waited to look again.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            if !self.is_dialling.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Says that a connection is being made, until this is dropped.
    pub(crate) fn dial(&self) -> Dialling<'_> {
        self.is_dialling.set(true);
        Dialling(self)
    }
}

/// A connection is being made.
pub(crate) struct Dialling<'a>(&'a Multiplex);

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.0.is_dialling.set(false);
        self.0.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }
}
