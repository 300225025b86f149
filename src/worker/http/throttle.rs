//! A body that goes no faster than it may: in parts, with a wait of the timer wheel between them.

use std::future::poll_fn;
use std::task::Poll;

use super::super::engine::Transport;
use super::super::time::timer::Deadline;
use crate::failure::Failure;
use crate::filter::bandwidth_limit::ByteRate;
use crate::timeouts::Timeout;

/// One body on its way.
#[derive(Debug)]
pub(super) struct Throttle {
    /// All of them hold.
    rates: Vec<ByteRate>,
    began_ms: u64,
    /// Bytes of the head, which goes at once.
    head: usize,
    sent: u64,
}

impl Throttle {
    /// Of a message that begins now, whose head is so many bytes of text; `None` where nothing bounds it.
    pub(super) fn of<T: Transport>(rates: Vec<ByteRate>, head: usize, deadline: &Deadline<'_, T>) -> Option<Box<Self>> {
        (!rates.is_empty()).then(|| Box::new(Self { rates, began_ms: deadline.now_ms(), head, sent: 0 }))
    }

    /// Waits until something may go, and says how many of so many bytes.
    ///
    /// # Errors
    /// The time for the whole is over.
    pub(super) async fn wait<T: Transport>(
        &mut self,
        bytes: usize,
        deadline: &Deadline<'_, T>,
    ) -> Result<usize, Failure> {
        let since_ms = || deadline.now_ms().saturating_sub(self.began_ms);
        loop {
            let room = self.rates.iter().map(|rate| rate.room(self.sent, since_ms())).min();
            let room = room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX));
            let part = room.saturating_add(self.head).min(bytes);
            if part > 0 || bytes == 0 {
                let of_head = part.min(self.head);
                self.head -= of_head;
                self.sent += (part - of_head) as u64;
                return Ok(part);
            }
            let wait_ms = self.rates.iter().map(|rate| rate.wait_ms(self.sent, since_ms())).max();
            deadline.arm(Timeout::Bandwidth, wait_ms);
            let expired = poll_fn(|cx| deadline.timer.poll_expired(cx).map_or(Poll::Pending, Poll::Ready)).await;
            if let Some(failure) = expired.row().failure {
                return Err(failure);
            }
        }
    }
}
