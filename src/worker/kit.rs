//! What every task of a worker has at hand, whatever it carries: the engine, timers, buffers, counters.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::task::Waker;

use super::buffers::Buffers;
use super::engine::Transport;
use super::queue::Queue;
use super::silent::{Silence, Silent};
use super::time::timer::{Timer, Timers};
use crate::limits::RESERVED_DESCRIPTORS;
use crate::mailbox::Bells;
use crate::observe::metrics::Metrics;
use crate::proto::h2::window::WindowBudget;
use crate::timeouts::Timeout;

/// The tools of one worker.
#[derive(Debug)]
pub(crate) struct Kit<T: Transport> {
    /// The engine.
    pub transport: T,
    timers: Rc<Timers<T>>,
    /// Buffers that are used again.
    pub buffers: Buffers,
    /// By how much windows of HTTP/2 were raised.
    pub windows: Rc<WindowBudget>,
    /// The counters.
    pub metrics: RefCell<Metrics>,
    /// Connections that have said nothing yet.
    silent: Rc<Silent>,
    /// TLS handshakes whose ClientHello is here, and that are not over.
    shaking: Rc<Silent>,
    /// Bytes of the heads of requests that are not over.
    pub heads_bytes: Cell<usize>,
    /// The number of the worker, from 0.
    pub worker: usize,
    /// Wakes the loops of the other workers.
    pub bells: Bells,
    /// Queues in which somebody waits.
    queues: RefCell<Vec<Rc<Queue>>>,
    /// Those who wait for something that is computed elsewhere.
    waiting: RefCell<Vec<Waker>>,
}

impl<T: Transport> Kit<T> {
    /// A random number, uniform over `u128`.
    pub(crate) fn random_u128(&self) -> u128 {
        u128::from(self.transport.random()) << 64 | u128::from(self.transport.random())
    }

    /// The tools, and the task of their timers.
    #[must_use]
    pub(crate) fn new(transport: T, worker: usize, bells: Bells) -> Rc<Self> {
        let timers = Timers::new(transport.clone());
        transport.spawn(Rc::clone(&timers).drive());
        Rc::new(Self {
            timers,
            buffers: Buffers::default(),
            windows: Rc::default(),
            metrics: RefCell::default(),
            silent: Rc::default(),
            shaking: Rc::default(),
            heads_bytes: Cell::new(0),
            worker,
            bells,
            queues: RefCell::default(),
            waiting: RefCell::default(),
            transport,
        })
    }

    /// A new timer, not armed.
    #[must_use]
    pub(crate) fn timer(&self) -> Timer<T> {
        self.timers.timer()
    }

    /// A connection has said nothing yet; `timer` ends its wait.
    pub(crate) fn begin_silence(&self, timer: &Timer<T>) -> Silence {
        self.silent.enter(timer.key())
    }

    /// Connections that have given way and are not gone yet: at most half of the reserved descriptors, for their sockets are open still.
    pub(crate) fn leaving(&self) -> usize {
        (self.silent.leaving() + self.shaking.leaving()).min(RESERVED_DESCRIPTORS / 2)
    }

    /// Ends the wait for the connection that has been silent longest, or else for the handshake that began first; false where there is
    /// neither.
    pub(crate) fn shed_silent(&self) -> bool {
        let longest = self.silent.take_longest().or_else(|| self.shaking.take_longest());
        longest.map(|timer| self.timers.expire(timer)).is_some()
    }

    /// A handshake has begun, whose wait `timer` ends. Where there are `limit` of them, the one that began first gives way.
    pub(crate) fn begin_handshake(&self, timer: &Timer<T>, limit: usize) -> Silence {
        if self.shaking.count() >= limit {
            self.shaking.take_longest().into_iter().for_each(|timer| self.timers.expire(timer));
        }
        self.shaking.enter(timer.key())
    }

    /// Waits for `ms`, or as long as the row of `timeout` says where that is `None`.
    pub(crate) fn pause(&self, timeout: Timeout, ms: Option<u64>) -> impl Future<Output = ()> {
        self.timers.pause(timeout, ms)
    }

    /// Notes a queue in which somebody begins to wait, for [`Self::wake_queues`].
    pub(crate) fn put_queue(&self, queue: &Rc<Queue>) {
        if !queue.is_listed.replace(true) {
            self.queues.borrow_mut().push(Rc::clone(queue));
        }
    }

    /// Whoever is computed for elsewhere waits for the bell.
    pub(crate) fn await_bell(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// The bell rang: something that was computed elsewhere may be done.
    pub(crate) fn wake_waiting(&self) {
        let waiting = self.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Another worker may have made room: whoever is first in a queue looks whether it can go now.
    pub(crate) fn wake_queues(&self) {
        let mut queues = self.queues.borrow_mut();
        queues.retain(|queue| {
            queue.is_listed.set(queue.count() > 0);
            queue.is_listed.get()
        });
        queues.iter().for_each(|queue| queue.wake_first());
    }

    /// Moves idle deadlines forward to between `after_ms` and twice that from now.
    pub(crate) fn hasten_idle(&self, after_ms: u64) {
        self.timers.hasten_idle(after_ms);
    }
}
