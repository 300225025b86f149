//! How much a peer may send before we have passed on what it sent (RFC 9113 §5.2), and how that follows from what is measured.
//!
//! A window is what a sender has on its way: with 64 KiB and a round trip of 50 ms it sends 1.3 MB/s, however fast the line is.
//! So the bytes of one round trip are counted, between a PING and its answer, and where they fill the windows these are raised.
//! Only a stream whose bytes are passed on gets the larger window, and all windows of a worker are raised by a bounded number of
//! bytes: what slow readers hold stays bounded.

use std::cell::Cell;
use std::rc::Rc;

use crate::limits::{H2_HELD_BYTES_MAX, H2_RAISED_BYTES_MAX, H2_STREAM_WINDOW_BYTES};

/// Pauses between two measurements that changed nothing, in milliseconds.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 5_000;

/// The bytes by which windows of one worker, or of one of its connections, were raised above where they began.
#[derive(Debug, Default)]
pub struct WindowBudget {
    raised: Cell<usize>,
    /// The worker's, of which this connection has a share.
    of: Option<Rc<Self>>,
}

impl WindowBudget {
    /// The share of one connection: a quarter, so that none takes all.
    #[must_use]
    pub fn share(of: Rc<Self>) -> Rc<Self> {
        Rc::new(Self { raised: Cell::new(0), of: Some(of) })
    }

    /// How many there are.
    #[must_use]
    pub const fn raised(&self) -> usize {
        self.raised.get()
    }

    /// Takes up to `wanted` bytes; how many there were.
    fn take(&self, wanted: usize) -> usize {
        let most = if self.of.is_some() { H2_RAISED_BYTES_MAX / 4 } else { H2_RAISED_BYTES_MAX };
        let left = wanted.min(most.saturating_sub(self.raised.get()));
        let taken = self.of.as_ref().map_or(left, |of| of.take(left));
        self.raised.set(self.raised.get() + taken);
        taken
    }

    fn give_back(&self, bytes: usize) {
        debug_assert!(bytes <= self.raised.get(), "nothing is given back that was not taken");
        self.raised.set(self.raised.get().saturating_sub(bytes));
        if let Some(of) = &self.of {
            of.give_back(bytes);
        }
    }
}

/// The peer has sent more than it might.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowExceeded;

/// The window of one stream for what the peer sends.
#[derive(Debug)]
pub struct StreamWindow {
    /// What the peer may still send.
    available: usize,
    /// What it has sent and was not passed on.
    held: usize,
    /// By how much the budget was charged.
    raised: usize,
    budget: Rc<WindowBudget>,
}

impl StreamWindow {
    /// Of a stream that begins.
    #[must_use]
    pub const fn new(budget: Rc<WindowBudget>) -> Self {
        Self { available: H2_STREAM_WINDOW_BYTES as usize, held: 0, raised: 0, budget }
    }

    /// The peer has sent this.
    ///
    /// # Errors
    /// [`WindowExceeded`].
    pub fn receive(&mut self, bytes: usize) -> Result<(), WindowExceeded> {
        self.available = self.available.checked_sub(bytes).ok_or(WindowExceeded)?;
        self.held += bytes;
        Ok(())
    }

    /// So much of it was passed on, or thrown away. Returns what the peer is to be told that it may send besides; 0 where it
    /// has enough. `wanted` is the window that the measurement asks for.
    pub fn release(&mut self, bytes: usize, wanted: u32) -> u32 {
        debug_assert!(bytes <= self.held, "nothing is passed on that was not received");
        self.held = self.held.saturating_sub(bytes);
        let first = H2_STREAM_WINDOW_BYTES as usize;
        let open = self.available + self.held;
        // What was passed on since makes room for others.
        let still_raised = open.saturating_sub(first);
        if still_raised < self.raised {
            self.budget.give_back(self.raised - still_raised);
            self.raised = still_raised;
        }
        // Of who does not keep up most of the window waits: that one gets no more than everybody.
        let keeps_up = self.held <= open.max(first) / 2;
        let target = if keeps_up { first.max(wanted as usize) } else { first };
        let missing = target.saturating_sub(open);
        // Where all has gone on, the peer may be waiting for what is left over.
        if missing < if self.held == 0 { target / 8 } else { target / 2 } {
            return 0;
        }
        let within_first = first.saturating_sub(open).min(missing);
        let raised = self.budget.take(missing - within_first);
        self.raised += raised;
        self.available += within_first + raised;
        u32::try_from(within_first + raised).unwrap_or_default()
    }

