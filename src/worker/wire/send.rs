//! Sends the whole of what was gathered, within its time and at its pace.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use super::super::engine::{Transmit as _, Transport};
use super::super::time::timer::Deadline;
use super::ends::Outlet;
use crate::failure::Failure;
use crate::timeouts::{Pace, Timeout};

/// Why a send did not come to its end.
#[derive(Debug)]
pub(crate) enum SendFault {
    /// The connection failed; true where not one byte had been taken.
    Io(io::Error, bool),
    /// The time was over.
    Expired(Failure),
}

/// How a send is bounded and counted.
#[derive(Debug)]
pub(crate) struct SendTerms<'a> {
    /// The wait, and how long a part may take that makes no progress.
    pub timeout: (Timeout, Option<u64>),
    /// What bounds the whole.
    pub pace: &'a mut Pace,
    /// Counts the bytes that were sent.
    pub total: &'a Cell<u64>,
}

/// Sends the whole of `out` and empties it, with the head and the end that wait in a stream. Each part sent starts the
/// timeout anew.
///
/// # Errors
/// [`SendFault`]; what of `out` was sent is then unknown.
pub(crate) async fn send_all<T: Transport>(
    sender: &mut Outlet<T>,
    out: &mut Vec<u8>,
    deadline: &Deadline<'_, T>,
    terms: SendTerms<'_>,
) -> Result<(), SendFault> {
    let SendTerms { timeout: (timeout, timeout_ms), pace, total } = terms;
    let (mut sent, length) = (0, out.len());
    while sent < length || sender.has_pending() {
        let before_ms = deadline.now_ms();
        let sending = poll_fn(|cx| match sender.poll_send(out, sent, cx) {
            // Nothing sent: a connection takes no more. A stream may have sent a head or an end, which are no bytes of
            // `out`.
            Poll::Ready(Ok(0)) if sent < length && !sender.has_begun() => {
                Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
            }
            polled @ (Poll::Ready(_) | Poll::Pending) => polled,
        });
        match deadline.wait(timeout, timeout_ms, sending).await {
            Ok(Ok(bytes)) => {
                sent += bytes;
                total.set(total.get() + bytes as u64);
                // What is delivered is delivered, however long it took.
                let is_in_time = pace.advance(deadline.now_ms().saturating_sub(before_ms), bytes);
                if !is_in_time && (sent < length || sender.has_pending()) {
                    return Err(SendFault::Expired(timeout.failure()));
                }
            }
            Ok(Err(error)) => return Err(SendFault::Io(error, sent == 0 && !sender.has_begun())),
            Err(failure) => return Err(SendFault::Expired(failure)),
        }
    }
    out.clear();
    Ok(())
}
