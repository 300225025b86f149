//! The handshake with a client: its first bytes choose the policy, the policy the certificate and what is asked of it.

use std::io;
use std::rc::Rc;

use rustls::ProtocolVersion;
use rustls::server::{Acceptor, ServerConnection};

use super::Worker;
use super::ends::{Inlet, Outlet};
use super::io::{Socket, Transport, receive, send};
use super::timer::Timer;
use super::tls;
use crate::limits::HANDSHAKES_MAX;
use crate::tls::server::ServerTls;
use crate::tls::{Facts, fault};

/// A connection whose handshake succeeded.
pub(super) struct Accepted<T: Transport> {
    pub ends: (Inlet<T>, Outlet<T>),
    pub facts: Rc<Facts>,
}

/// Why there is no connection with TLS.
pub(super) enum Refused<T: Transport> {
    /// It is over; the name of the reason.
    Failed(&'static str),
    /// The client speaks without TLS: what it said is in the inbox, and it can be told.
    Plain(Socket<T>),
}

/// A place among the handshakes of a worker.
struct Place<'a, T: Transport>(&'a Worker<T>);

impl<'a, T: Transport> Place<'a, T> {
    fn take(worker: &'a Worker<T>) -> Option<Self> {
        let count = worker.handshakes.get();
        (count < HANDSHAKES_MAX).then(|| {
            worker.handshakes.set(count + 1);
            Self(worker)
        })
    }
}

impl<T: Transport> Drop for Place<'_, T> {
    fn drop(&mut self) {
        self.0.handshakes.set(self.0.handshakes.get() - 1);
    }
}

/// Makes the handshake within the time that `timer` runs already. `inbox` is an empty buffer and is so again where there is
/// TLS.
pub(super) async fn accept<T: Transport>(
    worker: &Worker<T>,
    mut socket: Socket<T>,
    tls: &ServerTls,
    timer: &Timer<T>,
    inbox: &mut Vec<u8>,
) -> Result<Accepted<T>, Refused<T>> {
    let Some(_place) = Place::take(worker) else { return Err(Refused::Failed("too_many")) };
    let mut handshake = Handshake { socket: &mut socket, timer, inbox, read: 0, sealed: Vec::new(), sealed_bytes: 0 };
    match handshake.run(tls).await {
        Ok((connection, facts)) => {
            let sealed_bytes = handshake.sealed_bytes;
            inbox.clear();
            let (inlet, outlet) = tls::ends(socket, connection.into(), sealed_bytes);
            Ok(Accepted { ends: (Inlet::Tls(inlet), Outlet::Tls(outlet)), facts: Rc::new(facts) })
        }
        Err(Fault::Plain) => Err(Refused::Plain(socket)),
        Err(Fault::Failed(reason)) => Err(Refused::Failed(reason)),
    }
}

enum Fault {
    Plain,
    Failed(&'static str),
}

impl From<rustls::Error> for Fault {
    fn from(error: rustls::Error) -> Self {
        Self::Failed(fault::name(&error))
    }
}

struct Handshake<'a, T: Transport> {
    socket: &'a mut Socket<T>,
    timer: &'a Timer<T>,
    inbox: &'a mut Vec<u8>,
    /// How much of the inbox rustls has.
    read: usize,
    sealed: Vec<u8>,
    sealed_bytes: u64,
}

impl<T: Transport> Handshake<'_, T> {
    async fn run(&mut self, tls: &ServerTls) -> Result<(ServerConnection, Facts), Fault> {
        let mut acceptor = Acceptor::default();
        let accepted = loop {
            if self.read == self.inbox.len() {
                self.receive().await?;
                // A record of a handshake begins with 22.
                if self.inbox.first().is_some_and(u8::is_ascii_uppercase) {
                    return Err(Fault::Plain);
                }
            }
            self.read += acceptor.read_tls(&mut &self.inbox[self.read..]).map_err(|_| Fault::Failed("no_tls"))?;
            match acceptor.accept() {
                Ok(Some(accepted)) => break accepted,
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let _ = alert.write_all(&mut self.sealed);
                    return Err(self.refuse(error).await);
                }
            }
        };
        let name = accepted.client_hello().server_name().map(str::to_owned);
        let config = tls.config(tls.policy(name.as_deref())).ok_or(Fault::Failed("no_policy"))?;
        let mut connection = match accepted.into_connection(config.clone()) {
            Ok(connection) => connection,
            Err((error, mut alert)) => {
                let _ = alert.write_all(&mut self.sealed);
                return Err(self.refuse(error).await);
            }
        };
        loop {
            self.feed(&mut connection).await?;
            let facts = (!connection.is_handshaking()).then(|| Facts::of(&connection, name.as_deref()));
            // The tickets of TLS 1.3 leave with the first answer, which spares a send; before it the client waits for us.
            if connection.is_handshaking() || connection.protocol_version() == Some(ProtocolVersion::TLSv1_2) {
                self.put_records(&mut connection);
                self.flush().await?;
            }
            match facts {
                Some(facts) => return Ok((connection, facts)),
                None => self.receive().await?,
            }
        }
    }

    /// Hands what has come to rustls.
    async fn feed(&mut self, connection: &mut ServerConnection) -> Result<(), Fault> {
        loop {
            if let Err(error) = connection.process_new_packets() {
                self.put_records(connection);
                return Err(self.refuse(error).await);
            }
            if self.read == self.inbox.len() {
                return Ok(());
            }
            let read = connection.read_tls(&mut &self.inbox[self.read..]);
            self.read += read.map_err(|_| Fault::Failed("too_much"))?;
        }
    }

    fn put_records(&mut self, connection: &mut ServerConnection) {
        // Writing to a vector cannot fail.
        while connection.wants_write() && connection.write_tls(&mut self.sealed).is_ok() {}
    }

    /// Sends the alert that says why, and gives the reason.
    async fn refuse(&mut self, error: rustls::Error) -> Fault {
        let _ = self.flush().await;
        error.into()
    }

    async fn receive(&mut self) -> Result<(), Fault> {
        if self.read == self.inbox.len() {
            self.inbox.clear();
            self.read = 0;
        }
        let received = self.timer.guard(receive(&mut self.socket.receiver, self.inbox)).await;
        match received.map_err(|_| Fault::Failed("timeout"))? {
            Ok(bytes) if bytes > 0 => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Fault::Failed("reset")),
            _ => Err(Fault::Failed("closed")),
        }
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        let (mut sent, length) = (0, self.sealed.len());
        while sent < length {
            let sending = self.timer.guard(send(&mut self.socket.sender, &mut self.sealed, sent)).await;
            let bytes = sending.map_err(|_| Fault::Failed("timeout"))?.map_err(|_| Fault::Failed("closed"))?;
            sent += bytes;
        }
        self.sealed_bytes += sent as u64;
        self.sealed.clear();
        Ok(())
    }
}
