//! Upstream connections that stay open between requests: one pool for each endpoint, the latest used first.
//!
//! Every idle connection has a receive armed. Whatever completes it while idle ends the connection: EOF, an
//! error, or bytes that nobody asked for. At checkout it goes on as the next response's first receive.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::io::{Receive as _, Transport};
use super::link::Link;
use super::{Worker, timer::Timer};
use crate::observe::metrics::Counters;
use crate::snapshot::Address;
use crate::upstream::reuse::Wear;

/// An upstream connection.
#[derive(Debug)]
pub(super) struct Upstream<T: Transport> {
    /// The connection.
    pub link: Link<T>,
    /// Requests sent over it.
    pub requests: u32,
    /// When it was opened, in milliseconds of the coarse clock.
    pub opened_ms: u64,
    /// When it became idle last.
    pub idle_since_ms: u64,
    /// Until when it may be idle.
    pub idle_until_ms: u64,
}

impl<T: Transport> Upstream<T> {
    /// What it has behind it.
    #[must_use]
    pub(super) const fn wear(&self, now_ms: u64) -> Wear {
        Wear { requests: self.requests, age_ms: now_ms.saturating_sub(self.opened_ms) }
    }
}

/// One endpoint as one worker knows it. It outlives snapshots as long as one of them names it.
#[derive(Debug)]
pub(super) struct Endpoint<T: Transport> {
    /// Where it is.
    pub address: Address,
    /// Requests in flight.
    pub busy: Cell<usize>,
    idle: RefCell<Vec<Upstream<T>>>,
    /// Wakes the task that watches the idle connections; `None` until the first is kept.
    watcher: RefCell<Option<Waker>>,
    /// When the watcher looks next, in milliseconds of the coarse clock.
    next_sweep_ms: Cell<u64>,
}

impl<T: Transport> Drop for Endpoint<T> {
    fn drop(&mut self) {
        // The watcher sees that the endpoint is gone and ends.
        if let Some(watcher) = self.watcher.borrow_mut().take() {
            watcher.wake();
        }
    }
}

/// How an idle connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdleEnd {
    Eof,
    Error,
    Unsolicited,
    Expired,
}

impl<T: Transport> Endpoint<T> {
    /// An endpoint without connections.
    #[must_use]
    pub(super) fn new(address: Address) -> Rc<Self> {
        Rc::new(Self {
            address,
            busy: Cell::new(0),
            idle: RefCell::default(),
            watcher: RefCell::default(),
            next_sweep_ms: Cell::new(u64::MAX),
        })
    }

    /// Idle connections.
    #[must_use]
    pub(super) fn idle_count(&self) -> usize {
        self.idle.borrow().len()
    }

    /// The latest used connection that is still open.
    pub(super) fn check_out(&self, worker: &Worker<T>) -> Option<Upstream<T>> {
        let now_ms = worker.transport.coarse_ms();
        loop {
            let mut upstream = self.idle.borrow_mut().pop()?;
            // Whoever waits for the response will leave its own waker.
            match end_of(&mut upstream, now_ms, &mut Context::from_waker(Waker::noop())) {
                // The armed receive may have been completed where this loop has not looked yet.
                None if upstream.link.receiver.is_quiet() => return Some(upstream),
                None => count(&mut worker.metrics.borrow_mut().counters, IdleEnd::Unsolicited),
                Some(end) => count(&mut worker.metrics.borrow_mut().counters, end),
            }
        }
    }

    /// Keeps a connection for `idle_ms`, the oldest giving way where `limit` are kept already.
    pub(super) fn check_in(
        self: &Rc<Self>,
        worker: &Rc<Worker<T>>,
        mut upstream: Upstream<T>,
        idle_ms: u64,
        limit: usize,
    ) {
        let now_ms = worker.transport.coarse_ms();
        upstream.idle_since_ms = now_ms;
        upstream.idle_until_ms = now_ms + idle_ms;
        upstream.link.timer.disarm();
        let watcher = self.watcher.borrow().clone();
        let waker = watcher.as_ref().unwrap_or(Waker::noop());
        if let Some(end) = end_of(&mut upstream, now_ms, &mut Context::from_waker(waker)) {
            count(&mut worker.metrics.borrow_mut().counters, end);
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= limit.max(1) {
            idle.remove(0);
        }
        let until_ms = upstream.idle_until_ms;
        idle.push(upstream);
        drop(idle);
        match watcher {
            None => {
                *self.watcher.borrow_mut() = Some(Waker::noop().clone());
                worker.transport.spawn(watch(Rc::downgrade(self), Rc::clone(worker), worker.timers.timer()));
            }
            // While requests come and go the next look is always nearer than this, and nobody is woken.
            Some(watcher) if until_ms < self.next_sweep_ms.get() => watcher.wake(),
            Some(_) => {}
        }
    }

    /// Looks at every idle connection, drops those that ended, and says when the next one expires.
    fn sweep(&self, worker: &Worker<T>, cx: &mut Context<'_>) -> Option<u64> {
        *self.watcher.borrow_mut() = Some(cx.waker().clone());
        let now_ms = worker.transport.coarse_ms();
        let mut next_ms = None;
        let mut ended = Vec::new();
        self.idle.borrow_mut().retain_mut(|upstream| match end_of(upstream, now_ms, cx) {
            Some(end) => {
                ended.push(end);
                false
            }
            None => {
                next_ms = Some(next_ms.map_or(upstream.idle_until_ms, |next: u64| next.min(upstream.idle_until_ms)));
                true
            }
        });
        ended.into_iter().for_each(|end| count(&mut worker.metrics.borrow_mut().counters, end));
        self.next_sweep_ms.set(next_ms.unwrap_or(u64::MAX));
        next_ms.map(|next_ms| next_ms.saturating_sub(now_ms))
    }
}

/// Watches the idle connections of one endpoint until the endpoint is gone.
async fn watch<T: Transport>(endpoint: Weak<Endpoint<T>>, worker: Rc<Worker<T>>, timer: Timer<T>) {
    poll_fn(|cx| {
        let Some(endpoint) = endpoint.upgrade() else { return Poll::Ready(()) };
        match endpoint.sweep(&worker, cx) {
            // A millisecond more, so that what expires is past when it is looked at.
            Some(next_ms) => timer.arm(next_ms + 1),
            None => timer.disarm(),
        }
        let is_expired = timer.poll_expired(cx);
        debug_assert!(!is_expired, "it was armed for a later tick");
        Poll::Pending
    })
    .await;
}

/// How an idle connection ended, if it did. Leaves its receive armed with the task of `cx`.
fn end_of<T: Transport>(upstream: &mut Upstream<T>, now_ms: u64, cx: &mut Context<'_>) -> Option<IdleEnd> {
    if now_ms >= upstream.idle_until_ms {
        return Some(IdleEnd::Expired);
    }
    let link = &mut upstream.link;
    match link.receiver.poll_receive(&mut link.inbox, cx) {
        Poll::Pending => None,
        Poll::Ready(Ok(0)) => Some(IdleEnd::Eof),
        Poll::Ready(Ok(_)) => Some(IdleEnd::Unsolicited),
        Poll::Ready(Err(_)) => Some(IdleEnd::Error),
    }
}

const fn count(counters: &mut Counters, end: IdleEnd) {
    match end {
        IdleEnd::Eof => counters.idle_closed_eof += 1,
        IdleEnd::Error => counters.idle_closed_error += 1,
        IdleEnd::Unsolicited => counters.idle_closed_unsolicited += 1,
        IdleEnd::Expired => counters.idle_closed_expired += 1,
    }
}
