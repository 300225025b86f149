//! A connection with its receive buffer and its timer, on either side of an exchange.

use std::cell::Cell;
use std::io;

use super::ends::{Inlet, Outlet};
use super::io::{Transport, finish, send};
use super::timer::{Patience, Timer};
use crate::failure::Failure;
use crate::timeouts::{LINGER_MS, Pace, Timeout};

/// One connection.
#[derive(Debug)]
pub(super) struct Link<T: Transport> {
    /// What comes in.
    pub receiver: Inlet<T>,
    /// What goes out.
    pub sender: Outlet<T>,
    /// Bytes received and not dealt with; empty while a receive is in flight.
    pub inbox: Vec<u8>,
    /// The timer of waits on this connection.
    pub timer: Timer<T>,
}

impl<T: Transport> Link<T> {
    /// A new connection; `inbox` is an empty buffer.
    #[must_use]
    pub(super) fn new((receiver, sender): (Inlet<T>, Outlet<T>), inbox: Vec<u8>, timer: Timer<T>) -> Self {
        Self { receiver, sender, inbox, timer }
    }

    /// Tells the peer that the end that follows is meant, where it could not know; within a moment.
    pub(super) async fn say_goodbye(&mut self) {
        if self.sender.announces_its_end() {
            self.timer.arm(LINGER_MS);
            let _ = self.timer.guard(finish(&mut self.sender)).await;
        }
    }
}

/// Why a send did not come to its end.
#[derive(Debug)]
pub(super) enum SendFault {
    /// The connection failed; true where not one byte had been taken.
    Io(io::Error, bool),
    /// The time was over.
    Expired(Failure),
}

/// Sends the whole of `out` and empties it. Each part sent starts the timeout anew; `pace` bounds the whole, `total` counts
/// what was sent.
///
/// # Errors
/// [`SendFault`]; what of `out` was sent is then unknown.
pub(super) async fn send_all<T: Transport>(
    sender: &mut Outlet<T>,
    out: &mut Vec<u8>,
    patience: &Patience<'_, T>,
    timeout: (Timeout, Option<u64>),
    (pace, total): (&mut Pace, &Cell<u64>),
) -> Result<(), SendFault> {
    let (mut sent, length) = (0, out.len());
    while sent < length {
        let ms = pace.limit_ms(timeout.1);
        let before_ms = patience.now_ms();
        match patience.wait(timeout.0, ms, send(sender, out, sent)).await {
            Ok(Ok(bytes)) => {
                pace.advance(patience.now_ms().saturating_sub(before_ms), bytes);
                sent += bytes;
                total.set(total.get() + bytes as u64);
            }
            Ok(Err(error)) => return Err(SendFault::Io(error, sent == 0)),
            Err(failure) => return Err(SendFault::Expired(failure)),
        }
    }
    out.clear();
    Ok(())
}
