//! Where a message comes in and where it goes out: a connection, or one stream of HTTP/2. Most callers need not know which.

use std::io;
use std::task::{Context, Poll};

use super::super::engine::{Receive, Transmit, Transport};
use super::connection::{ConnectionEnds, ConnectionInlet, ConnectionOutlet};
use super::h2::request::{RequestInlet, RequestOutlet};
use super::h2::stream::{StreamInlet, StreamOutlet};
use super::records::RecordInlet;
use crate::encode::wire::{H2Head, Wire};
use crate::proto::h2::fields::FieldList;
use crate::upstream::evidence::{Delivery, Peek};

/// Where bytes of a message come in. Streams are boxed: an idle connection without them has no room to spare for them.
#[derive(Debug)]
pub(crate) enum Inlet<T: Transport> {
    /// A connection.
    Connection(ConnectionInlet<T>),
    /// A stream of an HTTP/2 connection of a client.
    Stream(Box<StreamInlet>),
    /// A stream of an HTTP/2 connection to an upstream.
    Request(Box<RequestInlet>),
    /// A connection to a FastCGI server.
    Records(Box<RecordInlet<T>>),
}

/// Where a message goes out. Over a connection it is text; over a stream its head and its end are given apart from its
/// bytes, by [`Self::put_head`] and [`Self::put_end`], and leave in their order.
#[derive(Debug)]
pub(crate) enum Outlet<T: Transport> {
    /// A connection.
    Connection(ConnectionOutlet<T>),
    /// A stream of an HTTP/2 connection of a client.
    Stream(Box<StreamOutlet>),
    /// A stream of an HTTP/2 connection to an upstream.
    Request(Box<RequestOutlet>),
}

/// Both ends of a connection.
pub(crate) fn of_connection<T: Transport>((inlet, outlet): ConnectionEnds<T>) -> (Inlet<T>, Outlet<T>) {
    (Inlet::Connection(inlet), Outlet::Connection(outlet))
}

impl<T: Transport> Receive for Inlet<T> {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Connection(inlet) => inlet.poll_receive(inbox, cx),
            Self::Stream(inlet) => inlet.poll_receive(inbox, cx),
            Self::Request(inlet) => inlet.poll_receive(inbox, cx),
            Self::Records(inlet) => inlet.poll_receive(inbox, cx),
        }
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        match self {
            Self::Connection(inlet) => inlet.receive_at_once(inbox),
            Self::Stream(inlet) => inlet.receive_at_once(inbox),
            Self::Request(inlet) => inlet.receive_at_once(inbox),
            Self::Records(inlet) => inlet.receive_at_once(inbox),
        }
    }

    fn is_seen(&self) -> bool {
        match self {
            Self::Connection(inlet) => inlet.is_seen(),
            Self::Stream(inlet) => inlet.is_seen(),
            Self::Request(inlet) => inlet.is_seen(),
            Self::Records(inlet) => inlet.is_seen(),
        }
    }

    fn peek(&self) -> Peek {
        match self {
            Self::Connection(inlet) => inlet.peek(),
            Self::Stream(inlet) => inlet.peek(),
            Self::Request(inlet) => inlet.peek(),
            Self::Records(inlet) => inlet.peek(),
        }
    }

    fn delivery(&self) -> Option<Delivery> {
        match self {
            Self::Connection(inlet) => inlet.delivery(),
            Self::Stream(inlet) => inlet.delivery(),
            Self::Request(inlet) => inlet.delivery(),
            Self::Records(inlet) => inlet.delivery(),
        }
    }

    fn acknowledge(&self) {
        match self {
            Self::Connection(inlet) => inlet.acknowledge(),
            Self::Records(inlet) => inlet.acknowledge(),
            Self::Stream(_) | Self::Request(_) => {}
        }
    }
}

impl<T: Transport> Inlet<T> {
    /// No answer came in time: a connection that carries many requests takes no further one.
    pub(crate) fn distrust(&self) {
        match self {
            Self::Request(inlet) => inlet.distrust(),
            Self::Connection(_) | Self::Stream(_) | Self::Records(_) => {}
        }
    }

    /// True where the protocol has said that the answer is over, of which the caller has all that it wants: another one can follow.
    pub(crate) fn take_end(&mut self, inbox: &mut Vec<u8>) -> bool {
        match self {
            Self::Records(inlet) => inlet.take_end(inbox),
            Self::Connection(_) | Self::Stream(_) | Self::Request(_) => false,
        }
    }

