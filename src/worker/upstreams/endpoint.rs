//! Upstream connections that stay open between requests: one pool for each endpoint, the latest used first.
//!
//! Every idle connection has a receive armed. Whatever completes it while idle ends the connection: EOF, an
//! error, or bytes that nobody asked for. At checkout it goes on as the next response's first receive. What may be
//! reused, and for how long, is decided by `upstream/habit.rs`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::super::engine::{Receive, Transport};
use super::super::kit::Kit;
use super::super::time::timer::Timer;
use super::super::wire::h2::carrier::Multiplex;
use super::super::wire::link::Link;
use crate::observe::metrics::Counters;
use crate::proto::gateway::Gateway;
use crate::snapshot::Address;
use crate::timeouts::Timeout;
use crate::upstream::ejection::Passive;
use crate::upstream::evidence::Peek;
use crate::upstream::habit::{Flaw, Habit};
use crate::upstream::health::EndpointState;
use crate::upstream::latency::Latency;
use crate::upstream::reuse::Wear;

/// An upstream connection.
#[derive(Debug)]
pub(crate) struct UpstreamConnection<T: Transport> {
    /// The connection.
    pub link: Link<T>,
    /// What is spoken in the place of HTTP.
    pub gateway: Option<Gateway>,
    /// Requests sent over it.
    pub requests: u32,
    /// Bytes sent over it before the present request.
    pub sent_bytes: u64,
    /// When it was opened, in milliseconds of the coarse clock.
    pub opened_ms: u64,
    /// When it became idle last, in microseconds.
    pub idle_since_us: u64,
    /// Until when it may be idle, in milliseconds of the coarse clock.
    pub idle_until_ms: u64,
    /// It carries a request that must not be repeated, though reuse is not proven.
    pub is_trial: bool,
    /// It was authenticated as one client's.
    pub is_bound: bool,
}

impl<T: Transport> UpstreamConnection<T> {
    /// A new connection.
    #[must_use]
    pub(crate) const fn new(link: Link<T>, now_ms: u64) -> Self {
        Self {
            link,
            gateway: None,
            requests: 1,
            sent_bytes: 0,
            opened_ms: now_ms,
            idle_since_us: 0,
            idle_until_ms: 0,
            is_trial: false,
            is_bound: false,
        }
    }

    /// How much it was used: requests and age.
    #[must_use]
    pub(crate) const fn wear(&self, now_ms: u64) -> Wear {
        Wear { requests: self.requests, age_ms: now_ms.saturating_sub(self.opened_ms) }
    }

    /// Lets it go; its buffer is for others.
    pub(crate) fn end(mut self, kit: &Kit<T>) {
        kit.buffers.put_buffer(std::mem::take(&mut self.link.inbox));
    }

    /// How long it was idle, in microseconds.
    pub(crate) const fn idle_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.idle_since_us)
    }
}

/// One endpoint as one worker knows it. It outlives snapshots as long as one of them names it.
#[derive(Debug)]
pub(crate) struct EndpointPool<T: Transport> {
    /// Where it is.
    pub address: Address,
    /// Requests in flight.
    pub busy: Cell<usize>,
    /// How long it takes to answer, where the balance of its service asks.
    pub latency: Cell<Latency>,
    /// What it was seen to do with idle connections.
    pub habit: RefCell<Habit>,
    /// Whether it is left out for its failures.
    pub passive: RefCell<Passive>,
    /// Its connections that carry many requests at once.
    pub multiplex: Multiplex,
    /// What the process knows of it.
    pub state: Arc<EndpointState>,
    /// The latest used at the back.
    idle: RefCell<VecDeque<UpstreamConnection<T>>>,
    /// Wakes the task that watches the idle connections; `None` until the first is kept.
    watcher: RefCell<Option<Waker>>,
    /// When the watcher looks next, in milliseconds of the coarse clock.
    next_sweep_ms: Cell<u64>,
}

impl<T: Transport> Drop for EndpointPool<T> {
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

impl<T: Transport> EndpointPool<T> {
    /// An endpoint without connections.
    #[must_use]
    pub(crate) fn new(address: Address, state: Arc<EndpointState>) -> Rc<Self> {
        Rc::new(Self {
            address,
            busy: Cell::new(0),
            latency: Cell::default(),
            habit: RefCell::default(),
            passive: RefCell::default(),
            multiplex: Multiplex::default(),
            state,
            idle: RefCell::default(),
            watcher: RefCell::default(),
            next_sweep_ms: Cell::new(u64::MAX),
        })
    }

    /// Idle connections, and those that carry many requests.
    #[must_use]
    pub(crate) fn idle_count(&self) -> usize {
        self.idle.borrow().len() + self.multiplex.count()
    }

