//! What a handshake does on either side: receives, hands it to rustls, sends what rustls has to say.

use std::io;

use rustls::{Connection, ProtocolVersion};

use super::early::Early;
use crate::failure::TlsFault;
use crate::tls::fault;
use crate::worker::engine::{Socket, Transport, receive, send};
use crate::worker::time::timer::Timer;

/// Why a handshake did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed(pub TlsFault);

impl Failed {
    pub(super) const fn of(reason: &'static str) -> Self {
        Self(TlsFault::Protocol(reason))
    }
}

/// A handshake that is going on.
pub(super) struct Handshake<'a, T: Transport> {
    pub socket: &'a mut Socket<T>,
    /// `None` where the caller bounds the whole handshake.
    pub timer: Option<&'a Timer<T>>,
    pub inbox: &'a mut Vec<u8>,
    /// How much of the inbox rustls has.
    read: usize,
    pub sealed: Vec<u8>,
    /// Bytes sent.
    pub sealed_bytes: u64,
}

impl<'a, T: Transport> Handshake<'a, T> {
    pub(super) const fn new(socket: &'a mut Socket<T>, timer: Option<&'a Timer<T>>, inbox: &'a mut Vec<u8>) -> Self {
        Self { socket, timer, inbox, read: 0, sealed: Vec::new(), sealed_bytes: 0 }
    }

    /// Goes on until the handshake is over on this side, or requests of the client have come before its end.
    pub(super) async fn complete(&mut self, connection: &mut Connection) -> Result<(), Failed> {
        loop {
            let has_request = self.feed(connection).await?;
            let is_over = !connection.is_handshaking();
            // What a server of TLS 1.3 says last, its tickets, leaves with the first answer where the request is here already:
            // that spares a send. Else it leaves at once: a client whose kernel holds its request back until its last bytes
            // are acknowledged (Nagle) would wait out our kernel's delay, 40 ms.
            let can_wait = is_over
                && has_request
                && matches!(connection, Connection::Server(_))
                && connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
            if !can_wait {
                self.put_records(connection);
                self.flush().await?;
            }
            if is_over || Early::of(connection).is_some() {
                return Ok(());
            }
            self.receive().await?;
        }
    }

    /// What has come and rustls has not read.
    pub(super) fn unread(&mut self) -> &[u8] {
        &self.inbox[self.read..]
    }

    /// Notes that rustls has so much more.
    pub(super) const fn note_read(&mut self, bytes: usize) {
        self.read += bytes;
    }

    /// Hands what has come to rustls; true where there is plaintext behind the handshake.
    async fn feed(&mut self, connection: &mut Connection) -> Result<bool, Failed> {
        loop {
            let has_plain = match connection.process_new_packets() {
                Ok(state) => state.plaintext_bytes_to_read() > 0,
                Err(error) => {
                    self.put_records(connection);
                    return Err(self.refuse(&error).await);
                }
            };
            if self.read == self.inbox.len() {
                return Ok(has_plain);
            }
            let read = connection.read_tls(&mut &self.inbox[self.read..]);
            self.read += read.map_err(|_| Failed::of("too_much"))?;
        }
    }

    fn put_records(&mut self, connection: &mut Connection) {
        // Writing to a vector cannot fail.
        while connection.wants_write() && connection.write_tls(&mut self.sealed).is_ok() {}
    }

    /// Sends the alert that says why, and gives the reason.
    pub(super) async fn refuse(&mut self, error: &rustls::Error) -> Failed {
        let _ = self.flush().await;
        Failed(fault::cause(error))
    }

    /// Receives once.
    pub(super) async fn receive(&mut self) -> Result<(), Failed> {
        if self.read == self.inbox.len() {
            self.inbox.clear();
            self.read = 0;
        }
        let receiving = receive(&mut self.socket.receiver, self.inbox);
        let received = match self.timer {
            Some(timer) => timer.guard(receiving).await.map_err(|_| Failed::of("timeout"))?,
            None => receiving.await,
        };
        match received {
            Ok(bytes) if bytes > 0 => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Failed::of("reset")),
            _ => Err(Failed::of("closed")),
        }
    }

    async fn flush(&mut self) -> Result<(), Failed> {
        let (mut sent, length) = (0, self.sealed.len());
        while sent < length {
            let sending = send(&mut self.socket.sender, &mut self.sealed, sent);
            let result = match self.timer {
                Some(timer) => timer.guard(sending).await.map_err(|_| Failed::of("timeout"))?,
                None => sending.await,
            };
            sent += result.map_err(|_| Failed::of("closed"))?;
        }
        self.sealed_bytes += sent as u64;
        self.sealed.clear();
        Ok(())
    }
}