    /// True where bytes have come since the last answer that are no part of one.
    pub(crate) fn is_disturbed(&self) -> bool {
        match self {
            Self::Records(inlet) => inlet.is_disturbed(),
            Self::Connection(_) | Self::Stream(_) | Self::Request(_) => false,
        }
    }

    /// True where the protocol has said that nothing of the answer follows what was received.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Records(inlet) => inlet.is_over(),
            Self::Connection(_) | Self::Stream(_) | Self::Request(_) => false,
        }
    }

    /// What the program behind a FastCGI server said of itself.
    pub(crate) fn take_told(&mut self) -> Vec<u8> {
        match self {
            Self::Records(inlet) => inlet.take_told(),
            Self::Connection(_) | Self::Stream(_) | Self::Request(_) => Vec::new(),
        }
    }
}

impl<T: Transport> Transmit for Outlet<T> {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Connection(outlet) => outlet.poll_send(out, from, cx),
            Self::Stream(outlet) => outlet.poll_send(out, from, cx),
            Self::Request(outlet) => outlet.poll_send(out, from, cx),
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Connection(outlet) => outlet.poll_finish(cx),
            Self::Stream(outlet) => outlet.poll_finish(cx),
            Self::Request(outlet) => outlet.poll_finish(cx),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Connection(outlet) => outlet.reset(),
            Self::Stream(outlet) => outlet.reset(),
            Self::Request(outlet) => outlet.reset(),
        }
    }
}

impl<T: Transport> Outlet<T> {
    /// What a message is written in here.
    pub(crate) const fn wire(&self) -> Wire {
        match self {
            Self::Connection(_) => Wire::Http1,
            Self::Stream(_) | Self::Request(_) => Wire::H2,
        }
    }

    /// Gives a stream the next head to send; `is_last` where nothing follows it.
    pub(crate) fn put_head(&mut self, head: H2Head, is_last: bool) {
        match self {
            Self::Connection(_) => debug_assert!(false, "a connection has the text of its heads among its bytes"),
            Self::Stream(outlet) => outlet.outgoing.put_head(head, is_last),
            Self::Request(outlet) => outlet.outgoing.put_head(head, is_last),
        }
    }

    /// Tells a stream that its message ends behind the bytes that are sent next, with these trailers.
    pub(crate) fn put_end(&mut self, trailers: Option<FieldList>) {
        match self {
            Self::Connection(_) => debug_assert!(false, "a connection has the end of its messages among its bytes"),
            Self::Stream(outlet) => outlet.outgoing.put_end(trailers),
            Self::Request(outlet) => outlet.outgoing.put_end(trailers),
        }
    }

    /// True where a head or an end waits to be sent: [`Transmit::poll_send`] sends it, with or without bytes.
    pub(crate) fn has_pending(&self) -> bool {
        match self {
            Self::Connection(_) => false,
            Self::Stream(outlet) => outlet.outgoing.has_pending(),
            Self::Request(outlet) => outlet.outgoing.has_pending(),
        }
    }

    /// Drops a head and an end that wait: the client has left.
    pub(crate) fn forget_pending(&mut self) {
        match self {
            Self::Connection(_) => {}
            Self::Stream(outlet) => outlet.outgoing.forget_pending(),
            Self::Request(outlet) => outlet.outgoing.forget_pending(),
        }
    }

    /// True once the head of a stream was sent: a request that fails after that may have arrived.
    pub(crate) fn has_begun(&self) -> bool {
        match self {
            Self::Connection(_) => false,
            Self::Stream(outlet) => outlet.has_begun(),
            Self::Request(outlet) => outlet.has_begun(),
        }
    }

    /// Sends what TLS has to say by itself.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Connection(outlet) => outlet.poll_flush(cx),
            Self::Stream(_) | Self::Request(_) => Poll::Ready(Ok(())),
        }
    }

    /// True for TLS: without a close_notify the peer must take the end of the connection for a truncation (RFC 8446 §6.1).
    pub(crate) const fn announces_its_end(&self) -> bool {
        matches!(self, Self::Connection(ConnectionOutlet::Tls(_)))
    }
}
