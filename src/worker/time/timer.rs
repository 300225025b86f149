//! Named waits: a future, a timer of the worker's wheel, and the failure that its expiry becomes.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::super::engine::Transport;
use super::wheel::{Key, TICK_MS, Wheel};
use crate::failure::Failure;
use crate::timeouts::Timeout;

/// The wheel of one worker.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    transport: T,
    wheel: RefCell<Wheel>,
    /// The tick until which the driver sleeps; 0 where it shall look again, for which `driver` wakes it.
    sleeps_until: Cell<u64>,
    driver: RefCell<Option<Waker>>,
}

/// The time of this wait was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired(pub Timeout);

impl<T: Transport> Timers<T> {
    /// A wheel at the present tick. [`Self::drive`] must run for it to turn.
    #[must_use]
    pub(crate) fn new(transport: T) -> Rc<Self> {
        let now = transport.coarse_ms() / TICK_MS;
        Rc::new(Self {
            transport,
            wheel: RefCell::new(Wheel::new(now)),
            sleeps_until: Cell::new(u64::MAX),
            driver: RefCell::new(None),
        })
    }

    /// A new timer, not armed.
    #[must_use]
    pub(crate) fn timer(self: &Rc<Self>) -> Timer<T> {
        Timer { timers: Rc::clone(self), key: self.wheel.borrow_mut().insert(), armed: Cell::default() }
    }

    /// Waits for `ms`, or as long as the row of `timeout` says where that is `None`.
    pub(crate) fn pause(&self, timeout: Timeout, ms: Option<u64>) -> impl Future<Output = ()> {
        self.transport.sleep(ms.unwrap_or(timeout.row().ms))
    }

    /// Turns the wheel, for ever.
    pub(crate) async fn drive(self: Rc<Self>) {
        let mut woken = Vec::new();
        loop {
            let due = self.wheel.borrow().next_due();
            self.sleeps_until.set(due.unwrap_or(u64::MAX));
            match due {
                None => self.wait_for_earlier().await,
                Some(tick) => {
                    let ms = (tick * TICK_MS).saturating_sub(self.transport.coarse_ms()).max(1);
                    let mut sleep = pin!(self.transport.sleep(ms));
                    let mut earlier = pin!(self.wait_for_earlier());
                    poll_fn(|cx| {
                        if sleep.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { earlier.as_mut().poll(cx) }
                    })
                    .await;
                }
            }
            self.wheel.borrow_mut().advance(self.transport.coarse_ms() / TICK_MS, &mut woken);
            woken.drain(..).for_each(Waker::wake);
        }
    }

    /// Moves idle deadlines forward to between `after_ms` and twice that from now.
    pub(crate) fn hasten_idle(&self, after_ms: u64) {
        self.wheel.borrow_mut().hasten_idle(after_ms / TICK_MS);
        self.wake_driver();
    }

