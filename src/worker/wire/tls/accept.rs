//! The handshake with a client: the name in its ClientHello selects the policy, which says what certificate it gets and
//! whether it must show one.

use std::rc::Rc;

use rustls::Connection;
use rustls::server::Acceptor;

use super::early::Early;
use super::ends::{TlsInlet, TlsOutlet, ends};
use super::handshake::{Failed, Handshake};
use crate::limits::HANDSHAKES_MAX;
use crate::sys::clock::unix_s;
use crate::tls::Facts;
use crate::tls::server::ServerTls;
use crate::worker::engine::{Socket, Transport};
use crate::worker::kit::Kit;
use crate::worker::time::timer::Timer;

/// A connection whose handshake succeeded.
pub(crate) struct Accepted<T: Transport> {
    pub ends: (TlsInlet<T>, TlsOutlet<T>),
    pub facts: Rc<Facts>,
    /// The rest of the handshake, where requests came before it.
    pub early: Option<Rc<Early>>,
}

/// Why there is no connection with TLS.
pub(crate) enum Refused<T: Transport> {
    /// It is over; the name of the reason.
    Failed(&'static str),
    /// The client speaks without TLS: what it said is in the inbox, and it can be told.
    Plain(Socket<T>),
}

/// Makes the handshake within the time that `timer` runs already. `inbox` is an empty buffer and is so again where there is
/// TLS. A connection takes a place among the handshakes once its ClientHello is here: before it, nothing is worked on.
pub(crate) async fn accept<T: Transport>(
    kit: &Kit<T>,
    mut socket: Socket<T>,
    tls: &ServerTls,
    timer: &Timer<T>,
    inbox: &mut Vec<u8>,
) -> Result<Accepted<T>, Refused<T>> {
    let mut handshake = Handshake::new(&mut socket, Some(timer), inbox);
    match shake(kit, &mut handshake, tls, timer).await {
        Ok((mut connection, facts)) => {
            let sealed_bytes = handshake.sealed_bytes;
            inbox.clear();
            let early = Early::of(&mut connection);
            let ends = ends(socket, connection, sealed_bytes, early.clone());
            Ok(Accepted { ends, facts: Rc::new(facts), early })
        }
        Err(ShakeFault::Plain) => Err(Refused::Plain(socket)),
        Err(ShakeFault::Failed(Failed(fault))) => Err(Refused::Failed(fault.reason())),
    }
}

enum ShakeFault {
    Plain,
    Failed(Failed),
}

impl From<Failed> for ShakeFault {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

async fn shake<T: Transport>(
    kit: &Kit<T>,
    handshake: &mut Handshake<'_, T>,
    tls: &ServerTls,
    timer: &Timer<T>,
) -> Result<(Connection, Facts), ShakeFault> {
    let mut acceptor = Acceptor::default();
    let silence = kit.begin_silence(timer);
    handshake.receive().await?;
    // A TLS handshake begins with byte 22; a capital letter is the method of a request without TLS.
    if handshake.unread().first().is_some_and(u8::is_ascii_uppercase) {
        return Err(ShakeFault::Plain);
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
    drop(silence);
    let _shaking = kit.begin_handshake(timer, HANDSHAKES_MAX);
    let name = accepted.client_hello().server_name().map(str::to_owned);
    let policy = tls.policy(name.as_deref()).ok_or(Failed::of("no_policy"))?;
    let now_s = unix_s(kit.transport.wall());
    let (config, until) = policy.config(now_s).map_err(|_| Failed::of("no_policy"))?;
    let mut connection = match accepted.into_connection(config) {
        Ok(connection) => Connection::from(connection),
        Err((error, mut alert)) => {
            let _ = alert.write_all(&mut handshake.sealed);
            return Err(handshake.refuse(&error).await.into());
        }
    };
    handshake.complete(&mut connection).await?;
    let mut facts =
        Facts { policy: policy.print, client_until_s: until.get(), ..Facts::of(&connection, name.as_deref()) };
    if until.is_refused() {
        (facts.client, facts.client_is_refused) = (None, true);
    }
    Ok((connection, facts))
}