    /// What the peer has sent and was not passed on.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }
}

impl Drop for StreamWindow {
    fn drop(&mut self) {
        self.budget.give_back(self.raised);
    }
}

/// The window of a connection for what the peer sends over all its streams.
#[derive(Debug)]
pub struct ConnectionWindow {
    available: usize,
    /// What waits in all streams.
    held: usize,
    /// What the peer may send beside what waits.
    target: usize,
}

impl ConnectionWindow {
    /// The window that every connection has before anything is said (RFC 9113 §6.9.2).
    const BEGINNING: usize = 65_535;

    /// Of a connection that begins, with what the peer is to be told.
    #[must_use]
    pub fn new(target: u32) -> (Self, u32) {
        let target = target as usize;
        let window = Self { available: target, held: 0, target };
        (window, u32::try_from(target.saturating_sub(Self::BEGINNING)).unwrap_or_default())
    }

    /// The peer has sent this.
    ///
    /// # Errors
    /// [`WindowExceeded`].
    pub fn receive(&mut self, bytes: usize) -> Result<(), WindowExceeded> {
        self.available = self.available.checked_sub(bytes).ok_or(WindowExceeded)?;
        self.held += bytes;
        Ok(())
    }

    /// So much of it was passed on, or thrown away.
    pub fn release(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.held, "nothing is passed on that was not received");
        self.held = self.held.saturating_sub(bytes);
    }

    /// What the peer is to be told that it may send besides; 0 where it has enough. What waits for slow readers counts only
    /// beyond [`H2_HELD_BYTES_MAX`]: before that it does not slow down the others on the connection.
    pub fn replenish(&mut self, wanted: u32) -> u32 {
        self.target = self.target.max(wanted as usize);
        let most = self.target.saturating_sub(self.held.saturating_sub(H2_HELD_BYTES_MAX));
        let missing = most.saturating_sub(self.available);
        if missing < self.target / 2 {
            return 0;
        }
        self.available += missing;
        u32::try_from(missing).unwrap_or_default()
    }
}

/// Measures how many bytes a peer sends in one round trip.
#[derive(Debug)]
pub struct Bandwidth {
    /// The window that its streams get.
    window: u32,
    window_max: u32,
    /// Bytes since the PING that is not answered yet.
    sample: Option<u64>,
    next_ms: u64,
    pause_ms: u64,
}

impl Bandwidth {
    /// Of a connection whose streams get windows of at most `window_max`.
    #[must_use]
    pub const fn new(window_max: u32) -> Self {
        Self { window: H2_STREAM_WINDOW_BYTES, window_max, sample: None, next_ms: 0, pause_ms: PAUSE_MS_MIN }
    }

    /// The window for a stream whose bytes are passed on.
    #[must_use]
    pub const fn window(&self) -> u32 {
        self.window
    }

    /// True while a PING is not answered.
    #[must_use]
    pub const fn is_measuring(&self) -> bool {
        self.sample.is_some()
    }

    /// So many bytes came. Returns true where a PING shall be sent to measure the next ones.
    pub fn note_data(&mut self, bytes: usize, now_ms: u64) -> bool {
        if let Some(sample) = &mut self.sample {
            *sample += bytes as u64;
            return false;
        }
        let begins = self.window < self.window_max && now_ms >= self.next_ms;
        if begins {
            // What came before the PING left is not of its round trip.
            self.sample = Some(0);
        }
        begins
    }