    /// Ends when the driver shall look again, for a deadline came before the one it sleeps for.
    async fn wait_for_earlier(&self) {
        poll_fn(|cx| {
            if self.sleeps_until.get() == 0 {
                return Poll::Ready(());
            }
            *self.driver.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn wake_driver(&self) {
        self.sleeps_until.set(0);
        let driver = self.driver.borrow_mut().take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Ends a wait now.
    pub(crate) fn expire(&self, key: Key) {
        let waker = self.wheel.borrow_mut().expire(key);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn arm(&self, key: Key, after_ms: u64, is_idle: bool) {
        let deadline = (self.transport.coarse_ms() + after_ms).div_ceil(TICK_MS);
        self.wheel.borrow_mut().arm(key, deadline, is_idle);
        if deadline < self.sleeps_until.get() {
            self.wake_driver();
        }
    }
}

/// One timer. Dropping it takes it off the wheel.
#[derive(Debug)]
pub(crate) struct Timer<T> {
    timers: Rc<Timers<T>>,
    key: Key,
    /// What it runs for.
    armed: Cell<Timeout>,
}

impl<T> Drop for Timer<T> {
    fn drop(&mut self) {
        self.timers.wheel.borrow_mut().remove(self.key);
    }
}

impl<T: Transport> Timer<T> {
    /// Starts it anew for this wait; stops it where `after_ms` is `None`.
    pub(crate) fn arm(&self, timeout: Timeout, after_ms: Option<u64>) {
        self.armed.set(timeout);
        match after_ms {
            Some(ms) => self.timers.arm(self.key, ms, false),
            None => self.disarm(),
        }
    }

    /// Starts it anew for a wait whose row says how long it is.
    pub(crate) fn arm_row(&self, timeout: Timeout) {
        self.arm(timeout, Some(timeout.row().ms));
    }

    /// Starts it anew for a wait that is hastened when the worker drains.
    pub(crate) fn arm_idle(&self, timeout: Timeout, after_ms: u64) {
        self.armed.set(timeout);
        self.timers.arm(self.key, after_ms, true);
    }

    /// What it is known by as long as it is there.
    pub(crate) const fn key(&self) -> Key {
        self.key
    }

    /// Stops it.
    pub(crate) fn disarm(&self) {
        self.timers.wheel.borrow_mut().disarm(self.key);
    }

    /// The wait that is over, where one is; else the task is woken when it is.
    pub(crate) fn poll_expired(&self, cx: &Context<'_>) -> Option<Timeout> {
        let is_expired = self.timers.wheel.borrow_mut().poll(self.key, cx.waker());
        is_expired.then(|| self.armed.get())
    }

    /// Waits for the future until the timer expires, which drops the future and ends with [`Expired`]. Futures of the
    /// engine lose nothing by being dropped: the operation goes on with the next call.
    pub(crate) fn guard<F: Future + Unpin>(&self, mut future: F) -> impl Future<Output = Result<F::Output, Expired>> {
        poll_fn(move |cx| match Pin::new(&mut future).poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => match self.poll_expired(cx) {
                Some(timeout) => Poll::Ready(Err(Expired(timeout))),
                None => Poll::Pending,
            },
        })
    }
}

/// The deadlines of one direction of an exchange: its timer, and the moment when the whole exchange must be over.
#[derive(Debug)]
pub(crate) struct Deadline<'a, T> {
    /// The timer.
    pub timer: &'a Timer<T>,
    /// The end of the exchange, in milliseconds of the coarse clock.
    pub total_at_ms: Option<u64>,
}

impl<T: Transport> Deadline<'_, T> {
    /// Waits for the future at most `ms`, else ends with the failure of `timeout`, or the route's where that came
    /// first.
    pub(crate) fn wait<F: Future + Unpin>(
        &self,
        timeout: Timeout,
        ms: Option<u64>,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Failure>> {
        self.arm(timeout, ms);
        let mut guarded = self.timer.guard(future);
        poll_fn(move |cx| {
            // The guard is a `poll_fn` and so `Unpin`: it may be pinned where it is.
            Pin::new(&mut guarded).poll(cx).map_err(|Expired(timeout)| timeout.failure())
        })
    }

    /// Starts the timer: `ms` from now, or at the end of the exchange where that is sooner.
    pub(crate) fn arm(&self, timeout: Timeout, ms: Option<u64>) {
        let left_ms = self.total_at_ms.map(|at| at.saturating_sub(self.now_ms()));
        match (ms, left_ms) {
            (Some(ms), Some(left_ms)) if left_ms <= ms => self.timer.arm(Timeout::Total, Some(left_ms)),
            (Some(ms), _) => self.timer.arm(timeout, Some(ms)),
            (None, left_ms) => self.timer.arm(Timeout::Total, left_ms),
        }
    }

    /// What is over, as a failure; else the task is woken when something is.
    pub(crate) fn poll_failure(&self, cx: &Context<'_>) -> Option<Failure> {
        self.timer.poll_expired(cx).map(Timeout::failure)
    }

    /// The coarse clock, in milliseconds.
    #[must_use]
    pub(crate) fn now_ms(&self) -> u64 {
        self.timer.timers.transport.coarse_ms()
    }
}