    /// The latest used connection that is still open and good for the request, and how long it was idle, in
    /// microseconds.
    pub(crate) fn check_out(&self, kit: &Kit<T>, is_repeatable: bool) -> Option<(UpstreamConnection<T>, u64)> {
        if self.idle.borrow().is_empty() {
            return None;
        }
        let (now_us, now_ms) = (kit.transport.now_us(), kit.transport.coarse_ms());
        loop {
            let at = self.find(now_us, is_repeatable)?;
            let mut upstream = self.idle.borrow_mut().remove(at)?;
            let idle_us = upstream.idle_us(now_us);
            // Whoever waits for the response will leave its own waker.
            let end = self.end_of(&mut upstream, (now_us, now_ms), &mut Context::from_waker(Waker::noop()));
            let is_looked_at = self.habit.borrow().needs_look(is_repeatable) || !upstream.link.receiver.is_seen();
            // The armed receive may have been completed where this loop has not looked yet.
            let end = end.or_else(|| is_looked_at.then(|| look(&upstream.link.receiver)).flatten());
            let Some(end) = end else {
                let mut habit = self.habit.borrow_mut();
                if is_looked_at {
                    habit.survives(idle_us, now_us);
                }
                upstream.is_trial = habit.takes(is_repeatable) && !is_repeatable;
                return Some((upstream, idle_us));
            };
            self.note_end(kit, &upstream, end);
        }
    }

    /// The position of the connection to take, the latest used first. Where no look is needed, connections come last that
    /// were released after the kernel was last asked: bytes that an upstream sent behind its response may not have shown on
    /// them yet, and would be taken for the answer to the next request.
    fn find(&self, now_us: u64, is_repeatable: bool) -> Option<usize> {
        let idle = self.idle.borrow();
        let (oldest, latest) = (idle.front()?, idle.back()?);
        let mut habit = self.habit.borrow_mut();
        let oldest_us = oldest.idle_us(now_us);
        let lacks_proof = !is_repeatable && !habit.is_survived(latest.idle_us(now_us));
        if lacks_proof && oldest_us > habit.kept_us() && oldest.link.receiver.peek() == Peek::Quiet {
            habit.survives(oldest_us, now_us);
        }
        let seen =
            if habit.needs_look(is_repeatable) { 0 } else { idle.partition_point(|kept| kept.link.receiver.is_seen()) };
        let latest_first = (0..seen).rev().chain((seen..idle.len()).rev());
        latest_first.into_iter().find(|at| habit.allows(idle[*at].idle_us(now_us), is_repeatable))
    }

