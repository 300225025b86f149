//! The socket of a connection of HTTP/2: what was put in one turn leaves in one send, and what comes is given to its protocol.

use std::io;
use std::task::{Context, Poll, ready};

use super::super::connection::{ConnectionEnds, ConnectionInlet, ConnectionOutlet};
use super::mux::Mux;
use crate::limits::{BODY_BUFFER_BYTES, HEAD_BUFFER_BYTES};
use crate::worker::engine::{Receive as _, Transmit as _, Transport};

/// A socket.
#[derive(Debug)]
pub(crate) struct Pipe<T: Transport> {
    transport: T,
    inlet: ConnectionInlet<T>,
    outlet: ConnectionOutlet<T>,
    /// What comes; empty while a receive is in flight.
    inbox: Vec<u8>,
    /// Being sent, as it goes over the wire: so many bytes, of which so many are.
    out: Vec<u8>,
    length: usize,
    sent: usize,
}

impl<T: Transport> Pipe<T> {
    /// A socket, of which `inbox` has come already.
    pub(crate) fn new(transport: T, (inlet, outlet): ConnectionEnds<T>, inbox: Vec<u8>) -> Self {
        Self { transport, inlet, outlet, inbox, out: Vec::new(), length: 0, sent: 0 }
    }

    /// Gives to the protocol what had come before it began.
    pub(crate) fn give_first(&mut self, mux: &Mux) {
        mux.drive(|connection| connection.receive(&self.inbox, self.transport.coarse_ms()));
        self.fit_inbox();
    }

    /// Receives once and gives it to the protocol; 0 bytes at the peer's end.
    pub(crate) fn poll_receive(&mut self, mux: &Mux, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.inlet.poll_receive(&mut self.inbox, cx))?;
        mux.drive(|connection| connection.receive(&self.inbox, self.transport.coarse_ms()));
        self.fit_inbox();
        Poll::Ready(Ok(bytes))
    }

    /// Receives once, and throws it away: the connection is over, and closing it with bytes unread would reset it, so that the
    /// peer would not see why. 0 bytes at its end.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.inlet.poll_receive(&mut self.inbox, cx))?;
        self.inbox.clear();
        Poll::Ready(Ok(bytes))
    }

    /// Makes room where a whole buffer came at once, and gives it back where little did.
    fn fit_inbox(&mut self) {
        let (length, capacity) = (self.inbox.len(), self.inbox.capacity());
        self.inbox.clear();
        if length == capacity && capacity < BODY_BUFFER_BYTES {
            self.inbox.reserve(2 * capacity.max(HEAD_BUFFER_BYTES));
        } else if length < capacity / 16 && capacity > HEAD_BUFFER_BYTES {
            self.inbox.shrink_to(HEAD_BUFFER_BYTES);
        }
    }

    /// Sends what waits, until nothing does.
    pub(crate) fn poll_flush(&mut self, mux: &Mux, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sent == self.length {
                self.take_frames(mux)?;
                if self.length == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(self.outlet.poll_send_put(&mut self.out, self.sent, cx))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.sent += bytes,
            }
        }
    }

    /// Takes the frames that wait, as they go over the wire. While they are being sent, others are gathered.
    fn take_frames(&mut self, mux: &Mux) -> io::Result<()> {
        mux.drive(|connection| {
            self.out.clear();
            let frames = connection.writer().out();
            self.outlet.put(frames, &mut self.out)?;
            if connection.held() == 0 {
                // Nothing is held by a connection that is idle.
                connection.writer().out().shrink_to(0);
                self.out.shrink_to(0);
            }
            (self.length, self.sent) = (self.out.len(), 0);
            if self.length > 0 {
                connection.wake_senders();
            }
            Ok(())
        })
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.outlet.poll_finish(cx)
    }
}
