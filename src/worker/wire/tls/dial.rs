//! The handshake with an upstream: whose certificate it must have, and what it said where it failed.

use std::sync::Arc;

use rustls::{ClientConnection, Connection};

use super::ends::{TlsInlet, TlsOutlet, ends};
use super::handshake::{Failed, Handshake};
use crate::failure::{Failure, TlsFault};
use crate::tls::Facts;
use crate::tls::client::ClientTls;
use crate::worker::engine::{Socket, Transport};

/// Makes the handshake with an endpoint, written `host:port`. The caller bounds its time. `inbox` is empty before and
/// after.
///
/// # Errors
/// [`Failure::UpstreamTls`] with the reason.
pub(crate) async fn handshake<T: Transport>(
    mut socket: Socket<T>,
    tls: &ClientTls,
    (endpoint, is_http1): (&str, bool),
    inbox: &mut Vec<u8>,
) -> Result<((TlsInlet<T>, TlsOutlet<T>), Facts), Failure> {
    let name = tls.server_name(endpoint).ok_or(Failure::UpstreamTls(TlsFault::Protocol("no_server_name")))?;
    let config = Arc::clone(if is_http1 { &tls.http1 } else { &tls.config });
    let connection =
        ClientConnection::new(config, name).map_err(|_| Failure::UpstreamTls(TlsFault::Protocol("failed")))?;
    let mut connection = Connection::from(connection);
    let mut handshake = Handshake::new(&mut socket, None, inbox);
    handshake.complete(&mut connection).await.map_err(|Failed(fault)| Failure::UpstreamTls(fault))?;
    let sealed_bytes = handshake.sealed_bytes;
    inbox.clear();
    let facts = Facts::of(&connection, None);
    Ok((ends(socket, connection, sealed_bytes, None), facts))
}
