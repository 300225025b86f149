//! An answer that goes no faster than it may: in parts, with a wait of the timer wheel between them.

use std::future::poll_fn;
use std::task::Poll;

use super::super::engine::Transport;
use super::super::time::timer::Deadline;
use crate::filter::bandwidth_limit::ByteRate;
use crate::timeouts::Timeout;

/// One answer on its way down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Throttle {
    bandwidth: ByteRate,
    began_ms: u64,
    sent: u64,
}

impl Throttle {
    /// Of an answer that begins now.
    pub(super) fn new<T: Transport>(bandwidth: ByteRate, deadline: &Deadline<'_, T>) -> Self {
        Self { bandwidth, began_ms: deadline.now_ms(), sent: 0 }
    }

    /// Waits until something may go, and says how many of so many bytes.
    pub(super) async fn wait<T: Transport>(&mut self, bytes: usize, deadline: &Deadline<'_, T>) -> usize {
        let since_ms = || deadline.now_ms().saturating_sub(self.began_ms);
        loop {
            let room = self.bandwidth.room(self.sent, since_ms());
            let part = usize::try_from(room).unwrap_or(usize::MAX).min(bytes);
            if part > 0 || bytes == 0 {
                self.sent += part as u64;
                return part;
            }
            deadline.timer.arm(Timeout::Bandwidth, Some(self.bandwidth.wait_ms(self.sent, since_ms())));
            poll_fn(|cx| deadline.timer.poll_expired(cx).map_or(Poll::Pending, |_| Poll::Ready(()))).await;
        }
    }
}