    /// Keeps a connection for `idle_ms`, the oldest giving way where `limit` are kept already.
    pub(crate) fn check_in(
        self: &Rc<Self>,
        kit: &Rc<Kit<T>>,
        mut upstream: UpstreamConnection<T>,
        idle_ms: u64,
        limit: usize,
    ) {
        let (now_us, now_ms) = (kit.transport.now_us(), kit.transport.coarse_ms());
        if !self.habit.borrow_mut().keeps(now_us) {
            kit.metrics.borrow_mut().counters.not_pooled += 1;
            return;
        }
        upstream.idle_since_us = now_us;
        upstream.idle_until_ms = now_ms + idle_ms;
        upstream.is_trial = false;
        upstream.link.timer.disarm();
        let watcher = self.watcher.borrow().clone();
        let waker = watcher.as_ref().unwrap_or(Waker::noop());
        if let Some(end) = self.end_of(&mut upstream, (now_us, now_ms), &mut Context::from_waker(waker)) {
            self.note_end(kit, &upstream, end);
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= limit.max(1) {
            idle.pop_front();
        }
        let until_ms = upstream.idle_until_ms;
        idle.push_back(upstream);
        drop(idle);
        match watcher {
            None => {
                *self.watcher.borrow_mut() = Some(Waker::noop().clone());
                kit.transport.spawn(watch(Rc::downgrade(self), Rc::clone(kit), kit.timer()));
            }
            // While requests come and go, the watcher looks sooner than this anyway and need not be woken.
            Some(watcher) if until_ms < self.next_sweep_ms.get() => watcher.wake(),
            Some(_) => {}
        }
    }

    /// Looks at every idle connection, drops those that ended, and says when the next one expires.
    fn sweep(&self, kit: &Kit<T>, cx: &mut Context<'_>) -> Option<u64> {
        *self.watcher.borrow_mut() = Some(cx.waker().clone());
        let (now_us, now_ms) = (kit.transport.now_us(), kit.transport.coarse_ms());
        let lifetime_ms = self.habit.borrow().lifetime_us() / 1_000;
        let mut next_ms = None;
        let mut ended = Vec::new();
        let mut idle = self.idle.borrow_mut();
        let mut at = 0;
        while at < idle.len() {
            let Some(end) = self.end_of(&mut idle[at], (now_us, now_ms), cx) else {
                let left_ms = lifetime_ms.saturating_sub(idle[at].idle_us(now_us) / 1_000);
                let until_ms = idle[at].idle_until_ms.min(now_ms.saturating_add(left_ms));
                next_ms = Some(next_ms.map_or(until_ms, |next: u64| next.min(until_ms)));
                at += 1;
                continue;
            };
            ended.extend(idle.remove(at).map(|upstream| (upstream, end)));
        }
        let survived_us = idle.front().map(|oldest| oldest.idle_us(now_us));
        drop(idle);
        if let Some(survived_us) = survived_us {
            self.habit.borrow_mut().survives(survived_us, now_us);
        }
        ended.into_iter().for_each(|(upstream, end)| self.note_end(kit, &upstream, end));
        self.next_sweep_ms.set(next_ms.unwrap_or(u64::MAX));
        next_ms.map(|next_ms| next_ms.saturating_sub(now_ms))
    }

    /// How an idle connection ended, if it did. Leaves its receive armed with the task of `cx`.
    fn end_of(&self, upstream: &mut UpstreamConnection<T>, now: (u64, u64), cx: &mut Context<'_>) -> Option<IdleEnd> {
        let link = &mut upstream.link;
        match link.receiver.poll_receive(&mut link.inbox, cx) {
            Poll::Ready(Ok(0)) => return Some(IdleEnd::Eof),
            Poll::Ready(Ok(_)) => return Some(IdleEnd::Unsolicited),
            Poll::Ready(Err(_)) => return Some(IdleEnd::Error),
            Poll::Pending if link.receiver.is_disturbed() => return Some(IdleEnd::Unsolicited),
            Poll::Pending => {}
        }
        let (now_us, now_ms) = now;
        let is_over = now_ms >= upstream.idle_until_ms || upstream.idle_us(now_us) >= self.habit.borrow().lifetime_us();
        is_over.then_some(IdleEnd::Expired)
    }

    fn note_end(&self, kit: &Kit<T>, upstream: &UpstreamConnection<T>, end: IdleEnd) {
        count(&mut kit.metrics.borrow_mut().counters, end);
        // Bytes that nobody asked for come before an end, as the 408 of an idle timeout does.
        if end == IdleEnd::Unsolicited {
            self.habit.borrow_mut().speaks_unasked();
        }
        if end != IdleEnd::Expired {
            let now_us = kit.transport.now_us();
            let flaw = self.habit.borrow_mut().closes(upstream.idle_us(now_us), upstream.requests, now_us);
            self.tell(kit, flaw);
        }
    }

    /// A reused connection ended before the first byte of its response, after so long an idle time.
    pub(crate) fn note_failed_reuse(&self, kit: &Kit<T>, upstream: &UpstreamConnection<T>, idle_us: u64) {
        let flaw = self.habit.borrow_mut().fails(idle_us, upstream.requests, kit.transport.now_us());
        self.tell(kit, flaw);
    }

    /// Logs the flaw and its remedy, once for the process: only the first worker that sees it does.
    fn tell(&self, kit: &Kit<T>, flaw: Option<Flaw>) {
        let Some(flaw) = flaw else { return };
        kit.metrics.borrow_mut().counters.pooling_off += 1;
        if !self.state.tells_first() {
            return;
        }
        let (seen, remedy) = match flaw {
            Flaw::ClosesAfterResponse => (
                "the upstream closes connections right after its responses without having said so",
                "let it say `Connection: close` or keep connections open (uWSGI: http-keepalive = true for the http router)",
            ),
            Flaw::FailsSecondRequest => (
                "the upstream fails the second request of every connection",
                "let it say `Connection: close` or serve more than one request for a connection",
            ),
        };
        tracing::info!(endpoint = %self.address, seen, remedy, "connections to this endpoint are not reused; it is tried again every minute");
    }
}

/// Watches the idle connections of one endpoint until the endpoint is gone.
async fn watch<T: Transport>(endpoint: Weak<EndpointPool<T>>, kit: Rc<Kit<T>>, timer: Timer<T>) {
    poll_fn(|cx| {
        let Some(endpoint) = endpoint.upgrade() else { return Poll::Ready(()) };
        match endpoint.sweep(&kit, cx) {
            // A millisecond more, so that what expires is past when it is looked at.
            Some(next_ms) => timer.arm(Timeout::UpstreamIdle, Some(next_ms + 1)),
            None => timer.disarm(),
        }
        let is_expired = timer.poll_expired(cx).is_some();
        debug_assert!(!is_expired, "it was armed for a later tick");
        Poll::Pending
    })
    .await;
}

/// What the kernel says of a connection whose receive may have been completed without the loop having seen it.
fn look(receiver: &impl Receive) -> Option<IdleEnd> {
    match receiver.peek() {
        Peek::Quiet => None,
        Peek::Bytes => Some(IdleEnd::Unsolicited),
        Peek::End => Some(IdleEnd::Eof),
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
