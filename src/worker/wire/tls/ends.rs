//! Drives TLS over a connection: records come in behind what is in the inbox and leave their plaintext in their place.
//!
//! Nothing of a connection's buffers is held while it is idle: ciphertext is received into the inbox itself, and what goes
//! out is enciphered when it is sent. rustls keeps what a record needs until it is whole.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::Connection;

use super::early::Early;
use super::session::TlsSession;
use crate::limits::SEALED_BYTES_MAX;
use crate::upstream::evidence::{Delivery, Peek, SYN_BYTES};
use crate::worker::engine::{Receive, Socket, Transmit, Transport, make_room};

/// The receiving half of a connection with TLS.
#[derive(Debug)]
pub(crate) struct TlsInlet<T: Transport> {
    socket: T::Receiver,
    session: Rc<RefCell<TlsSession>>,
    /// Where ciphertext begins in the inbox of the receive in flight.
    in_flight_from: Option<usize>,
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Records, or plaintext that had waited.
    Records,
    /// The peer's last one.
    End,
}

impl<T: Transport> TlsInlet<T> {
    /// Receives once and takes in what came: ready also where there was no plaintext in it.
    pub(crate) fn poll_records(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<Heard>> {
        let from = match self.in_flight_from {
            Some(from) => from,
            None => {
                make_room(inbox);
                let from = inbox.len();
                let mut session = self.session.borrow_mut();
                session.take_waiting(inbox);
                if inbox.len() > from {
                    return Poll::Ready(Ok(Heard::Records));
                }
                if let Some(end) = session.end() {
                    return Poll::Ready(end.map(|_| Heard::End));
                }
                *self.in_flight_from.insert(from)
            }
        };
        let received = ready!(self.socket.poll_receive(inbox, cx));
        self.in_flight_from = None;
        if received? == 0 {
            // An end without close_notify may be the work of an attacker: what came before it is not whole (RFC 8446 §6.1).
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.session.borrow_mut().open(inbox, from);
        Poll::Ready(Ok(Heard::Records))
    }
}

impl<T: Transport> Receive for TlsInlet<T> {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let from = self.in_flight_from.unwrap_or(inbox.len());
            match ready!(self.poll_records(inbox, cx))? {
                Heard::Records if inbox.len() == from => {}
                Heard::Records => return Poll::Ready(Ok(inbox.len() - from)),
                Heard::End => return Poll::Ready(Ok(0)),
            }
        }
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        if self.in_flight_from.is_some() {
            return 0;
        }
        let from = inbox.len();
        let mut session = self.session.borrow_mut();
        session.take_waiting(inbox);
        if inbox.len() == from && inbox.capacity() > from && self.socket.receive_at_once(inbox) > 0 {
            session.open(inbox, from);
        }
        inbox.len() - from
    }

    fn is_seen(&self) -> bool {
        self.socket.is_seen()
    }

    fn peek(&self) -> Peek {
        self.socket.peek()
    }

    /// In bytes of plaintext. The kernel counts ciphertext, so of what was sent since the peer spoke last it is told only
    /// whether all of it, none, or a part was acknowledged; a part counts as one byte.
    fn delivery(&self) -> Option<Delivery> {
        let delivery = self.socket.delivery()?;
        let session = self.session.borrow();
        let acked_bytes = match delivery.acked_bytes.saturating_sub(SYN_BYTES) {
            acked if acked >= session.sent.sealed => session.sent.plain,
            acked if acked > session.before.sealed => session.before.plain + 1,
            _ => session.before.plain,
        };
        Some(Delivery { acked_bytes: acked_bytes + SYN_BYTES, ..delivery })
    }

    fn acknowledge(&self) {
        self.socket.acknowledge();
    }
}

/// The sending half of a connection with TLS.
#[derive(Debug)]
pub(crate) struct TlsOutlet<T: Transport> {
    socket: T::Sender,
    session: Rc<RefCell<TlsSession>>,
    /// Enciphered and not sent; empty while a send is in flight, which has it.
    sealed: Vec<u8>,
    /// Of `sealed`: its length, how much of it was sent, how much plaintext it is, and how much plaintext was reported as
    /// sent.
    length: usize,
    sent: usize,
    plain: usize,
    told: usize,
    has_said_goodbye: bool,
}

