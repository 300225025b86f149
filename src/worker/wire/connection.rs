//! The two ends of a connection, plain or with TLS. Most callers need not know which.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use super::super::engine::{Receive, Socket, Transmit, Transport};
use super::tls::ends::{TlsInlet, TlsOutlet};
use crate::upstream::evidence::{Delivery, Peek};

/// Where bytes of a connection come in.
#[derive(Debug)]
pub(crate) enum ConnectionInlet<T: Transport> {
    /// As they are on the wire.
    Plain(T::Receiver),
    /// Deciphered.
    Tls(TlsInlet<T>),
}

/// Where bytes of a connection go out.
#[derive(Debug)]
pub(crate) enum ConnectionOutlet<T: Transport> {
    /// As they are on the wire.
    Plain(T::Sender),
    /// Enciphered.
    Tls(TlsOutlet<T>),
}

/// Both ends of a connection.
pub(crate) type ConnectionEnds<T> = (ConnectionInlet<T>, ConnectionOutlet<T>);

/// Both ends of a connection without TLS.
pub(crate) fn plain<T: Transport>(socket: Socket<T>) -> ConnectionEnds<T> {
    (ConnectionInlet::Plain(socket.receiver), ConnectionOutlet::Plain(socket.sender))
}

/// Both ends of a connection with TLS.
pub(crate) fn secure<T: Transport>((inlet, outlet): (TlsInlet<T>, TlsOutlet<T>)) -> ConnectionEnds<T> {
    (ConnectionInlet::Tls(inlet), ConnectionOutlet::Tls(outlet))
}

impl<T: Transport> Receive for ConnectionInlet<T> {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(receiver) => receiver.poll_receive(inbox, cx),
            Self::Tls(inlet) => inlet.poll_receive(inbox, cx),
        }
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        match self {
            Self::Plain(receiver) => receiver.receive_at_once(inbox),
            Self::Tls(inlet) => inlet.receive_at_once(inbox),
        }
    }

    fn is_seen(&self) -> bool {
        match self {
            Self::Plain(receiver) => receiver.is_seen(),
            Self::Tls(inlet) => inlet.is_seen(),
        }
    }

    fn peek(&self) -> Peek {
        match self {
            Self::Plain(receiver) => receiver.peek(),
            Self::Tls(inlet) => inlet.peek(),
        }
    }

    fn delivery(&self) -> Option<Delivery> {
        match self {
            Self::Plain(receiver) => receiver.delivery(),
            Self::Tls(inlet) => inlet.delivery(),
        }
    }

    fn acknowledge(&self) {
        match self {
            Self::Plain(receiver) => receiver.acknowledge(),
            Self::Tls(inlet) => inlet.acknowledge(),
        }
    }
}

impl<T: Transport> Transmit for ConnectionOutlet<T> {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(sender) => sender.poll_send(out, from, cx),
            Self::Tls(outlet) => outlet.poll_send(out, from, cx),
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(sender) => sender.poll_finish(cx),
            Self::Tls(outlet) => outlet.poll_finish(cx),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Plain(sender) => sender.reset(),
            Self::Tls(outlet) => outlet.reset(),
        }
    }
}

impl<T: Transport> ConnectionOutlet<T> {
    /// Moves `plain` to `wire`, which is empty, as it goes over the wire: enciphered where the connection has TLS.
    pub(crate) fn put(&self, plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> io::Result<()> {
        debug_assert!(wire.is_empty(), "what was put before has left");
        let Self::Tls(outlet) = self else {
            std::mem::swap(plain, wire);
            return Ok(());
        };
        // rustls may have records of its own to send, which then go first.
        if plain.is_empty() && !outlet.has_records() {
            return Ok(());
        }
        let sealed = outlet.seal(&[IoSlice::new(plain)], wire);
        plain.clear();
        sealed
    }

    /// Sends what [`Self::put`] has put.
    pub(crate) fn poll_send_put(
        &mut self,
        wire: &mut Vec<u8>,
        from: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tls(outlet) => outlet.poll_send_sealed(wire, from, cx),
            Self::Plain(sender) => sender.poll_send(wire, from, cx),
        }
    }

    /// Sends the records that TLS makes by itself, such as tickets and alerts.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(outlet) => outlet.poll_flush(cx),
            Self::Plain(_) => Poll::Ready(Ok(())),
        }
    }
}
