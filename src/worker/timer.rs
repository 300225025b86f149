//! Named waits: a future, a timer of the worker's wheel, and the failure that its expiry becomes.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::io::Transport;
use super::wheel::{Key, TICK_MS, Wheel};
use crate::failure::Failure;
use crate::timeouts::Timeout;

/// The wheel of one worker.
#[derive(Debug)]
pub(super) struct Timers<T> {
    transport: T,
    wheel: RefCell<Wheel>,
    /// The tick until which the driver sleeps, and how to wake it for an earlier one.
    sleeps_until: Cell<u64>,
    driver: RefCell<Option<Waker>>,
}

/// The time was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expired;

impl<T: Transport> Timers<T> {
    /// A wheel at the present tick. [`Self::drive`] must run for it to turn.
    #[must_use]
    pub(super) fn new(transport: T) -> Rc<Self> {
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
    pub(super) fn timer(self: &Rc<Self>) -> Timer<T> {
        Timer { timers: Rc::clone(self), key: self.wheel.borrow_mut().insert() }
    }

    /// Turns the wheel, for ever.
    pub(super) async fn drive(self: Rc<Self>) {
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

    /// Brings idle deadlines forward to `after_ms` from now, spread to twice that.
    pub(super) fn hasten_idle(&self, after_ms: u64) {
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
pub(super) struct Timer<T> {
    timers: Rc<Timers<T>>,
    key: Key,
}

impl<T> Drop for Timer<T> {
    fn drop(&mut self) {
        self.timers.wheel.borrow_mut().remove(self.key);
    }
}

impl<T: Transport> Timer<T> {
    /// Starts it anew.
    pub(super) fn arm(&self, after_ms: u64) {
        self.timers.arm(self.key, after_ms, false);
    }

    /// Starts it anew, to be hastened when the worker drains.
    pub(super) fn arm_idle(&self, after_ms: u64) {
        self.timers.arm(self.key, after_ms, true);
    }

    /// Starts it anew, or stops it where there is no time to keep.
    pub(super) fn set(&self, after_ms: Option<u64>) {
        match after_ms {
            Some(ms) => self.arm(ms),
            None => self.disarm(),
        }
    }

    /// Stops it.
    pub(super) fn disarm(&self) {
        self.timers.wheel.borrow_mut().disarm(self.key);
    }

    /// True where the time is over; else the task is woken when it is.
    pub(super) fn poll_expired(&self, cx: &Context<'_>) -> bool {
        self.timers.wheel.borrow_mut().poll(self.key, cx.waker())
    }

    /// Waits for the future as long as the timer runs, else ends with [`Expired`] and drops the future. Those of
    /// [`super::io`] lose nothing by it.
    pub(super) fn guard<F: Future + Unpin>(&self, mut future: F) -> impl Future<Output = Result<F::Output, Expired>> {
        poll_fn(move |cx| match Pin::new(&mut future).poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if self.poll_expired(cx) => Poll::Ready(Err(Expired)),
            Poll::Pending => Poll::Pending,
        })
    }
}

/// One direction of an exchange: its timer, and the moment when the whole exchange must be over.
#[derive(Debug)]
pub(super) struct Patience<'a, T> {
    /// The timer.
    pub timer: &'a Timer<T>,
    /// The end of the exchange, in milliseconds of the coarse clock.
    pub total_at_ms: Option<u64>,
}

impl<T: Transport> Patience<'_, T> {
    /// Waits for the future at most `ms`, else ends with the failure of `timeout`, or the route's where that came
    /// first.
    pub(super) fn wait<F: Future + Unpin>(
        &self,
        timeout: Timeout,
        ms: Option<u64>,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Failure>> {
        self.arm(ms);
        let mut guarded = self.timer.guard(future);
        poll_fn(move |cx| {
            // The closure owns the guard and never moves it out; it is Unpin, being a `poll_fn`.
            Pin::new(&mut guarded).poll(cx).map_err(|Expired| self.failure(timeout))
        })
    }

    /// Starts the timer: `ms` from now, or at the end of the exchange.
    pub(super) fn arm(&self, ms: Option<u64>) {
        let left = self.total_at_ms.map(|at| at.saturating_sub(self.timer.timers.transport.coarse_ms()));
        self.timer.set(ms.into_iter().chain(left).min());
    }

    /// What the expiry of the timer means.
    #[must_use]
    pub(super) fn failure(&self, timeout: Timeout) -> Failure {
        let is_over = self.total_at_ms.is_some_and(|at| at <= self.timer.timers.transport.coarse_ms());
        if is_over { Failure::RouteTimeout } else { timeout.failure().unwrap_or(Failure::Internal("timeout")) }
    }

    /// The coarse clock, in milliseconds.
    #[must_use]
    pub(super) fn now_ms(&self) -> u64 {
        self.timer.timers.transport.coarse_ms()
    }
}
