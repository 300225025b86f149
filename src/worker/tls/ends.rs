//! Drives TLS over a connection: records come in behind what is in the inbox and leave their plaintext in their place.
//!
//! Nothing of a connection's buffers is held while it is idle: ciphertext is received into the inbox itself, and what goes
//! out is enciphered when it is sent. rustls keeps what a record needs until it is whole.

use std::cell::RefCell;
use std::io::{self, BufRead as _, IoSlice, Read as _, Write as _};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::Connection;

use super::super::ends::{Inlet, Outlet, StreamFault};
use super::super::io::{Receive, Socket, Transmit, Transport, make_room};
use super::early::Early;
use crate::failure::{Failure, TlsFault};
use crate::limits::SEALED_BYTES_MAX;
use crate::tls::fault;
use crate::upstream::evidence::{Delivery, Peek, SYN_BYTES};

/// What both halves share.
#[derive(Debug)]
struct Session {
    connection: Connection,
    /// Ciphertext that found no room in rustls; empty but for peers that send a burst of small records.
    backlog: Vec<u8>,
    /// The peer has said that nothing more comes.
    is_ended: bool,
    /// What is wrong with what came: told once all before it was taken.
    fault: Option<TlsFault>,
    /// What was sent when the latest plaintext came, and in all.
    before: Sent,
    sent: Sent,
    /// What came before the handshake is over, until it is and all of that was taken.
    early: Option<Box<EarlyData>>,
}

/// Plaintext from before the end of a handshake.
#[derive(Debug)]
struct EarlyData {
    handshake: Rc<Early>,
    plain: Vec<u8>,
    taken: usize,
}

/// Bytes sent over a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    plain: u64,
    sealed: u64,
}

impl Session {
    /// Takes ciphertext from `inbox[from..]` and leaves plaintext there.
    fn open(&mut self, inbox: &mut Vec<u8>, from: usize) {
        let end = inbox.len();
        let (mut read, mut write) = (from, from);
        while read < end && self.has_more() {
            match self.connection.read_tls(&mut &inbox[read..end]) {
                Ok(bytes) => read += bytes,
                // Too much plaintext waits: the rest is taken up once that was taken.
                Err(_) if self.has_plain() => break,
                Err(_) => self.fault = Some(TlsFault::Protocol("too_much")),
            }
            self.process();
            // Plaintext never overtakes the ciphertext that is still to be read.
            loop {
                let room = &mut inbox[write..read];
                let taken = self.take_plain(|part| {
                    let length = part.len().min(room.len());
                    room[..length].copy_from_slice(&part[..length]);
                    length
                });
                if taken == 0 {
                    break;
                }
                write += taken;
            }
        }
        if read < end && self.has_more() {
            self.backlog.extend_from_slice(&inbox[read..end]);
        }
        inbox.truncate(write);
        self.put_plain(inbox);
        if inbox.len() > from {
            self.before = self.sent;
        }
    }

    const fn has_more(&self) -> bool {
        !self.is_ended && self.fault.is_none()
    }

    fn process(&mut self) {
        match self.connection.process_new_packets() {
            Ok(state) => self.is_ended |= state.peer_has_closed(),
            Err(error) => self.fault = Some(fault::cause(&error)),
        }
        if let Some(early) = &mut self.early {
            early.note(&mut self.connection);
        }
    }

    /// What there is to say once everything was taken: an end, or what is wrong.
    fn end(&self) -> Option<io::Result<usize>> {
        match self.fault {
            Some(fault) => Some(Err(io::Error::other(StreamFault(Failure::UpstreamTls(fault))))),
            None => self.is_ended.then_some(Ok(0)),
        }
    }

    /// Hands one part of the waiting plaintext over and forgets as much as was taken.
    fn take_plain(&mut self, take: impl FnOnce(&[u8]) -> usize) -> usize {
        if let Some(early) = &mut self.early {
            if early.taken < early.plain.len() {
                let taken = take(&early.plain[early.taken..]);
                early.taken += taken;
                return taken;
            }
            if early.handshake.is_over() {
                self.early = None;
            }
        }
        let mut reader = self.connection.reader();
        let Ok(part) = reader.fill_buf() else { return 0 };
        let taken = take(part);
        reader.consume(taken);
        taken
    }

    fn has_plain(&mut self) -> bool {
        let mut has_some = false;
        self.take_plain(|part| {
            has_some = !part.is_empty();
            0
        });
        has_some
    }

