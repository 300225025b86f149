//! Connections of the control plane to endpoints: for health checks, and for keys.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::snapshot::Address;
use crate::tls::client::ClientTls;

/// A connection, with or without TLS.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Connects to an endpoint as requests do: with TLS where they have it. `name` is the endpoint as it was written, and `is_http1` keeps
/// TLS from agreeing on HTTP/2.
///
/// # Errors
/// What went wrong, in words.
pub(super) async fn connect(
    address: &Address,
    (name, tls, is_http1): (&str, Option<&ClientTls>, bool),
) -> Result<Box<dyn Duplex>, String> {
    let said = |error: std::io::Error| error.to_string();
    let stream: Box<dyn Duplex> = match address {
        Address::Tcp(address) => Box::new(TcpStream::connect(address).await.map_err(said)?),
        Address::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(said)?),
    };
    let Some(tls) = tls else { return Ok(stream) };
    let name = tls.server_name(name).ok_or("the endpoint has no name for TLS")?;
    let connector = TlsConnector::from(Arc::clone(if is_http1 { &tls.http1 } else { &tls.config }));
    Ok(Box::new(connector.connect(name, stream).await.map_err(said)?))
}
