//! TLS of one connection without its socket: ciphertext becomes plaintext in its place, plaintext becomes records.

use std::io::{self, BufRead as _, IoSlice, Read as _, Write as _};
use std::rc::Rc;

use rustls::Connection;

use super::super::fault::StreamFault;
use super::early::Early;
use crate::failure::{Failure, TlsFault};
use crate::tls::fault;

/// What both halves share.
#[derive(Debug)]
pub(super) struct TlsSession {
    pub(super) connection: Connection,
    /// Ciphertext that found no room in rustls; empty but for peers that send a burst of small records.
    backlog: Vec<u8>,
    /// The peer has said that nothing more comes.
    is_ended: bool,
    /// What is wrong with what came; reported once all plaintext before it was taken.
    fault: Option<TlsFault>,
    /// `before`: what had been sent when the peer was heard last before the latest was sent; `sent`: in all. The delivery is told
    /// from the two.
    pub(super) before: Sent,
    /// Plaintext has come since something was sent.
    has_heard: bool,
    pub(super) sent: Sent,
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
pub(super) struct Sent {
    pub(super) plain: u64,
    pub(super) sealed: u64,
}

impl TlsSession {
    /// Of a connection whose handshake took `sealed_bytes` of ours and is over, but for the rest of an early one.
    pub(super) fn new(mut connection: Connection, sealed_bytes: u64, early: Option<Rc<Early>>) -> Self {
        let sent = Sent { plain: 0, sealed: sealed_bytes };
        // What is written is taken out at once; a limit would count what rustls itself has to say.
        connection.set_buffer_limit(None);
        let early = early.map(|handshake| {
            let mut early = Box::new(EarlyData { handshake, plain: Vec::new(), taken: 0 });
            early.note(&mut connection);
            early
        });
        Self {
            connection,
            backlog: Vec::new(),
            is_ended: false,
            fault: None,
            before: sent,
            has_heard: false,
            sent,
            early,
        }
    }

    /// Takes ciphertext from `inbox[from..]` and leaves plaintext there.
    pub(super) fn open(&mut self, inbox: &mut Vec<u8>, from: usize) {
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
            // Plaintext goes only where ciphertext was read already, so it overwrites none that is still to be read. What
            // finds no room is left to `put_plain`.
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
        self.has_heard |= inbox.len() > from;
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
    pub(super) fn end(&self) -> Option<io::Result<usize>> {
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
    pub(super) fn take_waiting(&mut self, inbox: &mut Vec<u8>) {
        if self.put_plain(inbox) == 0 && !self.backlog.is_empty() {
            let mut backlog = std::mem::take(&mut self.backlog);
            self.open(&mut backlog, 0);
            inbox.append(&mut backlog);
        }
    }

    /// Enciphers `parts` to the end of `sealed`, behind what rustls itself has to say.
    pub(super) fn seal(&mut self, parts: &[IoSlice<'_>], sealed: &mut Vec<u8>) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // Without a limit, all of it is taken.
        if length > 0 && self.connection.writer().write_vectored(parts)? != length {
            return Err(io::ErrorKind::WriteZero.into());
        }
        // Whoever asks what became of a request asks while its answer is here already.
        if length > 0 && std::mem::take(&mut self.has_heard) {
            self.before = self.sent;
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