    /// The PING was answered. Returns true where the windows are larger from now on.
    pub fn note_pong(&mut self, now_ms: u64) -> bool {
        let Some(sample) = self.sample.take() else { return false };
        // Half of it: a peer that fills its window hears of what it may send besides in steps.
        let fills = sample >= u64::from(self.window) / 2;
        if fills {
            // A stream that fills its window could send more by an unknown factor; four finds it within a few round trips.
            let larger = u64::from(self.window).max(sample).saturating_mul(4);
            self.window = u32::try_from(larger).unwrap_or(u32::MAX).min(self.window_max);
            self.pause_ms = PAUSE_MS_MIN;
            self.next_ms = now_ms;
        } else {
            self.next_ms = now_ms + self.pause_ms;
            self.pause_ms = (self.pause_ms * 2).min(PAUSE_MS_MAX);
        }
        fills
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: usize = H2_STREAM_WINDOW_BYTES as usize;

    #[test]
    fn a_window_is_opened_again_by_what_is_passed_on() {
        let mut window = StreamWindow::new(Rc::default());
        assert_eq!(window.receive(FIRST + 1), Err(WindowExceeded));
        window.receive(FIRST).unwrap();
        assert_eq!(window.receive(1), Err(WindowExceeded));
        assert_eq!(window.release(FIRST / 4, 0), 0, "too little to be worth a frame");
        assert_eq!(window.release(FIRST / 4, 0) as usize, FIRST / 2);
    }

    #[test]
    fn only_who_keeps_up_gets_the_larger_window_and_what_was_raised_is_given_back() {
        let budget = Rc::new(WindowBudget::default());
        let mut window = StreamWindow::new(Rc::clone(&budget));
        window.receive(FIRST).unwrap();
        assert_eq!(window.release(FIRST / 4, 1 << 20) as usize, 0, "most of it still waits");
        assert_eq!(budget.raised(), 0);
        assert!(window.release(FIRST / 4, 1 << 20) as usize > FIRST);
        assert!(window.held() > 0);
        assert_eq!(budget.raised(), (1 << 20) - FIRST);
        drop(window);
        assert_eq!(budget.raised(), 0);
    }

    #[test]
    fn all_windows_together_are_raised_within_the_bound() {
        let budget = Rc::new(WindowBudget::default());
        let mut windows: Vec<_> = (0..100).map(|_| StreamWindow::new(Rc::clone(&budget))).collect();
        for window in &mut windows {
            window.receive(FIRST).unwrap();
            window.release(FIRST, 4 << 20);
        }
        assert!(budget.raised() <= H2_RAISED_BYTES_MAX);
        let open: usize = windows.iter().map(|window| window.available + window.held).sum();
        assert!(open <= H2_RAISED_BYTES_MAX + 100 * FIRST, "{open}");
        windows.clear();
        assert_eq!(budget.raised(), 0);
    }

    #[test]
    fn slow_readers_leave_the_connection_to_others_until_they_hold_too_much() {
        let (mut window, told) = ConnectionWindow::new(1 << 20);
        assert_eq!(told as usize, (1 << 20) - 65_535);
        let mut sent = 0;
        // Nobody reads: what may be sent ends.
        while window.receive(16_384).is_ok() {
            sent += 16_384;
            window.replenish(0);
        }
        assert!((H2_HELD_BYTES_MAX..=H2_HELD_BYTES_MAX + (1 << 20)).contains(&sent), "{sent}");
        window.release(sent);
        assert!(window.replenish(0) > 0);
    }

    #[test]
    fn a_round_trip_that_fills_the_window_raises_it_to_its_bound() {
        let mut bandwidth = Bandwidth::new(4 << 20);
        let mut steps = 0;
        while bandwidth.window() < 4 << 20 {
            assert!(bandwidth.note_data(1_000, 0));
            assert!(!bandwidth.note_data(bandwidth.window() as usize, 0));
            assert!(bandwidth.note_pong(0));
            steps += 1;
        }
        assert_eq!(steps, 3);
        assert!(!bandwidth.note_data(1_000, 10_000), "there is nothing to be measured any more");
        let mut slow = Bandwidth::new(4 << 20);
        assert!(slow.note_data(1_000, 0) && !slow.note_data(1_000, 1) && !slow.note_pong(2));
        assert!(!slow.note_data(1_000, 3) && slow.note_data(1_000, 60));
    }
}