    /// Moves waiting plaintext into the room that the inbox has.
    fn put_plain(&mut self, inbox: &mut Vec<u8>) -> usize {
        let from = inbox.len();
        loop {
            let room = inbox.capacity() - inbox.len();
            let taken = self.take_plain(|part| {
                let length = part.len().min(room);
                inbox.extend_from_slice(&part[..length]);
                length
            });
            if taken == 0 {
                return inbox.len() - from;
            }
        }
    }

    /// Moves what came already to the inbox: plaintext that waits, then the backlog.
    fn take_waiting(&mut self, inbox: &mut Vec<u8>) {
        if self.put_plain(inbox) == 0 && !self.backlog.is_empty() {
            let mut backlog = std::mem::take(&mut self.backlog);
            self.open(&mut backlog, 0);
            inbox.append(&mut backlog);
        }
    }

    /// Enciphers `parts` to the end of `sealed`, behind what rustls itself has to say.
    fn seal(&mut self, parts: &[IoSlice<'_>], sealed: &mut Vec<u8>) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // Without a limit, all of it is taken.
        if length > 0 && self.connection.writer().write_vectored(parts)? != length {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.sent.plain += length as u64;
        self.put_records(sealed)
    }

    /// Moves what rustls has to say to the end of `sealed`.
    fn put_records(&mut self, sealed: &mut Vec<u8>) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(sealed)?;
        }
        Ok(())
    }
}

impl EarlyData {
    /// Takes over what rustls has of it.
    fn note(&mut self, connection: &mut Connection) {
        if let Connection::Server(server) = connection
            && let Some(mut data) = server.early_data()
        {
            // Reading from memory cannot fail.
            let _ = data.read_to_end(&mut self.plain);
        }
        if !connection.is_handshaking() {
            self.handshake.end();
        }
    }
}

/// The receiving half of a connection with TLS.
#[derive(Debug)]
pub(in super::super) struct TlsInlet<T: Transport> {
    socket: T::Receiver,
    session: Rc<RefCell<Session>>,
    /// Where ciphertext begins in the inbox of the receive in flight.
    in_flight_from: Option<usize>,
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Records, or plaintext that had waited.
    Records,
    /// The peer's last one.
    End,
}

impl<T: Transport> TlsInlet<T> {
    /// Receives once and takes in what came: ready also where there was no plaintext in it.
    pub(super) fn poll_records(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<Heard>> {
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
            // An end without notice may be an attacker's: what came before it is not the whole.
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

    /// In bytes of plaintext, as far as that can be told: since the peer spoke last all, nothing, or something.
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
}

/// The sending half of a connection with TLS.
#[derive(Debug)]
pub(in super::super) struct TlsOutlet<T: Transport> {
    socket: T::Sender,
    session: Rc<RefCell<Session>>,
    /// Enciphered and not sent; empty while a send is in flight, which has it.
    sealed: Vec<u8>,
    /// Its length and how much of it is sent, how much plaintext it is and how much of that was said to be sent.
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
    pub(in super::super) fn seal(&self, parts: &[IoSlice<'_>], sealed: &mut Vec<u8>) -> io::Result<()> {
        self.session.borrow_mut().seal(parts, sealed)
    }

    /// Sends what is enciphered already, as [`Transmit::poll_send`] sends.
    pub(in super::super) fn poll_send_sealed(
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
    pub(in super::super) fn has_records(&self) -> bool {
        self.session.borrow().connection.wants_write()
    }

    /// Sends what rustls has to say by itself. No send may be in flight but one of this.
    pub(in super::super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        // In the middle of a send there is nothing to be said that would be understood.
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
    mut connection: Connection,
    sealed_bytes: u64,
    early: Option<Rc<Early>>,
) -> (Inlet<T>, Outlet<T>) {
    let sent = Sent { plain: 0, sealed: sealed_bytes };
    // What is written is taken out at once; a limit would count what rustls itself has to say.
    connection.set_buffer_limit(None);
    let early = early.map(|handshake| {
        let mut early = Box::new(EarlyData { handshake, plain: Vec::new(), taken: 0 });
        early.note(&mut connection);
        early
    });
    let session = Session { connection, backlog: Vec::new(), is_ended: false, fault: None, before: sent, sent, early };
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
    (Inlet::Tls(inlet), Outlet::Tls(outlet))
}
