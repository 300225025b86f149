//! A connection as the `h2` crate wants one: it reads from our inbox, and what it writes in one turn leaves in one send.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::connection::{ConnectionEnds, ConnectionInlet, ConnectionOutlet};
use crate::limits::{BODY_BUFFER_BYTES, H2_FRAMES_BYTES_MAX, HEAD_BUFFER_BYTES};
use crate::proto::h2::PREFACE;
use crate::proto::h2::meter::{Excess, Meter};
use crate::worker::engine::{Receive as _, Transmit as _, Transport};

/// What is known of a client's frames.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    pub meter: Meter,
    /// What was too much; nothing more is read then.
    pub excess: Option<Excess>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Pipe<T: Transport> {
    transport: T,
    inlet: ConnectionInlet<T>,
    outlet: ConnectionOutlet<T>,
    /// Received, of which `read` bytes were read.
    inbox: Vec<u8>,
    read: usize,
    /// Bytes of the preface that the crate has not seen: without it it could not even say what was too much.
    preface_left: usize,
    /// Being sent, as it goes over the wire: so many bytes, of which so many are.
    out: Vec<u8>,
    length: usize,
    sent: usize,
    /// To be sent next, and behind it what is not enciphered yet.
    next: Vec<u8>,
    plain: Vec<u8>,
    /// `None` where the peer is an upstream, whose frames cost us no more than we asked for.
    gauge: Option<Rc<RefCell<Gauge>>>,
}

impl<T: Transport> Pipe<T> {
    /// A connection, of which `inbox` has come already.
    pub(crate) fn new(
        transport: T,
        (inlet, outlet): ConnectionEnds<T>,
        inbox: Vec<u8>,
        gauge: Option<Rc<RefCell<Gauge>>>,
    ) -> Self {
        let mut pipe = Self {
            transport,
            inlet,
            outlet,
            inbox,
            read: 0,
            preface_left: if gauge.is_some() { PREFACE.len() } else { 0 },
            out: Vec::new(),
            length: 0,
            sent: 0,
            next: Vec::new(),
            plain: Vec::new(),
            gauge,
        };
        pipe.count();
        pipe
    }

    /// Counts what has come to the inbox.
    fn count(&mut self) {
        if let Some(gauge) = &self.gauge {
            let mut gauge = gauge.borrow_mut();
            gauge.excess = gauge.meter.advance(&self.inbox, self.transport.coarse_ms()).err();
        }
    }

    fn has_excess(&self) -> bool {
        self.gauge.as_ref().is_some_and(|gauge| gauge.borrow().excess.is_some())
    }

    /// Makes room where a whole buffer came at once, and gives it back where little did.
    fn fit_inbox(&mut self) {
        let (length, capacity) = (self.inbox.len(), self.inbox.capacity());
        self.inbox.clear();
        self.read = 0;
        if length == capacity && capacity < BODY_BUFFER_BYTES {
            self.inbox.reserve(2 * capacity.max(HEAD_BUFFER_BYTES));
        } else if length < capacity / 16 && capacity > HEAD_BUFFER_BYTES {
            self.inbox.shrink_to(HEAD_BUFFER_BYTES);
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sent == self.length {
                if self.next.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                std::mem::swap(&mut self.out, &mut self.next);
                self.next.clear();
                (self.length, self.sent) = (self.out.len(), 0);
            }
            match ready!(self.outlet.poll_send_put(&mut self.out, self.sent, cx))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.sent += bytes,
            }
            if self.sent == self.length {
                if let Some(gauge) = &self.gauge {
                    gauge.borrow_mut().meter.note_sent(self.length);
                }
                // Nothing is held by a connection that is idle.
                self.out = Vec::new();
            }
        }
    }
}

impl<T: Transport> AsyncRead for Pipe<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pipe = &mut *self;
        if pipe.has_excess() && pipe.preface_left == 0 {
            // Whoever drives the connection ends it.
            return Poll::Pending;
        }
        if pipe.read == pipe.inbox.len() {
            if pipe.inbox.capacity() > 0 {
                pipe.fit_inbox();
            }
            if ready!(pipe.inlet.poll_receive(&mut pipe.inbox, cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
            pipe.count();
        }
        let mut length = buffer.remaining().min(pipe.inbox.len() - pipe.read);
        if pipe.has_excess() {
            length = length.min(pipe.preface_left);
            if length == 0 {
                return Poll::Pending;
            }
        }
        pipe.preface_left -= length.min(pipe.preface_left);
        buffer.put_slice(&pipe.inbox[pipe.read..pipe.read + length]);
        pipe.read += length;
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> AsyncWrite for Pipe<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let pipe = &mut *self;
        if pipe.next.len() >= H2_FRAMES_BYTES_MAX {
            ready!(pipe.poll_out(cx))?;
        }
        pipe.outlet.put(&mut pipe.plain, parts, false, &mut pipe.next)?;
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pipe = &mut *self;
        if !pipe.plain.is_empty() || pipe.outlet.has_records() {
            pipe.outlet.put(&mut std::mem::take(&mut pipe.plain), &[], true, &mut pipe.next)?;
        }
        self.poll_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.outlet.poll_finish(cx).map(Ok)
    }
}
