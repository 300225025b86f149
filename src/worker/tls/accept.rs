//! The handshake with a client: its first bytes choose the policy, the policy the certificate and what is asked of it.

use std::rc::Rc;
use std::sync::Arc;

use rustls::Connection;
use rustls::server::Acceptor;

use super::super::Worker;
use super::super::ends::{Inlet, Outlet};
use super::super::io::{Socket, Transport};
use super::super::timer::Timer;
use super::early::Early;
use super::ends::ends;
use super::handshake::{Failed, Handshake};
use crate::limits::HANDSHAKES_MAX;
use crate::tls::Facts;
use crate::tls::server::ServerTls;

/// A connection whose handshake succeeded.
pub(in super::super) struct Accepted<T: Transport> {
    pub ends: (Inlet<T>, Outlet<T>),
    pub facts: Rc<Facts>,
    /// The rest of the handshake, where requests came before it.
    pub early: Option<Rc<Early>>,
}

/// Why there is no connection with TLS.
pub(in super::super) enum Refused<T: Transport> {
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
pub(in super::super) async fn accept<T: Transport>(
    worker: &Worker<T>,
    mut socket: Socket<T>,
    tls: &ServerTls,
    timer: &Timer<T>,
    inbox: &mut Vec<u8>,
) -> Result<Accepted<T>, Refused<T>> {
    let Some(_place) = Place::take(worker) else { return Err(Refused::Failed("too_many")) };
    let mut handshake = Handshake::new(&mut socket, Some(timer), inbox);
    match shake(&mut handshake, tls).await {
        Ok((mut connection, facts)) => {
            let sealed_bytes = handshake.sealed_bytes;
            inbox.clear();
            let early = Early::of(&mut connection);
            let ends = ends(socket, connection, sealed_bytes, early.clone());
            Ok(Accepted { ends, facts: Rc::new(facts), early })
        }
        Err(Fault::Plain) => Err(Refused::Plain(socket)),
        Err(Fault::Failed(Failed(fault))) => Err(Refused::Failed(fault.reason())),
    }
}

enum Fault {
    Plain,
    Failed(Failed),
}

impl From<Failed> for Fault {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

async fn shake<T: Transport>(handshake: &mut Handshake<'_, T>, tls: &ServerTls) -> Result<(Connection, Facts), Fault> {
    let mut acceptor = Acceptor::default();
    handshake.receive().await?;
    // A record of a handshake begins with 22.
    if handshake.unread().first().is_some_and(u8::is_ascii_uppercase) {
        return Err(Fault::Plain);
    }
    let accepted = loop {
        if handshake.unread().is_empty() {
            handshake.receive().await?;
        }
        let read = acceptor.read_tls(&mut handshake.unread()).map_err(|_| Failed::of("no_tls"))?;
        handshake.note_read(read);
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) => {}
            Err((error, mut alert)) => {
                let _ = alert.write_all(&mut handshake.sealed);
                return Err(handshake.refuse(&error).await.into());
            }
        }
    };
    let name = accepted.client_hello().server_name().map(str::to_owned);
    let policy = tls.policy(name.as_deref()).ok_or(Failed::of("no_policy"))?;
    let mut connection = match accepted.into_connection(Arc::clone(&policy.config)) {
        Ok(connection) => Connection::from(connection),
        Err((error, mut alert)) => {
            let _ = alert.write_all(&mut handshake.sealed);
            return Err(handshake.refuse(&error).await.into());
        }
    };
    handshake.complete(&mut connection).await?;
    let facts = Facts { policy: policy.print, ..Facts::of(&connection, name.as_deref()) };
    Ok((connection, facts))
}