impl<T: Transport> TlsOutlet<T> {
    /// Sends a first part of what is enciphered.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sealed = std::mem::take(&mut self.sealed);
        let polled = self.poll_send_sealed(&mut sealed, self.sent, cx);
        self.sealed = sealed;
        match ready!(polled)? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            bytes => {
                self.sent += bytes;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Enciphers `parts` to the end of `sealed`, for whoever sends it by [`Self::poll_send_sealed`].
    pub(crate) fn seal(&self, parts: &[IoSlice<'_>], sealed: &mut Vec<u8>) -> io::Result<()> {
        self.session.borrow_mut().seal(parts, sealed)
    }

    /// Sends what is enciphered already, as [`Transmit::poll_send`] sends.
    pub(crate) fn poll_send_sealed(
        &mut self,
        sealed: &mut Vec<u8>,
        from: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.socket.poll_send(sealed, from, cx))?;
        self.session.borrow_mut().sent.sealed += bytes as u64;
        Poll::Ready(Ok(bytes))
    }

    /// True where rustls has something to say by itself.
    pub(crate) fn has_records(&self) -> bool {
        self.session.borrow().connection.wants_write()
    }

    /// Sends what rustls has to say by itself. No send may be in flight but one of this.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sent == self.length && self.has_records() {
            self.begin(&[])?;
        }
        while self.sent < self.length {
            ready!(self.poll_part(cx)).inspect_err(|_| self.length = self.sent)?;
        }
        self.sealed = Vec::new();
        Poll::Ready(Ok(()))
    }

    fn begin(&mut self, plain: &[u8]) -> io::Result<()> {
        self.sealed = Vec::with_capacity(plain.len() + plain.len() / 256 + 256);
        self.session.borrow_mut().seal(&[IoSlice::new(plain)], &mut self.sealed)?;
        (self.length, self.sent, self.plain, self.told) = (self.sealed.len(), 0, plain.len(), 0);
        Ok(())
    }
}

impl<T: Transport> Transmit for TlsOutlet<T> {
    fn poll_send(&mut self, out: &mut Vec<u8>, from: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.told == self.plain {
            let end = out.len().min(from + SEALED_BYTES_MAX);
            self.begin(&out[from..end])?;
        }
        loop {
            ready!(self.poll_part(cx))?;
            // Told in proportion, so that a slow peer is seen to make progress.
            let progress = if self.sent == self.length { self.plain } else { self.plain * self.sent / self.length };
            let told = progress - self.told;
            self.told = progress;
            if self.sent == self.length {
                self.sealed = Vec::new();
            }
            if told > 0 {
                return Poll::Ready(Ok(told));
            }
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // In the middle of a record a close_notify would be taken for a part of it.
        if self.told == self.plain {
            if !self.has_said_goodbye {
                self.has_said_goodbye = true;
                self.session.borrow_mut().connection.send_close_notify();
            }
            let _ = ready!(self.poll_flush(cx));
        }
        self.socket.poll_finish(cx)
    }

    fn reset(&mut self) {
        self.socket.reset();
    }
}

/// Both ends of a connection whose handshake took `sealed_bytes` of ours and is over, but for the rest of an early one.
pub(super) fn ends<T: Transport>(
    socket: Socket<T>,
    connection: Connection,
    sealed_bytes: u64,
    early: Option<Rc<Early>>,
) -> (TlsInlet<T>, TlsOutlet<T>) {
    let session = TlsSession::new(connection, sealed_bytes, early);
    let session = Rc::new(RefCell::new(session));
    let inlet = TlsInlet { socket: socket.receiver, session: Rc::clone(&session), in_flight_from: None };
    let outlet = TlsOutlet {
        socket: socket.sender,
        session,
        sealed: Vec::new(),
        length: 0,
        sent: 0,
        plain: 0,
        told: 0,
        has_said_goodbye: false,
    };
    (inlet, outlet)
}
