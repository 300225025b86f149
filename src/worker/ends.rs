//! The two ends of a connection as an exchange sees them: plain, through TLS, or a stream of HTTP/2. Which it is, is asked here alone.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use super::h2::request::{RequestInlet, RequestOutlet};
use super::h2::stream::{StreamInlet, StreamOutlet};
use super::io::{Receive, Socket, Transmit, Transport};
use super::tls::ends::{TlsInlet, TlsOutlet};
use crate::failure::Failure;
use crate::limits::RECORD_BYTES_MIN;
use crate::upstream::evidence::{Delivery, Peek};

/// Where bytes of a message come in. Streams are boxed: an idle connection without them has no room to spare for them.
#[derive(Debug)]
pub(super) enum Inlet<T: Transport> {
    /// As they are on the wire.
    Plain(T::Receiver),
    /// Deciphered.
    Tls(TlsInlet<T>),
    /// A stream of an HTTP/2 connection of a client.
    Stream(Box<StreamInlet>),
    /// A stream of an HTTP/2 connection to an upstream.
    Request(Box<RequestInlet>),
}

/// Where bytes of a message go out.
#[derive(Debug)]
pub(super) enum Outlet<T: Transport> {
    /// As they are on the wire.
    Plain(T::Sender),
    /// Enciphered.
    Tls(TlsOutlet<T>),
    /// A stream of an HTTP/2 connection of a client.
    Stream(Box<StreamOutlet>),
    /// A stream of an HTTP/2 connection to an upstream.
    Request(Box<RequestOutlet>),
}

/// Both ends of a connection without TLS.
pub(super) fn plain<T: Transport>(socket: Socket<T>) -> (Inlet<T>, Outlet<T>) {
    (Inlet::Plain(socket.receiver), Outlet::Plain(socket.sender))
}

impl<T: Transport> Receive for Inlet<T> {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(receiver) => receiver.poll_receive(inbox, cx),
            Self::Tls(inlet) => inlet.poll_receive(inbox, cx),
            Self::Stream(inlet) => inlet.poll_receive(inbox, cx),
            Self::Request(inlet) => inlet.poll_receive(inbox, cx),
        }
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        match self {
            Self::Plain(receiver) => receiver.receive_at_once(inbox),
            Self::Tls(inlet) => inlet.receive_at_once(inbox),
            Self::Stream(inlet) => inlet.receive_at_once(inbox),
            Self::Request(inlet) => inlet.receive_at_once(inbox),
        }
    }

    fn is_seen(&self) -> bool {
        match self {
            Self::Plain(receiver) => receiver.is_seen(),
            Self::Tls(inlet) => inlet.is_seen(),
            Self::Stream(inlet) => inlet.is_seen(),
            Self::Request(inlet) => inlet.is_seen(),
        }
    }

    fn peek(&self) -> Peek {
        match self {
            Self::Plain(receiver) => receiver.peek(),
            Self::Tls(inlet) => inlet.peek(),
            Self::Stream(inlet) => inlet.peek(),
            Self::Request(inlet) => inlet.peek(),
        }
    }

    fn delivery(&self) -> Option<Delivery> {
        match self {
            Self::Plain(receiver) => receiver.delivery(),
            Self::Tls(inlet) => inlet.delivery(),
            Self::Stream(inlet) => inlet.delivery(),
            Self::Request(inlet) => inlet.delivery(),
        }
    }
}

impl<T: Transport> Transmit for Outlet<T> {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(sender) => sender.poll_send(out, from, cx),
            Self::Tls(outlet) => outlet.poll_send(out, from, cx),
            Self::Stream(outlet) => outlet.poll_send(out, from, cx),
            Self::Request(outlet) => outlet.poll_send(out, from, cx),
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(sender) => sender.poll_finish(cx),
            Self::Tls(outlet) => outlet.poll_finish(cx),
            Self::Stream(outlet) => outlet.poll_finish(cx),
            Self::Request(outlet) => outlet.poll_finish(cx),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Plain(sender) => sender.reset(),
            Self::Tls(outlet) => outlet.reset(),
            Self::Stream(outlet) => outlet.reset(),
            Self::Request(outlet) => outlet.reset(),
        }
    }
}

impl<T: Transport> Outlet<T> {
    /// Puts bytes at the end of `wire` as they go over it: `plain` and then `parts`. Where they are enciphered they may wait
    /// in `plain` until there are as many as are worth a record, or `is_last` says that there are no more.
    pub(super) fn put(
        &self,
        plain: &mut Vec<u8>,
        parts: &[IoSlice<'_>],
        is_last: bool,
        wire: &mut Vec<u8>,
    ) -> io::Result<()> {
        let Self::Tls(outlet) = self else {
            parts.iter().for_each(|part| wire.extend_from_slice(part));
            return Ok(());
        };
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if !is_last && plain.len() + length < RECORD_BYTES_MIN {
            parts.iter().for_each(|part| plain.extend_from_slice(part));
            return Ok(());
        }
        if plain.is_empty() {
            return outlet.seal(parts, wire);
        }
        let mut all = Vec::with_capacity(1 + parts.len());
        all.push(IoSlice::new(plain));
        all.extend_from_slice(parts);
        outlet.seal(&all, wire)?;
        *plain = Vec::new();
        Ok(())
    }

    /// Sends what [`Self::put`] has put.
    pub(super) fn poll_send_put(
        &mut self,
        wire: &mut Vec<u8>,
        from: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tls(outlet) => outlet.poll_send_sealed(wire, from, cx),
            other => other.poll_send(wire, from, cx),
        }
    }

    /// Sends what TLS has to say by itself.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(outlet) => outlet.poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// True where TLS has something to say by itself, which [`Self::put`] puts first.
    pub(super) fn has_records(&self) -> bool {
        matches!(self, Self::Tls(outlet) if outlet.has_records())
    }

    /// True where an end that was not announced looks to the peer like one that an attacker made.
    pub(super) const fn announces_its_end(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl<T: Transport> Inlet<T> {
    /// True for one stream of many: its connection is kept by whoever has all of them.
    pub(super) const fn is_stream(&self) -> bool {
        matches!(self, Self::Request(_))
    }

    /// True where the end of the message is not the end of what the connection can carry: nothing need be read to keep it.
    pub(super) const fn is_client_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// No answer came in time: where others use the connection too, no further one shall.
    pub(super) fn distrust(&self) {
        if let Self::Request(inlet) = self {
            inlet.distrust();
        }
    }
}

/// What ended a connection or a stream by the rules of its protocol, in the place of the operating system's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamFault(pub Failure);

impl std::fmt::Display for StreamFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for StreamFault {}

/// The failure that an error stands for, where it is no error of the operating system.
pub(super) fn fault_of(error: &io::Error) -> Option<Failure> {
    error.get_ref()?.downcast_ref::<StreamFault>().map(|fault| fault.0)
}
