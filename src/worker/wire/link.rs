//! A connection or a stream with its receive buffer and its timer, on either side of an exchange.

use super::super::engine::{Transport, finish};
use super::super::time::timer::Timer;
use super::ends::{Inlet, Outlet};
use crate::encode::wire::Wire;
use crate::timeouts::Timeout;

/// One connection, or one stream.
#[derive(Debug)]
pub(crate) struct Link<T: Transport> {
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
    pub(crate) fn new((receiver, sender): (Inlet<T>, Outlet<T>), inbox: Vec<u8>, timer: Timer<T>) -> Self {
        Self { receiver, sender, inbox, timer }
    }

    /// True for one stream of many: its connection is kept by whoever has all of them.
    #[must_use]
    pub(crate) fn is_stream(&self) -> bool {
        self.sender.wire() == Wire::H2
    }

    /// Sends a close_notify before a connection with TLS closes, for at most [`Timeout::Linger`]; else does nothing.
    pub(crate) async fn say_goodbye(&mut self) {
        if self.sender.announces_its_end() {
            self.timer.arm_row(Timeout::Linger);
            let _ = self.timer.guard(finish(&mut self.sender)).await;
        }
    }
}
